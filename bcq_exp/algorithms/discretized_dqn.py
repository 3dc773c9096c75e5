"""DQN (doi:10.1038/nature14236) over independently discretised action dimensions, as arXiv:1812.02900 uses it for
continuous control in its experiments (section 5).

Each dimension of the action has bins of one width and a Q function of its own over them; the Q functions share all
layers but the last, see the same rewards and know nothing of each other's choice. Departure: targets are soft, as in
every other algorithm of that paper, not copied each so many updates.

Shape suffixes: B batch, A action dimensions, K bins.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import diagnostics
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Nets, Stage, Target, Tensors
from bcq_exp.algorithms.schema import ContinuousConfig
from bcq_exp.fields import within
from bcq_exp.networks import MLP, MLPNetworkConfig, Sizes
from bcq_exp.ops.discrete import take_action
from bcq_exp.ops.td import n_step_target

SWEPT = frozenset({"gamma", "tau"})


@dataclass(kw_only=True)
class DiscretizedDQNConfig(ContinuousConfig):
    """Keys of `conf/algorithm/discretized_dqn.yaml`."""

    gamma: float = within(0, 1)
    tau: float = within(0, 1, is_low_open=True)
    num_bins: int = within(2)


def to_bins(act_BA: Tensor, num_bins: int, max_action: float) -> Tensor:
    """The bin of each dimension, 0 to K - 1: K intervals of one width from -max_action to max_action."""
    share_BA = (act_BA / max_action + 1) / 2
    return (share_BA * num_bins).long().clamp(0, num_bins - 1)


def to_centres(bin_BA: Tensor, num_bins: int, max_action: float) -> Tensor:
    """The middle of each bin, in policy units."""
    return ((bin_BA + 0.5) / num_bins * 2 - 1) * max_action


def from_config(cfg: DiscretizedDQNConfig, sizes: Sizes) -> Algorithm:
    """One stage that learns all dimensions' Q functions against a soft copy of them."""
    num_bins, max_action, act_dim = cfg.num_bins, sizes.max_action, sizes.act_dim

    def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        """mean_d (y_d - Q_d(s, bin(a_d)))^2, y_d = r + gamma (1 - terminated) max_k Q_d'(s', k)    (DQN for each d)."""
        with no_grad():
            next_BAK = targets["model"](batch["obs_next"]).unflatten(-1, (act_dim, num_bins))
            value_AB = next_BAK.amax(-1).mT
            y_AB = n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], value_AB, hp["gamma"])
        q_BAK = nets["model"](batch["obs"]).unflatten(-1, (act_dim, num_bins))
        q_BA = take_action(q_BAK, to_bins(batch["act"], num_bins, max_action))
        error = F.mse_loss(q_BA, y_AB.mT)
        return error, {"loss": error}

    def act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
        """The middle of argmax_k Q_d(s, k), dimension by dimension."""
        q_BAK = nets["model"](batch["obs"]).unflatten(-1, (act_dim, num_bins))
        return {"act": to_centres(q_BAK.argmax(-1), num_bins, max_action)}

    def diagnose(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
        """Values and agreement, with each row and dimension as a row of its own."""
        q_BAK = nets["model"](batch["obs"]).unflatten(-1, (act_dim, num_bins))
        bins = {"act": to_bins(batch["act"], num_bins, max_action), "returns": batch["returns"]}
        return diagnostics.of_discrete_values(q_BAK.unsqueeze(0), q_BAK.argmax(-1), bins)

    return Algorithm(
        stages=(Stage(loss, trains=("model",)),),
        targets={"model": Target("model", rate="tau", every=1)},
        act=act,
        diagnose=diagnose,
        swept=SWEPT,
    )


def networks(cfg: DiscretizedDQNConfig, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """One network with A K raw linear outputs."""
    return {"model": MLP(sizes.obs_dim, sizes.act_dim * cfg.num_bins, **network.hidden)}


DEFINITION = Definition(DiscretizedDQNConfig, from_config, networks, SWEPT)
