"""Off-policy evaluation of trained runs: estimates, written beside each run, and a comparison with online returns."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bcq_exp.analysis.trained_runs import TrainedRun, load_policy
from bcq_exp.data import check_against
from bcq_exp.io.files import write_json
from bcq_exp.ope.candidate import candidates
from bcq_exp.ope.recording import Recording
from bcq_exp.selection import ranking
from bcq_exp.selection.request import Request, check_fit
from bcq_exp.training.config import RunConfig
from bcq_exp.training.datasets import divided, part_of, recorded

# Keys that do not change an estimate.
NOT_KEPT = ("run", "ope", "episodes", "eval_max_steps", "allow_modules")


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
    estimates = []
    for candidate in candidates(recording, [load_policy(run) for run in runs]):
        numbers = {name: estimator.estimate(candidate) for name, estimator in request.estimators.items()}
        for estimator in request.estimators.values():
            numbers |= estimator.diagnostics(candidate)
        estimates.append(numbers)
    return estimates


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
    estimates, part, console = estimate(runs, request), part_of(runs[0].cfg.dataset), Console()
    settings = {key: value for key, value in vars(request.settings).items() if key not in NOT_KEPT}
    for estimator in request.estimators.values():
        settings |= vars(estimator)
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
