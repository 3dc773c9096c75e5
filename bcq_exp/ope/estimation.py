"""Off-policy evaluation of trained runs, put together from their configurations.

Runs are judged on the whole dataset as it was recorded, whatever part of it they learned from and whatever units its
rewards had then; so runs that differ in these can be compared.

Shape suffixes: N rows of the dataset, E episodes, A number of actions or action dimensions.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from bcq_exp.analysis.runs import TrainedRun, load_policy
from bcq_exp.data import check_against, observation_statistics
from bcq_exp.data.mapping import in_files, should_map
from bcq_exp.data.preprocessing import episode_lengths
from bcq_exp.engine.machine import should_compile
from bcq_exp.engine.optim import make_schedule
from bcq_exp.io.files import write_json
from bcq_exp.networks import Critic, MLPNetworkConfig, Sizes
from bcq_exp.ope import selection
from bcq_exp.ope.behaviour import log_propensities
from bcq_exp.ope.decisions import decide
from bcq_exp.ope.fitting import Fitting
from bcq_exp.ope.fqe import FittedQ, NumberedBuffer, fitted_values
from bcq_exp.ope.importance import (
    Episodes,
    effective_sample_size,
    weighted_doubly_robust,
    weighted_importance_sampling,
    weights,
)
from bcq_exp.ope.offline import Task, check_fit
from bcq_exp.policies import Policy
from bcq_exp.policies.actions import ActionMap
from bcq_exp.training.config import RunConfig
from bcq_exp.training.datasets import DatasetConfig
from bcq_exp.training.experiment import optimizer_of, read_dataset

# Keys that say nothing of how an estimate was made.
NOT_KEPT = ("run", "ope", "episodes", "eval_max_steps", "allow_modules")

log = logging.getLogger(__name__)

Array = NDArray[np.float64]


def by_dataset(runs: Sequence[TrainedRun]) -> list[list[TrainedRun]]:
    """Runs that are judged on the same recording, in the order of their first ones."""
    preprocessing = {spec.name for spec in fields(DatasetConfig)} - {"format", "env"}
    found: dict[str, list[TrainedRun]] = {}
    for run in runs:
        recorded = {key: value for key, value in asdict(run.cfg.dataset).items() if key not in preprocessing}
        found.setdefault(repr(recorded), []).append(run)
    return list(found.values())


def estimate(runs: Sequence[TrainedRun], task: Task) -> list[dict[str, float]]:
    """What each run is worth, by estimator, and `ess`, the effective sample size, where episodes are weighted.

    Args:
        runs: of one dataset.
        task: what to estimate, and how.

    Returns:
        One each. NaN where a loss did not stay finite, or where the policy can make none of the recorded episodes.

    Raises:
        ValueError: an estimator is not for these actions, the network not for these observations, or the dataset
            cannot be used.
        OSError: it cannot be read.
    """
    check_fit(task, runs[0].cfg)
    recording = Recording(runs[0].cfg, task)
    policies = [load_policy(run) for run in runs]
    values: Sequence[FittedQ | None] = recording.fitted(policies) if task.has_values else [None] * len(runs)
    found: list[dict[str, float]] = []
    for policy, value in zip(policies, values, strict=True):
        worth = {"fqe": recording.by_values(policy, value)} if "fqe" in task.estimators else {}
        weighted = recording.by_weights(policy, value) if task.has_ratios else {}
        found.append({name: (worth | weighted)[name] for name in (*task.estimators, "ess") if name in worth | weighted})
    return found


class Recording:
    """The dataset that runs are judged on.

    Its last episode is not weighed where it ends in no terminal state: the end of the recording may have cut it, and a
    policy that makes none of the episodes would be judged by the shortest.

    Args:
        cfg: of one of the runs.
        task: what is asked.
    """

    def __init__(self, cfg: RunConfig, task: Task) -> None:
        self.task, self.settings, self.name = task, task.settings, cfg.dataset.name
        data = check_against(
            read_dataset(cfg.dataset), cfg.observation_space, cfg.action_space, self.settings.batch_size
        )
        is_mapped = should_map("auto", data, self.settings.device)
        data = in_files(data) if is_mapped else data
        # No scaling: runs may map their own units to the environment's in different ways.
        as_they_are = ActionMap(cfg.action_space, action_scaling=False, action_bound_method=None)
        self.data = replace(data, act=as_they_are.map_action_inverse(data.act))
        self.buffer = NumberedBuffer.from_transitions(self.data, self.settings.device, stays_mapped=is_mapped)
        lengths_E = episode_lengths(self.data)
        self.episodes = Episodes.of(lengths_E)
        is_cut = bool(self.data.truncated[-1]) and len(lengths_E) > 1
        self.whole = Episodes.of(lengths_E[:-1] if is_cut else lengths_E)
        self.is_discrete = isinstance(cfg.action_space, gym.spaces.Discrete)
        self.sizes = Sizes(self.data.obs.shape[1:], as_they_are.act_dim, as_they_are.max_action)
        is_flat = len(self.sizes.obs_shape) == 1
        self.fitting = Fitting(
            make_optimizer=optimizer_of(task.optimizer),
            make_schedule=partial(make_schedule, task.optimizer.lr_decay, num_updates=self.settings.num_updates),
            num_updates=self.settings.num_updates,
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
            is_compiled=should_compile(self.settings.compile, self.settings.num_updates),
            device=torch.device(self.settings.device),
            action_space=cfg.action_space,
            statistics=observation_statistics(np.asarray(self.data.obs)) if is_flat else None,
            obs_eps=self.settings.obs_eps,
        )

    def _per_action(self, name: str) -> nn.Module:
        return self.task.network.per_action([name], self.sizes)[name]

    def _critic(self) -> nn.Module:
        if self.is_discrete:
            return self._per_action("critic")
        assert isinstance(self.task.network, MLPNetworkConfig)
        return Critic(self.sizes.obs_dim, self.sizes.act_dim, **self.task.network.hidden)

    def fitted(self, policies: Sequence[Policy]) -> list[FittedQ | None]:
        """The values of policies, as one population."""
        log.info("%d policies are asked what they do in %d states", len(policies), len(self.data))
        return fitted_values(
            self.buffer,
            [decide(policy, self.data.obs_next, self.data.mask_next) for policy in policies],
            self._critic,
            self.fitting,
            f"fitted Q evaluation on {self.name}",
            gamma=self.settings.gamma,
            target_update_freq=self.settings.target_update_freq,
        )

    @cached_property
    def log_behaviour_N(self) -> Array:
        """log b(a|s) of the recorded actions."""
        return log_propensities(
            self.buffer,
            self.data.obs,
            self.data.mask,
            partial(self._per_action, "imitator"),
            self.fitting,
            self.sizes,
            f"imitation of {self.name}",
        )

    def by_values(self, policy: Policy, value: FittedQ | None) -> float:
        """mean V(s_0) over the first states of the episodes."""
        if value is None:
            return math.nan
        starts_E, mask = self.episodes.starts_E, self.data.mask
        obs, available = self.data.obs[starts_E], None if mask is None else mask[starts_E]
        return float(value.of_states(obs, decide(policy, obs, available)).mean())

    def by_weights(self, policy: Policy, value: FittedQ | None) -> dict[str, float]:
        """The estimators that weigh episodes, those that are asked for, and the effective sample size."""
        asked, gamma, rew_N = self.task.estimators, self.settings.gamma, self.data.rew.astype(np.float64)
        pi_NA = decide(policy, self.data.obs, self.data.mask)
        act_N = self.buffer.act
        rows = slice(int(self.whole.lengths_E.sum()))
        log_ratio_N = (log_of(pi_NA, act_N) - self.log_behaviour_N)[rows]
        weighed = rew_N[rows], log_ratio_N, self.whole, gamma
        found = {"ess": effective_sample_size(weights(log_ratio_N, self.whole))}
        if "wis" in asked:
            found["wis"] = weighted_importance_sampling(*weighed)
        if "pdwis" in asked:
            nothing_N = np.zeros_like(log_ratio_N)
            found["pdwis"] = weighted_doubly_robust(*weighed, q_N=nothing_N, value_N=nothing_N, value_next_N=nothing_N)
        if "dr" in asked:
            found["dr"] = math.nan
            if value is not None:
                value_next_N = value.of_next_states(self.data.obs_next)
                found["dr"] = weighted_doubly_robust(
                    *weighed,
                    q_N=value.of_actions(self.data.obs, act_N)[rows],
                    value_N=value.of_states(self.data.obs, pi_NA)[rows],
                    value_next_N=np.where(self.data.terminated, 0.0, value_next_N)[rows],
                )
        return found


def log_of(pi_NA: Tensor, act_N: Tensor) -> Array:
    """log pi(a|s) of the given actions, (N,); -inf where the policy never takes one."""
    log_N: Any = pi_NA.double().gather(-1, act_N.unsqueeze(-1)).squeeze(-1).log()
    found: Array = log_N.cpu().numpy()
    return found


def judge(runs: Sequence[TrainedRun], task: Task, picture: Path) -> None:
    """Estimate, write `ope.json` into each run's directory, and print; of three runs and more, judge the choice too."""
    found, console = estimate(runs, task), Console()
    settings = {key: value for key, value in vars(task.settings).items() if key not in NOT_KEPT}
    for run, worth in zip(runs, found, strict=True):
        estimates = {name: None if math.isnan(value) else value for name, value in worth.items()}
        facts = {"checkpoint": run.checkpoint.name, "online_return": run.online_return, "num_members": len(runs)}
        write_json(run.directory / "ope.json", {"estimates": estimates, **facts, "settings": settings})
    dataset, returns = runs[0].cfg.dataset.name, [run.online_return for run in runs]
    columns = {name: [worth[name] for worth in found] for name in found[0]}
    title = f"{dataset}: estimated returns, discounted by {task.settings.gamma:g}"
    console.print(selection.estimates([run.label for run in runs], columns, returns, title))
    if len(runs) > 2:  # two are in order or not
        judged = {name: columns[name] for name in task.estimators}
        console.print(selection.rankings(judged, returns, seed=task.settings.seed))
        selection.plot(judged, returns, picture)
        console.print(f"plot: {picture}", soft_wrap=True)
