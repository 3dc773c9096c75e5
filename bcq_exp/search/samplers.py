"""The samplers of a search, by the names that `hydra.sweeper.sampler` takes.

A sampler is made anew for each trial, with a seed of its own, and learns from the study alone. So a search that was
killed anywhere proposes what it would have proposed.
"""

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

Space = Mapping[str, Any]  # Optuna's distributions, by key


def no_reason(space: Space, num_objectives: int) -> str | None:
    """None: the sampler takes any space, and any number of objectives."""


@dataclass(frozen=True)
class Sampler:
    """A kind of sampler.

    Args:
        make: Optuna's sampler of one trial; takes a seed, the space and the trial's number.
        refusal: why it cannot search a space for a number of objectives; None where it can.
        is_finite: whether it ends with the last point of the space.
    """

    make: Callable[[int, Space, int], Any]
    refusal: Callable[[Space, int], str | None] = no_reason
    is_finite: bool = False


def points(space: Space) -> list[tuple[Any, ...]]:
    """All points of a space without intervals; the last key changes fastest."""
    return list(itertools.product(*(values(each) for each in space.values())))


def values(distribution: Any) -> Sequence[Any]:
    """The values of a distribution that has finitely many in an order that a user can predict."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    return [distribution.low + number * distribution.step for number in range(count)]


def ends(distribution: Any) -> list[Any]:
    """Every choice, or the smallest and the largest number."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    return [distribution.low, distribution.high]


def _grid_point(seed: int, space: Space, number: int) -> Any:
    point = dict(zip(space, points(space)[number], strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.PartialFixedSampler(point, optuna.samplers.RandomSampler(seed))


def _no_grid(space: Space, num_objectives: int) -> str | None:
    endless = [
        key
        for key, each in space.items()
        if (isinstance(each, FloatDistribution) and each.step is None) or getattr(each, "log", False)
    ]
    return f"a grid has no intervals: give {', '.join(endless)} as choice or range" if endless else None


def _no_evolution(space: Space, num_objectives: int) -> str | None:
    named = [key for key, each in space.items() if isinstance(each, CategoricalDistribution)]
    if named:
        return f"it searches numbers only: give {', '.join(named)} as interval or range, or fix it"
    if len(space) < 2:
        return "it searches two keys or more"
    return "it takes one objective" if num_objectives > 1 else None


SAMPLERS = {
    "tpe": Sampler(lambda seed, space, number: optuna.samplers.TPESampler(seed=seed)),
    "gp": Sampler(lambda seed, space, number: optuna.samplers.GPSampler(seed=seed)),
    "cmaes": Sampler(lambda seed, space, number: optuna.samplers.CmaEsSampler(seed=seed), _no_evolution),
    "random": Sampler(lambda seed, space, number: optuna.samplers.RandomSampler(seed)),
    "grid": Sampler(_grid_point, _no_grid, is_finite=True),
}
