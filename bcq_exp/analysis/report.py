"""Tables and curves of finished runs."""

import csv
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from scipy import stats

from bcq_exp.io.files import replacing
from bcq_exp.io.overrides import own_settings
from bcq_exp.io.summary import SUMMARY, read_summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAST = 5  # evaluations whose mean is reported beside the last one

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run that has ended: its directory, its summary and its evaluations as (update, mean return)."""

    directory: Path
    summary: dict[str, Any]
    evaluations: list[tuple[int, float]]

    @property
    def overrides(self) -> frozenset[str]:
        """What was typed for it, but for its seed and what the table shows anyway."""
        return frozenset(own_settings(self.summary["overrides"]))

    @property
    def last_return(self) -> float:
        """Mean of the last evaluations."""
        return float(np.mean([value for _, value in self.evaluations[-LAST:]]))


def read_runs(directories: Iterable[Path]) -> list[Run]:
    """All runs below the directories that have a summary, sorted by path; damaged ones are left out with a warning.

    Raises:
        ValueError: there is none.
    """
    searched = list(directories)
    runs, where = [], f"below {', '.join(map(str, searched))}"
    found = sorted({path.parent for directory in searched for path in directory.rglob(SUMMARY)})
    for run_dir in found:
        try:
            runs.append(Run(run_dir, read_summary(run_dir), read_evaluations(run_dir / "metrics.csv")))
        except (ValueError, OSError) as error:
            log.warning("%s; the run is left out", error)
    if not runs and found:
        raise ValueError(f"every run {where} that has ended is damaged")
    if not runs:
        raise ValueError(f"no {SUMMARY} {where}: no run has ended there")
    return runs


def read_evaluations(path: Path) -> list[tuple[int, float]]:
    """The update and mean return of each evaluation, from a run's `metrics.csv`.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(int(row["update"]), row["eval/return"]) for row in csv.DictReader(file)]
        return [(update, float(value)) for update, value in rows if value]
    except (ValueError, KeyError, TypeError, csv.Error):
        raise ValueError(
            f"{path} was damaged after it was written; resume={path.parent} writes it anew from the last checkpoint"
        ) from None


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, standard deviation (over n - 1) and half the width of the mean's 95 % t interval; nan for one value."""
    mean, num = float(np.mean(values)), len(values)
    if num == 1:
        return mean, float("nan"), float("nan")
    std = float(np.std(values, ddof=1))
    return mean, std, float(stats.t.ppf(0.975, num - 1)) * std / num**0.5


def tables(runs: Sequence[Run]) -> list[Table]:
    """A table for each dataset and environment; in it a row for each kind of run, over its seeds, the best first.

    Failed runs are counted, not averaged. Updates and the behaviour's return are columns where rows differ in them.
    """
    out = []
    for dataset, groups in grouped(runs).items():
        lengths, behaviours = ({name: of(group) for name, group in groups.items()} for of in (length, behaviour))
        after = "" if len(set(lengths.values())) > 1 else f" after {next(iter(lengths.values()))} updates"
        shared = "" if len(set(behaviours.values())) > 1 else next(iter(behaviours.values()))
        table = Table(
            title=f"{dataset}: mean returns{after}, over seeds",
            box=box.SIMPLE_HEAD,
            caption=f"mean return of the behaviour: {shared}" if shared else None,
        )
        table.add_column("run", overflow="fold")
        own = [*([] if after else [("updates", lengths)]), *([] if shared else [("behaviour", behaviours)])]
        for column in (*(name for name, _ in own), "seeds", "final ± std", f"last {LAST} ± 95 %", "score", "updates/s"):
            table.add_column(column, justify="right", no_wrap=True)
        for _, name, *cells in sorted((row_of(name, group) for name, group in groups.items()), reverse=True):
            table.add_row(name, *(values[name] for _, values in own), *cells)
        out.append(table)
    return out


def length(group: Sequence[Run]) -> str:
    """Updates of the runs of a group, those that have failed left out where others have not."""
    return str(max(run.summary["num_updates"] for run in group))


def behaviour(group: Sequence[Run]) -> str:
    """Mean return of the data that the runs of a group learned from."""
    return f"{group[0].summary['behaviour_return']:.1f}"


def row_of(name: str, group: Sequence[Run]) -> tuple[float, str, str, str, str, str, str]:
    """The mean final return, by which rows are sorted, and the cells of a row."""
    done = [run for run in group if run.summary["status"] == "finished"]
    num_cut = sum(run.summary.get("final_cut_episodes", 0) > 0 for run in done)
    marks = [f"{num} {what}" for num, what in ((len(group) - len(done), "failed"), (num_cut, "cut")) if num]
    seeds = f"{len(done)} ({', '.join(marks)})" if marks else f"{len(done)}"
    if not done:
        return -np.inf, name, seeds, "-", "-", "-", "-"
    final, std, _ = interval([run.summary["final_return"] for run in done])
    last, _, half = interval([run.last_return for run in done])
    scores = [run.summary["final_normalized_score"] for run in done]
    return (
        final,
        name,
        seeds,
        with_spread(final, std),
        with_spread(last, half),
        "-" if None in scores else f"{np.mean(scores):.1f}",
        f"{np.mean([run.summary['updates_per_second'] for run in done]):.0f}",
    )


def with_spread(mean: float, spread: float) -> str:
    """Mean and spread, or the mean alone where one seed has no spread."""
    return f"{mean:.1f}" if np.isnan(spread) else f"{mean:.1f} ± {spread:.1f}"


def grouped(runs: Sequence[Run]) -> dict[str, dict[str, list[Run]]]:
    """Runs by dataset and by kind: the algorithm and the overrides that not all runs of the dataset have.

    A dataset is named with the environment where its runs are of several. Runs of one kind have one behaviour's return
    and one number of updates: where these differ the kinds are named with them.
    """
    envs, by_dataset = defaultdict[str, set[Any]](set), defaultdict[str, list[Run]](list)
    for run in runs:
        envs[run.summary["dataset"]].add(run.summary["env"])
    for run in runs:
        dataset = run.summary["dataset"]
        by_dataset[dataset if len(envs[dataset]) == 1 else f"{dataset} in {run.summary['env']}"].append(run)
    found: dict[str, dict[str, list[Run]]] = {}
    for dataset, members in by_dataset.items():
        common, kinds = frozenset.intersection(*(run.overrides for run in members)), defaultdict[str, list[Run]](list)
        for run in members:
            kinds[" ".join([run.summary["algorithm"], *sorted(run.overrides - common)])].append(run)
        found[dataset] = {name: group for kind, alike in kinds.items() for name, group in split(kind, alike).items()}
    return found


def split(kind: str, runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of one kind by their data's return, to six digits, and their updates; by names that say what differs.

    A failed run counts among the longest of its data.
    """
    data = [f"{run.summary['behaviour_return']:.6g}" for run in runs]
    ends: dict[str, int] = {}
    for run, of in zip(runs, data, strict=True):
        if run.summary["status"] == "finished":
            ends[of] = max(ends.get(of, 0), run.summary["num_updates"])
    found: dict[tuple[str, int], list[Run]] = defaultdict(list)
    for run, of in zip(runs, data, strict=True):
        is_finished = run.summary["status"] == "finished"
        found[of, run.summary["num_updates"] if is_finished else ends.get(of, 0)].append(run)
    differing = [len(set(keys)) > 1 for keys in zip(*found, strict=True)]

    def name(key: tuple[str, int]) -> str:
        words = zip((f"behaviour={key[0]}", f"num_updates={key[1]}"), differing, strict=True)
        return " ".join([kind, *(word for word, is_own in words if is_own)])

    return {name(key): group for key, group in found.items()}


def plot(runs: Sequence[Run], path: Path) -> None:
    """Return against updates: the mean over seeds with a band from the smallest to the largest, a panel a dataset."""
    with replacing(path) as partial:
        drawn(runs).savefig(partial, dpi=120, format="png")


def drawn(runs: Sequence[Run]) -> "Figure":
    """What `plot` writes; a behaviour's line is as long as the runs that learned from it."""
    from matplotlib.figure import Figure  # half a second to import, for those only who plot

    datasets = grouped(runs)
    figure = Figure(figsize=(6.4 * len(datasets), 4.2), layout="constrained")
    panels = figure.subplots(1, len(datasets), squeeze=False)[0]
    for axes, (dataset, groups) in zip(panels, datasets.items(), strict=True):
        behaviours: dict[float, tuple[list[str], Any, int]] = {}  # kinds, colour of the first, updates of the longest
        for name, group in groups.items():
            done, colour = [run for run in group if run.summary["status"] == "finished"], "gray"
            if done:
                updates, returns = curves(done)
                (line,) = axes.plot(updates, returns.mean(0), label=f"{name} ({len(done)} seeds)")
                colour = line.get_color()
                axes.fill_between(updates, returns.min(0), returns.max(0), color=colour, alpha=0.15)
            value = group[0].summary["behaviour_return"]
            kinds, first, longest = behaviours.get(value, ([], colour, 0))
            behaviours[value] = [*kinds, name], first, max(longest, int(length(group)))
        is_shared = len(behaviours) == 1
        for value, (kinds, colour, longest) in behaviours.items():
            label = "behaviour" if is_shared else f"behaviour of {', '.join(kinds)}"
            axes.hlines(value, 0, longest, "gray" if is_shared else colour, "--", label=label)
        axes.set(title=dataset, xlabel="updates", ylabel="return (mean over episodes)")
        axes.legend()
    return figure


def curves(group: Sequence[Run]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The updates (U,) at which every run of the group was evaluated, and their returns (R, U)."""
    common = sorted(set.intersection(*({update for update, _ in run.evaluations} for run in group)))
    found = [dict(run.evaluations) for run in group]
    return np.array(common), np.array([[values[update] for update in common] for values in found])


def present(directories: Sequence[Path]) -> None:
    """Print the tables of all runs below the directories, and where everything lies; draw the curves into the first.

    Raises:
        ValueError: no run has ended there.
    """
    runs, console, first = read_runs(directories), Console(), directories[0]
    plot(runs, first / "learning_curves.png")
    for table in tables(runs):
        console.print(table)
    lines = [
        f"curves:           {first / 'learning_curves.png'}",
        f"run directories:  {', '.join(map(str, directories))}",
    ]
    if offline := [path for run in runs for path in (run.directory / "wandb").glob("offline-run-*")]:
        lines += [
            f"W&B, offline:     {len(offline)} runs; look with `wandb leet {offline[0]}`,",
            f"                  upload with `wandb sync {first}/*/wandb/offline-run-*`",
        ]
    for line in lines:
        console.print(line, soft_wrap=True)
