import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.gaussian_working import DATA, GAMMA, MAX_ACTION, NUM_ROWS, Head, Working, clone, head, regress
from algorithms.golden import Array, cat, forward, n_step_targets
from bcq_exp.algorithms.crr import critic_weighted_act, regression_weights

BETA, MAX_WEIGHT, NUM_SAMPLES = 2.0, 2.0, 4  # as in `tiny.CONFIGS`
BOUND = {"low": -5, "high": 2}


def weights(advantage: Array, weight: str) -> Array:
    return np.minimum(np.exp(advantage / BETA), MAX_WEIGHT) if weight == "exp" else (advantage > 0).astype(float)


def drawn(at: Head, eps: Array) -> Array:
    """A sample of the Gaussian, cut at the bounds."""
    return (at.mean + np.exp(at.log_std) * eps).clip(-MAX_ACTION, MAX_ACTION)


@pytest.mark.parametrize(
    ("weight", "next_action"), [("exp", "policy"), ("binary", "policy"), ("binary_max", "policy"), ("exp", "logged")]
)
def test_golden_updates(weight: str, next_action: str) -> None:
    """Two updates of arXiv:2006.15134, algorithm 1; slow copies of policy and critic are made whole after the second.

    Equations 3 and 4 and table 1: the state's value is the mean, or the largest, of four actions of the policy. With
    logged next actions, as in Acme's published run, rows without one do not train the critic, but terminal ones do.
    """
    is_logged, data = next_action == "logged", tiny.with_next_actions(DATA)
    trains = tiny.GOES_ON | tiny.TERMINATED if is_logged else np.ones(NUM_ROWS, np.bool_)
    policy = tiny.make_policy("crr", max_action=MAX_ACTION, weight=weight, next_action=next_action)
    s, a, by_hand = DATA["obs"], DATA["act"], Working(policy)
    for update in range(2):
        eps = torch.randn(NUM_ROWS, NUM_SAMPLES, tiny.ACT_DIM, generator=by_hand.stream).numpy()
        eps_next = DATA["act"]  # not drawn where the next action is logged
        if not is_logged:
            eps_next = torch.randn(NUM_ROWS, tiny.ACT_DIM, generator=by_hand.stream).numpy()

        at = head(by_hand.nets["policy"], s, **BOUND)
        assert 0 < at.slope.mean() < 1, "the bounds of the deviation shall act on some rows, and not on all"
        sampled = [forward(by_hand.nets["critic"], cat(s, drawn(at, eps[:, i])))[0][:, 0] for i in range(NUM_SAMPLES)]
        value = np.max(sampled, 0) if weight == "binary_max" else np.mean(sampled, 0)
        weight_of = weights(forward(by_hand.nets["critic"], cat(s, a))[0][:, 0] - value, weight)
        assert 0 < weight_of.min() < weight_of.max() if weight == "exp" else 0 < weight_of.mean() < 1
        losses = {}
        losses["actor_loss"], grads = clone(by_hand.nets["policy"], at, a, weight_of)
        by_hand.step("policy", grads)

        def value_next(row: int, eps_next: Array = eps_next) -> float:
            s_next = DATA["obs_next"][row]
            if is_logged:
                return forward(by_hand.slow["critic"], cat(s_next, data["act_next"][row]))[0][0]
            at = head(by_hand.slow["policy"], s_next, **BOUND)
            return forward(by_hand.slow["critic"], cat(s_next, drawn(at, eps_next[row])))[0][0]

        y = n_step_targets(DATA, value_next, gamma=GAMMA)
        losses["critic_loss"], grads = regress(by_hand.nets["critic"], cat(s, a)[trains], y[trains])
        by_hand.step("critic", grads)

        policy.smoothed_loss.clear()  # so that the moving average is the last value
        assert policy.learn(data).smoothed_loss == pytest.approx(losses, abs=1e-10)
        slow = by_hand.slow if update == 0 else by_hand.nets
        by_hand.check({name: slow[name] for name in policy.targets})


def test_weights_by_hand() -> None:
    q, sampled = torch.tensor([1.0, 1.0, 9.0]), torch.tensor([[0.0, 1.5], [1.0, 1.0], [0.0, 1.0]])
    hp = {"beta": torch.tensor(0.5), "max_weight": torch.tensor(20.0)}
    found = {name: regression_weights(q, sampled, hp, name).tolist() for name in ("exp", "binary", "binary_max")}
    assert found["exp"] == pytest.approx([np.exp(0.25 / 0.5), 1.0, 20.0])
    assert found["binary"] == [1, 0, 1]  # an action no better than the policy's is not learned
    assert found["binary_max"] == [0, 0, 1]


def test_exponential_weights_become_binary_in_the_limit() -> None:
    """Divided by their bound, they are 1 above the state's value and 0 below, as beta goes to 0."""
    q, sampled = torch.randn(50), torch.randn(50, 4)
    hp = {"beta": torch.tensor(1e-4), "max_weight": torch.tensor(20.0)}
    limit = regression_weights(q, sampled, hp, "exp") / 20
    torch.testing.assert_close(limit, regression_weights(q, sampled, hp, "binary"), atol=1e-2, rtol=0)


def test_critic_weighted_action_by_hand() -> None:
    """Actions -1, 0 and 1.5 (2 is cut there) are worth 0, log 2 and log 3 times beta: 1/6, 1/3 and 1/2 of the draws."""
    act = critic_weighted_act(MAX_ACTION)
    values = torch.tensor([[0.0, np.log(2), np.log(3)]]) * BETA
    asked = []

    def critic(obs: torch.Tensor, act_BNA: torch.Tensor) -> torch.Tensor:
        asked.append(act_BNA[0, :, 0].tolist())
        return values.expand(len(obs), -1)

    uniform = torch.tensor([0.1, 0.2, 0.45, 0.55, 0.95])
    rows = len(uniform)
    nets = {"policy": lambda obs: (obs * 0, obs * 0), "critic": critic}
    noise = {"eps": torch.tensor([-1.0, 0.0, 2.0])[None, :, None].expand(rows, -1, 1), "choice": uniform}
    found = act(nets, {"obs": torch.zeros(rows, 1)}, noise, {"beta": torch.tensor(BETA)})["act"]
    assert asked == [[-1, 0, MAX_ACTION]]
    assert found.squeeze(-1).tolist() == [-1, 0, 0, MAX_ACTION, MAX_ACTION]
