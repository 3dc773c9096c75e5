"""Keys of off-policy evaluation, except its network and optimizer and those that an estimator has as its own."""

from dataclasses import dataclass
from typing import Any

from bcq_exp.engine.machine import MAX_THREADS
from bcq_exp.fields import one_of, within

LAST_SEED = 2**63 - 1  # the largest that both torch and numpy take


@dataclass(kw_only=True)
class EstimationConfig:
    """Keys of every estimate. `num_updates` is that of each fit."""

    gamma: float = within(0, 1)
    num_updates: int = within(1)
    batch_size: int = within(1)
    obs_eps: float = within(0, is_low_open=True)
    seed: int = within(0, LAST_SEED)


@dataclass(kw_only=True)
class EvaluationConfig(EstimationConfig):
    """Keys of `conf/evaluate.yaml`."""

    run: str
    allow_modules: list[str]
    ope: Any
    select: bool
    min_ess: float = within(1)
    num_resamples: int = within(100)
    episodes: int = within(1)
    eval_max_steps: int = within(1)
    video: bool
    device: str
    num_threads: int = within(1, MAX_THREADS)
    compile: str = one_of("auto", "always", "never")


@dataclass(kw_only=True)
class TrainingEstimateConfig(EstimationConfig):
    """Keys of `conf/eval_ope/`. `max_transitions` is of the whole episodes that are judged; null takes all."""

    estimator: str
    max_transitions: int | None = within(1)
