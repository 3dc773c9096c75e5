"""Fitted Q evaluation (arXiv:1903.08738, algorithm 3), for the selection among policies as in arXiv:2007.09055.

A policy's Q network is fitted to the policy's own next action. There is no maximum over actions, so errors at actions
that the policy never takes do not matter.

Shape suffixes: N rows of the dataset, B batch, A number of actions or action dimensions.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms.form import Algorithm, Nets, Stage, Target, Tensors, rare_copies
from bcq_exp.data import ReplayBuffer
from bcq_exp.ope.action_table import ActionTable
from bcq_exp.ope.batches import map_batches
from bcq_exp.ope.fitting import Fitting, as_seen
from bcq_exp.ops.discrete import expected_value, take_action
from bcq_exp.ops.td import n_step_target
from bcq_exp.policies import Policy

Array = NDArray[np.float64]

log = logging.getLogger(__name__)


class NumberedBuffer(ReplayBuffer):
    """A dataset whose batches hold their row numbers."""

    def columns(self) -> dict[str, Any]:
        """The columns of the dataset, and `row`."""
        return {**super().columns(), "row": torch.arange(len(self), device=self.device)}


def value_of_state(critic: Callable[..., Tensor], obs: Tensor, pi_BA: Tensor, *, is_discrete: bool) -> Tensor:
    """V(s) = sum_a pi(a|s) Q(s, a), or Q(s, pi(s)) of continuous actions, (B,)."""
    return expected_value(pi_BA, critic(obs)) if is_discrete else critic(obs, pi_BA)


def value_of_action(critic: Callable[..., Tensor], obs: Tensor, act: Tensor, *, is_discrete: bool) -> Tensor:
    """Q(s, a), (B,), of actions (B,) or (B, A)."""
    return take_action(critic(obs), act) if is_discrete else critic(obs, act)


def build(*, is_discrete: bool, target_update_freq: int) -> Algorithm:
    """Fitted Q evaluation as a stage: one gradient step on

    mean (y - Q(s, a))^2, y = r + gamma (1 - terminated) V'(s')    (algorithm 3)

    where V' is the value by a copy of Q, which is renewed after every `target_update_freq` updates. The paper fits each
    iteration until its regression has converged; here an iteration is `target_update_freq` steps, from the weights
    where the one before it stopped.
    """

    def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        with no_grad():
            pi_BA = nets["action_table"](batch["row"])
            value_B = value_of_state(targets["critic"], batch["obs_next"], pi_BA, is_discrete=is_discrete)
            y_B = n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], value_B, hp["gamma"])
        q_B = value_of_action(nets["critic"], batch["obs"], batch["act"], is_discrete=is_discrete)
        q_loss = F.mse_loss(q_B, y_B)
        return q_loss, {"loss": q_loss}

    return Algorithm(
        stages=(Stage(loss, trains=("critic",)),),
        targets={"critic": Target("critic", rate=None, every=target_update_freq)},
        act=act,
        swept=frozenset({"gamma"}),
    )


def act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """The evaluated policy's actions in the next state of a row."""
    return {"act": nets["action_table"](batch["row"])}


class FittedQ:
    """A policy's values of recorded states and actions, in units of the recorded reward.

    Args:
        policy: the fitted algorithm of `build`.
        is_discrete: whether actions are discrete.
    """

    def __init__(self, policy: Policy, *, is_discrete: bool) -> None:
        self.policy, self.is_discrete = policy, is_discrete

    def of_states(self, obs: Any, pi_NA: Tensor) -> Array:
        """V(s), (N,), of observations (N, *S) and the policy's actions there, made by `tabulate`."""
        return self._values(value_of_state, obs, pi_NA)

    def of_next_states(self, obs_next: Any) -> Array:
        """V(s'), (N,), of the dataset's next states (N, *S), by the action table that it was fitted to."""
        action_table = self.policy.nets["action_table"]
        assert isinstance(action_table, ActionTable)
        return self.of_states(obs_next, action_table.table)

    def of_actions(self, obs: Any, act: Tensor) -> Array:
        """Q(s, a), (N,), of observations (N, *S) and actions (N,) or (N, A)."""
        return self._values(value_of_action, obs, act)

    @no_grad()
    def _values(self, value: Callable[..., Tensor], obs: Any, act: Tensor) -> Array:
        def values(obs_B: Any, act_B: Tensor) -> Tensor:
            critic = self.policy.nets["critic"]
            return value(critic, as_seen(self.policy, obs_B), act_B, is_discrete=self.is_discrete)

        return map_batches(values, obs, act).double().cpu().numpy()


def fitted_values(
    buffer: NumberedBuffer,
    tables: Sequence[Tensor],
    make_critic: Callable[[], nn.Module],
    fitting: Fitting,
    description: str,
    *,
    gamma: float,
    target_update_freq: int,
) -> list[FittedQ | None]:
    """Fit the values of several policies as one population.

    Args:
        buffer: the dataset: rewards as recorded, discrete actions from 0 on, continuous ones in the environment's
            units.
        tables: each policy's actions in every next state, (N, A), made by `tabulate`.
        make_critic: makes a Q network, from observations to Q(s, .), or from observation and continuous action to Q.
        fitting: how the networks are fitted.
        description: shown with the progress.
        gamma: discount, in [0, 1].
        target_update_freq: updates of an iteration, 1 or more.

    Returns:
        The values of each policy; None where its loss did not stay finite.
    """
    is_discrete = isinstance(fitting.action_space, gym.spaces.Discrete)
    algorithm = build(is_discrete=is_discrete, target_update_freq=target_update_freq)
    policies = [
        fitting.initialised(algorithm, "critic", make_critic, {"action_table": ActionTable(table_NA)}, {"gamma": gamma})
        for table_NA in tables
    ]
    for line in rare_copies(algorithm, policies[0].hp, fitting.num_updates):
        log.warning(line)
    is_finite = fitting.fit(policies, buffer, description)
    return [
        FittedQ(policy, is_discrete=is_discrete) if is_good else None
        for policy, is_good in zip(policies, is_finite, strict=True)
    ]
