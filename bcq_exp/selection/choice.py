"""The choice of a setting, and of a run with it, among the members of a sweep: by estimates alone.

The first estimator that was asked for and is not worthless decides; name fitted Q evaluation first, which ranks best in
comparisons (arXiv:2007.09055, arXiv:2107.11003, arXiv:2103.16596). A setting is worth the lower end of its interval, as
in selection by confidence bounds (arXiv:2006.10460), so that a large estimate of few episodes, or of one seed of
several, does not win by its error.

Intervals are percentiles of a bootstrap. A run's is over the recorded episodes (fitted Q evaluation: their first
states), with networks that are fitted once: they do not show the errors of fitted values. A setting's is over its seeds
too: what it is worth when it is trained again.

Shape suffixes: R resamples, S seeds.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from bcq_exp.analysis.statistics import CONFIDENCE, Estimate
from bcq_exp.analysis.tables import with_ends
from bcq_exp.analysis.trained_runs import TrainedRun
from bcq_exp.selection.ranking import num_decimals, rounded

Array = NDArray[np.float64]

RULE = (
    "The first of the estimators that is worth something for two settings, or for the only one, decides among these. It"
    " is worthless for a setting where it is so for one of its runs. Chosen is the setting with the highest lower end"
    " of its interval, and of its runs the one with the highest lower end."
)


@dataclass(frozen=True, eq=False)
class Member:
    """A run and what the estimators say of it.

    Args:
        run: the run.
        numbers: estimates by estimator, then diagnostics; NaN where there is none.
        resamples: by estimator, (R,) each; the same draws of episodes for all members.
        objections: by estimator, why its estimate is worthless; estimators without an objection are left out.
    """

    run: TrainedRun
    numbers: Mapping[str, float]
    resamples: Mapping[str, Array]
    objections: Mapping[str, str]

    def estimate(self, name: str) -> Estimate:
        """The estimate with its interval over episodes."""
        return with_interval(self.numbers[name], self.resamples[name])


@dataclass(frozen=True, eq=False)
class Setting:
    """The members with one setting, which differ in their seeds.

    Args:
        name: of the setting.
        members: at least one.
        drawn_RS: the members of each resample, S of S.
    """

    name: str
    members: Sequence[Member]
    drawn_RS: NDArray[np.int64]

    def resample(self, name: str) -> Array:
        """Means over the drawn members, each estimated from the drawn episodes, (R,)."""
        of_members_SR = np.stack([member.resamples[name] for member in self.members])
        means: Array = np.take_along_axis(of_members_SR.T, self.drawn_RS, 1).mean(1)
        return means

    def estimate(self, name: str) -> Estimate:
        """The mean over the members with its interval over episodes and seeds."""
        return with_interval(float(np.mean([member.numbers[name] for member in self.members])), self.resample(name))

    def objections(self, name: str) -> list[str]:
        """Why an estimator is worthless here: a line a run that it is worthless for."""
        return [
            f"{member.run.label}: {member.objections[name]}" for member in self.members if name in member.objections
        ]


@dataclass(frozen=True)
class Choice:
    """The settings of a sweep, and the choice among them by `RULE`.

    Args:
        settings: in the order of the sweep.
        estimators: names, in the order in which they may decide.
    """

    settings: Sequence[Setting]
    estimators: Sequence[str]

    def sound(self, name: str) -> list[Setting]:
        """The settings that an estimator is worth something for."""
        return [setting for setting in self.settings if not setting.objections(name)]

    @cached_property
    def decider(self) -> str | None:
        """The estimator that decides; None where all are worthless."""
        return next((name for name in self.estimators if self._is_enough(name)), None)

    @cached_property
    def ranked(self) -> list[Setting]:
        """The settings that can be chosen, best first."""
        if self.decider is None:
            return []
        return sorted(self.sound(self.decider), key=lambda setting: -setting.estimate(str(self.decider)).low)

    @property
    def ordered(self) -> list[Setting]:
        """All settings, those that can be chosen in front, best first."""
        return [*self.ranked, *(setting for setting in self.settings if setting not in self.ranked)]

    @property
    def chosen(self) -> Setting | None:
        """The chosen setting; None where no estimator decides."""
        return self.ranked[0] if self.ranked else None

    @property
    def member(self) -> Member | None:
        """The run chosen of that setting."""
        name = self.decider
        return max(self.chosen.members, key=lambda member: member.estimate(name).low) if self.chosen and name else None

    def close(self) -> list[str]:
        """Names of the settings whose difference from the chosen one has an interval that holds 0."""
        if self.chosen is None or self.decider is None:
            return []
        best_R, name = self.chosen.resample(self.decider), self.decider
        ends = [(setting, with_interval(0.0, best_R - setting.resample(name))) for setting in self.ranked[1:]]
        return [setting.name for setting, difference in ends if difference.low <= 0 <= difference.high]

    def verdict(self, name: str) -> str:
        """Say whether an estimator decides, or why not."""
        if name == self.decider:
            return "decides"
        if self._is_enough(name):
            return "worth something, after the one that decides"
        example = next(line for setting in self.settings for line in setting.objections(name))
        num, total = len(self.sound(name)), len(self.settings)
        return f"worthless for {total - num} of {total} settings, such as {example}"

    def _is_enough(self, name: str) -> bool:
        return len(self.sound(name)) >= min(2, len(self.settings))


def choose(members: Sequence[Member], estimators: Sequence[str], seed: int) -> Choice:
    """Group members by setting and choose.

    Args:
        members: of one dataset, at least one.
        estimators: names, in the order in which they may decide.
        seed: of the draws of seeds.
    """
    rng, groups = np.random.default_rng(seed), defaultdict[str, list[Member]](list)
    for member in members:
        groups[member.run.setting].append(member)
    num_resamples = len(members[0].resamples[estimators[0]])
    settings = [
        Setting(name, alike, rng.integers(len(alike), size=(num_resamples, len(alike))))
        for name, alike in groups.items()
    ]
    return Choice(settings, estimators)


def with_interval(value: float, resample_R: Array) -> Estimate:
    """A value and the percentiles of its resamples; these are NaN where one of them is."""
    low, high = np.quantile(resample_R, (0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2))
    return Estimate(value, float(low), float(high))


def possible_returns(rew_N: Array, terminated_N: NDArray[np.bool_], gamma: float) -> tuple[float, float]:
    """Bounds of the discounted return of episodes of any length, with rewards as recorded: at least one of them.

    Where only terminal rows have rewards, an episode has one such outcome, or none yet.
    """

    def most(reward: float) -> float:
        return reward / (1 - gamma) if gamma < 1 else math.copysign(math.inf, reward)

    low, high = float(rew_N.min()), float(rew_N.max())
    if not rew_N[~terminated_N].any():
        return min(low, 0.0), max(high, 0.0)
    return most(low) if low < 0 else low, most(high) if high > 0 else high


def account(choice: Choice, sweep: Path, omissions: Sequence[str], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `selection.json`: what was chosen, by which rule and estimates, and what was left out and why.

    Args:
        choice: the choice.
        sweep: a directory above all runs; their paths are relative to it.
        omissions: runs that could not be estimated, a line each.
        facts: that tell what the estimates are of, written as they are.
    """
    setting, member, name = choice.chosen, choice.member, choice.decider
    chosen = setting and member and {
        "setting": setting.name,
        "run": member.run.directory.relative_to(sweep).as_posix(),
        "seed": member.run.seed,
        "checkpoint": member.run.checkpoint.name,
        "close_settings": choice.close(),
    }  # fmt: skip
    decided_on = name or choice.estimators[0]
    left_out = [line for each in choice.ordered if each not in choice.ranked for line in each.objections(decided_on)]
    return {
        "chosen": chosen or None,
        "decided_by": name,
        "rule": RULE,
        "estimators": {each: choice.verdict(each) for each in choice.estimators},
        "settings": [_setting_row(each, sweep, choice.estimators) for each in choice.ordered],
        "left_out": [*left_out, *omissions],
        **facts,
    }


def _setting_row(setting: Setting, sweep: Path, estimators: Sequence[str]) -> dict[str, Any]:
    return {
        "setting": setting.name,
        "seeds": [member.run.seed for member in setting.members],
        "estimates": {name: _numbers(setting.estimate(name)) for name in estimators},
        "runs": [_run_row(member, sweep, estimators) for member in setting.members],
    }


def _run_row(member: Member, sweep: Path, estimators: Sequence[str]) -> dict[str, Any]:
    return {
        "run": member.run.directory.relative_to(sweep).as_posix(),
        "seed": member.run.seed,
        "estimates": {name: _numbers(member.estimate(name)) for name in estimators},
        "diagnostics": {name: _finite(value) for name, value in member.numbers.items() if name not in estimators},
        "objections": dict(member.objections),
        "online_return": member.run.online_return,
    }


def _numbers(estimate: Estimate) -> dict[str, float | None]:
    return {"value": _finite(estimate.value), "low": _finite(estimate.low), "high": _finite(estimate.high)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def settings_table(choice: Choice, title: str) -> Table:
    """Make a table with a row a setting, the chosen one on top, those that cannot be chosen at the end."""
    caption = "intervals of 95 % over episodes and seeds; in brackets: worthless"
    table = Table(title=title, box=box.SIMPLE_HEAD, caption=caption)
    table.add_column("setting", no_wrap=True)
    for column in ("seeds", *choice.estimators):
        table.add_column(column, justify="right")
    for setting in choice.ordered:
        cells = [_cell(setting, name, has_interval=name == choice.decider) for name in choice.estimators]
        table.add_row(setting.name.replace(" ", "\n"), str(len(setting.members)), *cells)
    return table


def _cell(setting: Setting, name: str, *, has_interval: bool) -> str:
    estimate = setting.estimate(name)
    if math.isnan(estimate.value):
        return "-"
    if setting.objections(name):
        return f"({estimate.value:.2g})"
    decimals = num_decimals([estimate.value])
    return with_ends(estimate, decimals) if has_interval else rounded(estimate.value, decimals)
