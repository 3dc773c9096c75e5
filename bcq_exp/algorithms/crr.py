"""Critic regularized regression (arXiv:2006.15134, section 3).

`next_action` chooses what the critic's target asks: `policy` an action of the slow policy, as the paper, `logged` the
action that the dataset has there, as Acme's published run does (its `use_sarsa_target`; arXiv:2106.08909). Rows whose
next action is unknown are then left out of the critic's mean.

`evaluation` chooses the policy that acts: `mean` is the Gaussian's mean, and `critic_weighted` the paper's CWP, which
draws one of a state's actions by the softmax of Q / beta (cwp_network in Acme's acme/agents/tf/crr). Acme's jax agent
acts by the mean of the slow copy, which is `mean` where a copy has just been made: `eval_freq` is a multiple of
`target_update_freq`.

Departures: the paper's critic is a distribution, and its policy a mixture of Gaussians; here, as in DeepMind's later
implementation (Acme's jax agent), the critic is one number and the policy one Gaussian, whose samples are cut at the
bounds of actions before they are judged (Acme's go through tanh). The policy is updated before the critic, which is
the same as both at once: the critic's target is made by slow copies.

Shape suffixes: B batch, N sampled actions a state, A action.
"""

from dataclasses import dataclass

from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import diagnostics
from bcq_exp.algorithms.bc import LOG_STD_RANGE, gaussian_policy, log_likelihood, mean_act
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Act, Algorithm, Draw, Nets, Stage, Target, Tensors
from bcq_exp.algorithms.schema import ContinuousConfig
from bcq_exp.fields import one_of, within
from bcq_exp.networks import Critic, MLPNetworkConfig, Sizes
from bcq_exp.ops.discrete import draw_action, take_candidate
from bcq_exp.ops.gaussian import sample
from bcq_exp.ops.td import mean_of_known, n_step_target

SWEPT = frozenset({"gamma", "beta", "max_weight"})


@dataclass(kw_only=True)
class CRRConfig(ContinuousConfig):
    """Keys of `conf/algorithm/crr.yaml`; `max_weight` belongs to `weight=exp`."""

    later_keys = {"evaluation": "mean", "next_action": "policy"}  # noqa: RUF012

    gamma: float = within(0, 1)
    target_update_freq: int = within(0)
    next_action: str = one_of("policy", "logged")
    weight: str = one_of("exp", "binary", "binary_max")
    beta: float = within(0, is_low_open=True)
    max_weight: float = within(0, is_low_open=True)
    num_sampled_action: int = within(1)
    evaluation: str = one_of("mean", "critic_weighted")


def regression_weights(q_B: Tensor, q_BN: Tensor, hp: Tensors, weight: str) -> Tensor:
    """f(Q, pi, s, a), (B,): the weight of each action's likelihood    (eq. 3, eq. 4 and table 1).

    binary      1[Q(s, a) > mean_j Q(s, a_j)]
    binary_max  1[Q(s, a) > max_j Q(s, a_j)]
    exp         min(exp((Q(s, a) - mean_j Q(s, a_j)) / beta), max_weight)

    Args:
        q_B: Q(s, a) of the dataset's actions, (B,).
        q_BN: Q(s, a_j) of the policy's, (B, N).
        hp: holds beta and max_weight, which `exp` reads.
        weight: one of the three.
    """
    value_B = q_BN.amax(-1) if weight == "binary_max" else q_BN.mean(-1)
    return advantage_weights(q_B - value_B, hp, is_exponential=weight == "exp")


def advantage_weights(advantage_B: Tensor, hp: Tensors, *, is_exponential: bool) -> Tensor:
    """min(exp(advantage / beta), max_weight), or 1 where the advantage is above 0 and 0 elsewhere, (B,)."""
    if is_exponential:
        return (advantage_B / hp["beta"]).exp().minimum(hp["max_weight"])
    return (advantage_B > 0).to(advantage_B.dtype)


def sampled(nets: Nets, obs: Tensor, eps_BNA: Tensor, max_action: float) -> tuple[Tensor, Tensor]:
    """N actions of the policy in each state, cut at the bounds, (B, N, A), and their values (B, N)."""
    mean_BA, log_std_BA = nets["policy"](obs)
    act_BNA = sample(eps_BNA, mean_BA.unsqueeze(1), log_std_BA.unsqueeze(1)).clamp(-max_action, max_action)
    return act_BNA, nets["critic"](obs.unsqueeze(1).expand(-1, act_BNA.shape[1], -1), act_BNA)


def critic_weighted_act(max_action: float) -> Act:
    """One of N actions of the policy, drawn with probabilities in proportion to exp(Q(s, a_i) / beta)    (CWP)."""

    def act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
        act_BNA, q_BN = sampled(nets, batch["obs"], noise["eps"], max_action)
        chosen_B = draw_action((q_BN / hp["beta"]).softmax(-1), noise["choice"])
        return {"act": take_candidate(act_BNA, chosen_B)}

    return act


def from_config(cfg: CRRConfig, sizes: Sizes) -> Algorithm:
    """CRR as stages: policy, then critic."""
    weight, max_action, is_logged = cfg.weight, sizes.max_action, cfg.next_action == "logged"

    def critic_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        """(r + gamma (1 - terminated) Q'(s', a') - Q(s, a))^2 with a' ~ pi'(s'), or logged    (policy evaluation)."""
        with no_grad():
            if is_logged:
                act_next_BA = batch["act_next"]
            else:
                act_next_BA = sample(noise["eps"], *targets["policy"](batch["obs_next"])).clamp(-max_action, max_action)
            value_B = targets["critic"](batch["obs_next"], act_next_BA)
            y_B = n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], value_B, hp["gamma"])
        error_B = (nets["critic"](batch["obs"], batch["act"]) - y_B).square()
        loss = error_B.mean()
        if is_logged:
            loss = mean_of_known(error_B, batch["terminated"] | batch["has_act_next"])
        return loss, {"critic_loss": loss}

    def actor_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        """-f(Q, pi, s, a) log pi(a|s)    (policy learning)."""
        with no_grad():
            _, q_BN = sampled(nets, batch["obs"], noise["eps"], max_action)
            weight_B = regression_weights(nets["critic"](batch["obs"], batch["act"]), q_BN, hp, weight)
        loss = -(weight_B * log_likelihood(nets, batch)).mean()
        return loss, {"actor_loss": loss}

    eps, is_weighted = Draw("normal", (cfg.num_sampled_action, sizes.act_dim)), cfg.evaluation == "critic_weighted"
    act = critic_weighted_act(max_action) if is_weighted else mean_act
    return Algorithm(
        stages=(
            Stage(actor_loss, trains=("policy",), noise={"eps": eps}),
            Stage(
                critic_loss, trains=("critic",), noise={} if is_logged else {"eps": Draw("normal", (sizes.act_dim,))}
            ),
        ),
        targets={
            name: Target(name, rate=None, every=cfg.target_update_freq)
            for name in (("critic",) if is_logged else ("policy", "critic"))
        },
        act=act,
        diagnose=diagnostics.of_critics(act, ("critic",)),
        act_noise={"eps": eps, "choice": Draw("uniform", ())} if is_weighted else {},
        swept=SWEPT,
        fields=("act_next",) if is_logged else (),
    )


def networks(cfg: CRRConfig, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """A Gaussian policy with a deviation of each state, and a critic."""
    return {
        "policy": gaussian_policy(network, sizes, has_state_std=True, log_std_range=LOG_STD_RANGE, std_bound="clip"),
        "critic": Critic(sizes.obs_dim, sizes.act_dim, **network.hidden),
    }


DEFINITION = Definition(CRRConfig, from_config, networks, SWEPT, ("policy", "critic"))
