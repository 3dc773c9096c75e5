"""Off-policy evaluation of trained runs: estimates, written beside each run, a comparison with online returns, and the
choice among the runs.

Shape suffixes: R resamples.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bcq_exp.analysis.trained_runs import TrainedRun, load_policy
from bcq_exp.data import check_against
from bcq_exp.io.files import write_json
from bcq_exp.ope.candidate import candidates
from bcq_exp.ope.estimators.base import Array, Statistic
from bcq_exp.ope.recording import Recording
from bcq_exp.selection import choice, ranking
from bcq_exp.selection.chosen_run import SELECTION
from bcq_exp.selection.request import Request, check_fit
from bcq_exp.training.config import RunConfig
from bcq_exp.training.datasets import divided, part_of, recorded

# Keys that do not change an estimate.
NOT_KEPT = ("run", "ope", "select", "min_ess", "num_resamples", "episodes", "eval_max_steps", "allow_modules")


@dataclass(frozen=True)
class Assessment:
    """Estimates of one policy.

    Args:
        recording: the dataset.
        statistics: by estimator.
        diagnostics: by name.
    """

    recording: Recording
    statistics: Mapping[str, Statistic]
    diagnostics: Mapping[str, float]

    @property
    def numbers(self) -> dict[str, float]:
        """Estimates by estimator, then diagnostics (`ess`); NaN where there is none."""
        once_1E = np.ones((1, len(self.recording.episodes.lengths_E)))
        estimates = {name: float(statistic(once_1E)[0]) for name, statistic in self.statistics.items()}
        return {**estimates, **self.diagnostics}

    def resamples(self, num: int, seed: int) -> dict[str, Array]:
        """Estimates from `num` draws of the episodes, (R,) by estimator; the same draws for every policy."""
        found = dict[str, list[Array]]()
        for counts_RE in self.recording.episodes.draws(num, seed):
            for name, statistic in self.statistics.items():
                found.setdefault(name, []).append(statistic(counts_RE))
        return {name: np.concatenate(blocks) for name, blocks in found.items()}


def by_dataset(runs: Sequence[TrainedRun]) -> list[list[TrainedRun]]:
    """Group runs that are judged on the same episodes of the same recording, however they preprocessed what they
    learned from; in the order of their first.
    """
    groups: dict[str, list[TrainedRun]] = {}
    for run in runs:
        groups.setdefault(repr(run.cfg.dataset.judged), []).append(run)
    return list(groups.values())


def estimate(runs: Sequence[TrainedRun], request: Request) -> list[dict[str, float]]:
    """Estimate the return of each run's policy: a dictionary a run, by estimator; diagnostics (`ess`) follow.

    NaN stands where a loss did not stay finite, or where the policy can make none of the recorded episodes.

    Arguments and errors are those of `assessments`.
    """
    return [assessment.numbers for assessment in assessments(runs, request)]


def assessments(runs: Sequence[TrainedRun], request: Request) -> Iterator[Assessment]:
    """Assess each run's policy.

    Args:
        runs: of one dataset.
        request: the estimators, and how networks are fitted.

    Raises:
        ValueError: an estimator is not for these actions, the network not for these observations, or the dataset
            cannot be used.
        OSError: it cannot be read.
    """
    check_fit(request, runs[0].cfg)
    recording = recording_of(runs[0].cfg, request)
    for candidate in candidates(recording, [load_policy(run) for run in runs]):
        diagnostics: dict[str, float] = {}
        for estimator in request.estimators.values():
            diagnostics |= estimator.diagnostics(candidate)
        statistics = {name: estimator.statistic(candidate) for name, estimator in request.estimators.items()}
        yield Assessment(recording, statistics, diagnostics)


def recording_of(cfg: RunConfig, request: Request) -> Recording:
    """Read the episodes that the policies of a run are judged on: those that it held out, or all."""
    settings = request.settings
    data = divided(recorded(cfg.dataset), cfg.dataset).judged
    assert data is not None
    return Recording(
        check_against(data, cfg.observation_space, cfg.action_space, settings.batch_size),
        cfg.action_space,
        name=cfg.dataset.name,
        settings=settings,
        network=request.network,
        optimizer=request.optimizer,
        device=settings.device,
        compile_=settings.compile,
    )


def judge(runs: Sequence[TrainedRun], request: Request, picture: Path) -> None:
    """Estimate, write `ope.json` into each run's directory and print a table.

    With three runs or more whose online returns are known, also judge how well the estimates choose among them, and
    plot that.
    """
    show(runs, estimate(runs, request), request, picture)


def show(runs: Sequence[TrainedRun], estimates: Sequence[Mapping[str, float]], request: Request, picture: Path) -> None:
    """Write and print the estimates, as `judge` says."""
    settings, part, console = settings_of(request), part_of(runs[0].cfg.dataset), Console()
    for run, numbers in zip(runs, estimates, strict=True):
        kept = {name: None if math.isnan(value) else value for name, value in numbers.items()}
        facts = {"checkpoint": run.checkpoint.name, "online_return": run.online_return, "num_members": len(runs)}
        write_json(run.directory / "ope.json", {"estimates": kept, "part": part, **facts, "settings": settings})
    dataset = runs[0].cfg.dataset.name
    returns = [math.nan if run.online_return is None else run.online_return for run in runs]
    columns = {name: [numbers[name] for numbers in estimates] for name in estimates[0]}
    title = f"{dataset}: estimated returns, discounted by {request.settings.gamma:g}, on {part}"
    console.print(ranking.estimates_table([run.label for run in runs], columns, returns, title))
    if len(runs) > 2 and not any(map(math.isnan, returns)):  # the order of two is right or wrong
        judged = {name: columns[name] for name in request.estimators}
        console.print(ranking.rankings_table(judged, returns, seed=request.settings.seed))
        ranking.plot(judged, returns, picture)
        console.print(f"plot: {picture}", soft_wrap=True)


def settings_of(request: Request) -> dict[str, Any]:
    """All keys that change an estimate, with their values."""
    common = {key: value for key, value in vars(request.settings).items() if key not in NOT_KEPT}
    own: dict[str, Any] = {}
    for estimator in request.estimators.values():
        own |= vars(estimator)
    return common | own


def select(runs: Sequence[TrainedRun], omissions: Sequence[str], request: Request, directory: Path) -> None:
    """Judge the runs of a sweep, choose one of them, print the choice and write `selection.json` in the directory.

    Args:
        runs: all that can be estimated.
        omissions: why others cannot, a line each.
        request: what `judge` takes.
        directory: of the sweep.

    Raises:
        ValueError: they learned from several datasets, there is one only, or no estimator is worth something; the file
            then says so.
    """
    if len(names := [group[0].cfg.dataset.name for group in by_dataset(runs)]) > 1:
        raise ValueError(
            f"select=true: the runs below {directory} are judged on {len(names)} recordings, or parts of one"
            f" ({', '.join(names)}), and their estimates cannot be compared; give the folder of one"
        )
    if len(runs) == 1:
        raise ValueError(f"select=true: {runs[0].directory} is the only run below {directory} that can be chosen")
    settings, part = request.settings, part_of(runs[0].cfg.dataset)
    members, bounds = [], (math.nan, math.nan)
    for run, assessment in zip(runs, assessments(runs, request), strict=True):
        data = assessment.recording.data
        bounds = choice.possible_returns(data.rew, data.terminated, settings.gamma)
        numbers, resamples = assessment.numbers, assessment.resamples(settings.num_resamples, settings.seed)
        members.append(choice.Member(run, numbers, resamples, objections(numbers, resamples, request, bounds)))
    show(runs, [member.numbers for member in members], request, directory / "ope.png")
    made = choice.choose(members, list(request.estimators), settings.seed)
    facts = {
        "dataset": runs[0].cfg.dataset.name,
        "judged_on": part,
        "possible_returns": [bound if math.isfinite(bound) else None for bound in bounds],
        "num_episodes": len(assessment.recording.episodes.lengths_E),
        "settings_of_estimates": settings_of(request),
        "min_ess": settings.min_ess,
        "num_resamples": settings.num_resamples,
    }
    write_json(directory / SELECTION, choice.account(made, directory, omissions, facts))
    console, title = Console(), f"{runs[0].cfg.dataset.name}: choice among {len(made.settings)} settings, on {part}"
    console.print(choice.settings_table(made, title))
    for name in made.estimators:
        console.print(f"{name}: {made.verdict(name)}", soft_wrap=True)
    if made.member is None or made.chosen is None:
        raise ValueError(
            f"no estimator of {', '.join(made.estimators)} is worth something for two of the"
            f" {len(made.settings)} settings ({directory / SELECTION} says why); give ope others, or use more data"
        )
    console.print(f"chosen: {made.chosen.name}, its run {made.member.run.directory}", soft_wrap=True)
    console.print(f"not told apart from it: {', '.join(made.close()) or 'none'}", soft_wrap=True)


def objections(
    numbers: Mapping[str, float], resamples: Mapping[str, Array], request: Request, bounds: tuple[float, float]
) -> dict[str, str]:
    """Why an estimate is worthless, by estimator; those without an objection are left out.

    Args:
        numbers: estimates and diagnostics of a run.
        resamples: by estimator, (R,) each.
        request: the estimators and their limit.
        bounds: of returns that are possible.
    """
    low, high = bounds
    found = {}
    for name, estimator in request.estimators.items():
        objection = estimator.objection(numbers, request.settings.min_ess)
        if not low <= numbers[name] <= high:
            objection = f"{numbers[name]:.4g} is outside [{low:.4g}, {high:.4g}], what recorded rewards can add up to"
        elif np.isnan(resamples[name]).any():
            objection = objection or "some draws of episodes hold none that the policy can make"
        if math.isnan(numbers[name]):
            objection = "a loss did not stay finite, or the policy can make none of the recorded episodes"
        if objection:
            found[name] = objection
    return found
