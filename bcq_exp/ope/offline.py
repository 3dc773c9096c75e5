"""What is asked of `bcq-evaluate`: its typed keys, and what of them fits together."""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from omegaconf import DictConfig

from bcq_exp.fields import one_of, within
from bcq_exp.networks import NETWORKS, NetworkConfig
from bcq_exp.training.config import (
    MAX_THREADS,
    OptimizerConfig,
    RunConfig,
    device_errors,
    network_errors,
    optimizer_errors,
)
from bcq_exp.training.sections import chosen_type, plain, typed_section

LAST_SEED = 2**63 - 1  # that torch and numpy take alike
ESTIMATORS = ("fqe", "wis", "pdwis", "dr")
WITH_VALUES, WITH_RATIOS = frozenset({"fqe", "dr"}), frozenset({"wis", "pdwis", "dr"})


@dataclass(kw_only=True)
class EvaluationConfig:
    """Keys of `conf/evaluate.yaml`, but for its network and optimizer; periods and `num_updates` count updates."""

    run: str
    allow_modules: list[str]
    ope: Any
    episodes: int = within(1)
    eval_max_steps: int = within(1)
    gamma: float = within(0, 1)
    num_updates: int = within(1)
    batch_size: int = within(1)
    target_update_freq: int = within(1)
    obs_eps: float = within(0, is_low_open=True)
    seed: int = within(0, LAST_SEED)
    device: str
    num_threads: int = within(1, MAX_THREADS)
    compile: str = one_of("auto", "always", "never")


@dataclass(frozen=True)
class Task:
    """One checked evaluation; `estimators` is empty where episodes are played."""

    settings: EvaluationConfig
    network: NetworkConfig
    optimizer: OptimizerConfig
    estimators: tuple[str, ...]

    @property
    def has_values(self) -> bool:
        """Whether an estimator needs fitted values."""
        return bool(WITH_VALUES & set(self.estimators))

    @property
    def has_ratios(self) -> bool:
        """Whether an estimator needs the probabilities of recorded actions."""
        return bool(WITH_RATIOS & set(self.estimators))


def checked_task(cfg: DictConfig) -> Task:
    """The typed configuration of an evaluation; raises ValueError with all that is wrong, a line each."""
    errors: list[str] = []
    values = plain(cfg)
    network_type = chosen_type(values, "network.kind", NETWORKS, errors)
    if not isinstance(values.get("optimizer"), dict):
        errors.append("the configuration lacks optimizer")
    if errors:
        raise ValueError("\n".join(errors))
    network = typed_section(values["network"], network_type, "network.", errors)
    optimizer = typed_section(values["optimizer"], OptimizerConfig, "optimizer.", errors)
    rest = {key: value for key, value in values.items() if key not in ("network", "optimizer")}
    settings = typed_section(rest, EvaluationConfig, "", errors)
    if errors:
        raise ValueError("\n".join(errors))
    asked = settings.ope if isinstance(settings.ope, list) else [] if settings.ope is None else [settings.ope]
    errors += [f"ope={name} is none of {', '.join(ESTIMATORS)}" for name in asked if name not in ESTIMATORS]
    if errors:
        raise ValueError("\n".join(errors))
    errors += device_errors(settings.device) + optimizer_errors(optimizer)
    if settings.gamma == 1 and WITH_VALUES & set(asked):
        errors.append("gamma=1: fitted values have no bound where episodes need not end; give less, such as 0.999")
    if errors:
        raise ValueError("\n".join(errors))
    return Task(settings, network, optimizer, tuple(dict.fromkeys(asked)))


def check_fit(task: Task, cfg: RunConfig) -> None:
    """Raise ValueError where an estimator is not for a run's actions, or the network not for its observations."""
    errors = network_errors(task.network, cfg.algorithm, cfg.observation_space)
    if task.has_ratios and not isinstance(cfg.action_space, gym.spaces.Discrete):
        names = ", ".join(name for name in task.estimators if name in WITH_RATIOS)
        errors.append(
            f"ope={names} is for discrete actions, {cfg.dataset.env} has {cfg.action_space}: a policy that is sure of"
            " its action has no density; give ope=fqe"
        )
    if errors:
        raise ValueError("\n".join(errors))
