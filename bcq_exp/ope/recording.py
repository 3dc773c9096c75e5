"""The dataset that policies are evaluated on, and what is fitted to it.

Policies are judged on the held-out episodes, or on all where none are held out, as they were recorded: whatever other
part they learned from, and in whatever units its rewards were then. So runs that differ in these can be compared.

Shape suffixes: N rows of the dataset, R rows of its whole episodes, E episodes.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bcq_exp.data import Transitions, observation_statistics
from bcq_exp.data.mapping import in_files, should_map
from bcq_exp.data.preprocessing import episode_lengths
from bcq_exp.engine.machine import should_compile
from bcq_exp.engine.optim import OptimizerConfig
from bcq_exp.networks import Critic, MLPNetworkConfig, NetworkConfig, Sizes
from bcq_exp.ope.action_table import tabulate
from bcq_exp.ope.fitted_q import FittedQ, NumberedBuffer, fitted_values
from bcq_exp.ope.fitting import Fitting, Watch
from bcq_exp.ope.importance import Episodes
from bcq_exp.ope.propensities import log_propensities
from bcq_exp.ope.schema import EstimationConfig
from bcq_exp.policies import Policy
from bcq_exp.policies.actions import ActionMap

log = logging.getLogger(__name__)

Array = NDArray[np.float64]


class Recording:
    """The dataset of several runs, and networks fitted to it.

    Importance weights leave out the last episode (`whole`, `rows`) unless it ends in a terminal state: the recording
    may have stopped in the middle of it.

    Args:
        data: the episodes that policies are judged on, checked against the spaces.
        action_space: of the runs.
        name: of the dataset, shown with the progress.
        settings: of the estimates.
        network, optimizer: of the Q networks and the imitator.
        device: of networks and minibatches.
        compile_: `auto`, `always` or `never`, of the updates of each fit.
        watch: as for `Fitting`.
    """

    def __init__(
        self,
        data: Transitions,
        action_space: gym.Space[Any],
        *,
        name: str,
        settings: EstimationConfig,
        network: NetworkConfig,
        optimizer: OptimizerConfig,
        device: str,
        compile_: str,
        watch: Watch | None = None,
    ) -> None:
        self.settings, self.network, self.name = settings, network, name
        is_mapped = should_map("auto", data, device)
        data = in_files(data) if is_mapped else data
        # Unscaled: each run has its own map between policy units and the environment's.
        unscaled = ActionMap(action_space, action_scaling=False, action_bound_method=None)
        self.data = replace(data, act=unscaled.map_action_inverse(data.act))
        self.buffer = NumberedBuffer.from_transitions(self.data, device, stays_mapped=is_mapped)
        lengths_E = episode_lengths(self.data)
        self.episodes = Episodes.of(lengths_E)
        may_be_cut = bool(self.data.truncated[-1]) and len(lengths_E) > 1
        self.whole = Episodes.of(lengths_E[:-1] if may_be_cut else lengths_E)
        self.rows = slice(int(self.whole.lengths_E.sum()))
        self.is_discrete = isinstance(action_space, gym.spaces.Discrete)
        self.sizes = Sizes(self.data.obs.shape[1:], unscaled.act_dim, unscaled.max_action)
        is_flat = len(self.sizes.obs_shape) == 1
        self.fitting = Fitting(
            make_optimizer=optimizer.make,
            make_schedule=partial(optimizer.schedule, num_updates=settings.num_updates),
            num_updates=settings.num_updates,
            batch_size=settings.batch_size,
            seed=settings.seed,
            is_compiled=should_compile(compile_, settings.num_updates),
            device=torch.device(device),
            action_space=action_space,
            statistics=observation_statistics(np.asarray(self.data.obs)) if is_flat else None,
            obs_eps=settings.obs_eps,
            watch=watch,
        )

    @property
    def rew_R(self) -> Array:
        """Recorded rewards of the whole episodes."""
        return self.data.rew[self.rows].astype(np.float64)

    @cached_property
    def log_behaviour_N(self) -> Array:
        """log b(a|s) of the recorded actions, by an imitator of the dataset."""
        return log_propensities(
            self.buffer,
            self.data.obs,
            self.data.mask,
            partial(self._per_action, "imitator"),
            self.fitting,
            self.sizes,
            f"imitation of {self.name}",
        )

    def fitted_values(self, policies: Sequence[Policy], target_update_freq: int) -> list[FittedQ | None]:
        """Fit the values of policies as one population; None where a loss did not stay finite."""
        if self.fitting.watch is None:
            log.info("%d policies are asked what they do in %d states", len(policies), len(self.data))
        return fitted_values(
            self.buffer,
            [tabulate(policy, self.data.obs_next, self.data.mask_next) for policy in policies],
            self._critic,
            self.fitting,
            f"fitted Q evaluation on {self.name}",
            gamma=self.settings.gamma,
            target_update_freq=target_update_freq,
        )

    def _critic(self) -> nn.Module:
        if self.is_discrete:
            return self._per_action("critic")
        assert isinstance(self.network, MLPNetworkConfig)
        critic = Critic(self.sizes.obs_dim, self.sizes.act_dim, **self.network.hidden)
        return self.network.initialized({"critic": critic})["critic"]

    def _per_action(self, name: str) -> nn.Module:
        return self.network.initialized(self.network.per_action([name], self.sizes))[name]
