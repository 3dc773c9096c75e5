"""What a choice by estimates is worth where the environment is known: `python -m experiments.offline_choice.known`.

Two studies, of four recordings each: discrete BCQ's threshold and BCQ's `lmbda` and `phi`. On each recording a sweep is
trained, `bcq-evaluate select=true` chooses from the recording alone, and the last evaluation in training says what the
choice was worth. The same command goes on where this program was stopped.
"""

import argparse
import csv
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np

from bcq_exp.analysis.statistics import Estimate, interval
from bcq_exp.analysis.tables import with_ends
from bcq_exp.io.files import read_json
from bcq_exp.selection.ranking import spearman

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

DATASET_SEEDS = range(20, 24)
COMMON = (
    "dataset.num_transitions=20000", "network.hidden_sizes=[64,64]", "eval_episodes=50", "compile=always", "seed=0,1",
    "num_threads=1",
)  # fmt: skip
FITS = ("network.hidden_sizes=[64,64]", "compile=always", "num_threads=1")


class Study(NamedTuple):
    """A sweep and its evaluation.

    Args:
        words: of the sweep.
        num_updates: of each run.
        asked: words of the evaluation.
        default: the setting of an algorithm that nobody tuned, as `selection.json` names it.
    """

    words: tuple[str, ...]
    num_updates: int
    asked: tuple[str, ...]
    default: str


STUDIES = {
    "cartpole": Study(
        ("algorithm=discrete_bcq", "dataset=cartpole-noisy", "algorithm.target_update_freq=500",
         "algorithm.unlikely_action_threshold=0,0.1,0.2,0.3,0.5,0.7,0.9,1"),
        5000, ("ope=[fqe,wis,dr]", "num_updates=8000"), "discrete_bcq unlikely_action_threshold=0.3",
    ),
    "pendulum": Study(
        ("algorithm=bcq", "dataset=pendulum-noisy", "network.vae_hidden_sizes=[64,64]",
         "algorithm.forward_sampled_times=20", "algorithm.lmbda=0.5,0.75,1", "algorithm.phi=0.05,0.2,0.5"),
        2000, ("ope=[fqe]", "num_updates=5000"), "bcq lmbda=0.75 phi=0.05",
    ),
}  # fmt: skip
DECIDER = "fqe"
RULES = ("choice", "mean in place of lower end", "highest estimate of a run", "random", "default, not chosen")


def selection(name: str, dataset_seed: int, folder: Path) -> dict[str, Any]:
    """Train a sweep and choose from it; returns the content of its `selection.json`."""
    study = STUDIES[name]
    lengths = f"num_updates={study.num_updates}", f"eval_freq={study.num_updates}"
    sweep = (*study.words, *COMMON, *lengths, f"dataset.seed={dataset_seed}")
    return chosen_from(folder / f"{name}-{dataset_seed}", sweep, (*study.asked, *FITS))


def chosen_from(place: Path, sweep: Sequence[str], asked: Sequence[str]) -> dict[str, Any]:
    """Train a sweep in a folder and choose from it, unless that was done; returns the content of its `selection.json`.

    Args:
        place: the folder.
        sweep: words of the sweep.
        asked: words of the evaluation that chooses.
    """
    if not (place / "selection.json").exists():
        train = (sys.executable, "-m", "bcq_exp.train", "-m", *sweep, f"hydra.sweep.dir={place}")
        subprocess.run(train, check=True)
        subprocess.run([sys.executable, "-m", "bcq_exp.evaluate", f"run={place}", "select=true", *asked], check=True)
    found: dict[str, Any] = read_json(place / "selection.json")
    return found


def rows(chosen: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a run: setting, seed, estimate, whether it is worth something, online return."""
    return [
        {
            "setting": setting["setting"],
            "seed": run["seed"],
            "run": run["run"],
            "estimate": run["estimates"][DECIDER]["value"],
            "low": run["estimates"][DECIDER]["low"],
            "is_sound": DECIDER not in run["objections"],
            "online": run["online_return"],
        }
        for setting in chosen["settings"]
        for run in setting["runs"]
    ]


def regrets(chosen: Mapping[str, Any], default: str) -> dict[str, float]:
    """The best run's online return less that of each rule's run; of `random` and `default` the mean over their runs.

    Args:
        chosen: the content of a `selection.json`.
        default: the setting that is trained without a choice.
    """
    runs = rows(chosen)
    sound = [
        setting["setting"]
        for setting in chosen["settings"]
        if not any(DECIDER in run["objections"] for run in setting["runs"])
    ]
    means = {setting["setting"]: setting["estimates"][DECIDER]["value"] for setting in chosen["settings"]}
    by_mean = max(sound, key=lambda setting: float(means[setting]))
    estimated = [run for run in runs if run["estimate"] is not None]
    takes = {
        "choice": [run for run in runs if run["run"] == chosen["chosen"]["run"]],
        "mean in place of lower end": [
            max((run for run in runs if run["setting"] == by_mean), key=lambda run: float(run["estimate"]))
        ],
        "highest estimate of a run": [max(estimated, key=lambda run: float(run["estimate"]))],
        "random": runs,
        "default, not chosen": [run for run in runs if run["setting"] == default],
    }
    best = max(run["online"] for run in runs)
    return {rule: float(best - np.mean([run["online"] for run in taken])) for rule, taken in takes.items()}


def correlation(chosen: Mapping[str, Any]) -> float:
    """Spearman's rank correlation of estimates and online returns, over the runs whose estimate is worth something."""
    pairs = [(run["estimate"], run["online"]) for run in rows(chosen) if run["is_sound"]]
    estimate_P, return_P = np.array(pairs, float).T
    return float(spearman(estimate_P, return_P))


def with_interval(values: Sequence[float], decimals: int = 2) -> str:
    """A mean and its t interval over recordings."""
    mean, _, half = interval(values)
    return with_ends(Estimate(mean, mean - half, mean + half), decimals)


def table(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """A line a study and rule: the mean regret, and by how much the choice's is smaller, over recordings."""
    header = ("study", "rule", "regret [95 %]", "less by the choice [95 %]")
    lines = [f"| {' | '.join(header)} |", "|" + " --- |" * len(header)]
    for name, choices in found.items():
        by_rule = [regrets(chosen, STUDIES[name].default) for chosen in choices]
        for rule in RULES:
            values = [each[rule] for each in by_rule]
            gains = [each[rule] - each["choice"] for each in by_rule]
            gain = "-" if rule == "choice" else with_interval(gains)
            lines.append(f"| {name} | {rule} | {with_interval(values)} | {gain} |")
        lines.append(f"| {name} | Spearman | {with_interval([correlation(chosen) for chosen in choices])} | - |")
    return lines


def picture(found: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Draw estimates against online returns, a panel a recording, the chosen run marked."""
    figure, panels = plt.subplots(
        len(found), len(DATASET_SEEDS), figsize=(14, 3.4 * len(found)), layout="constrained", squeeze=False
    )
    for line, (name, choices) in zip(panels, found.items(), strict=True):
        for axes, seed, chosen in zip(line, DATASET_SEEDS, choices, strict=True):
            runs = rows(chosen)
            is_default = [run["setting"] == STUDIES[name].default for run in runs]
            for is_ours, colour, label in ((False, "#999999", "run"), (True, "#0072b2", "run of the default setting")):
                kept = [run for run, ours in zip(runs, is_default, strict=True) if run["is_sound"] and ours == is_ours]
                axes.plot([run["online"] for run in kept], [run["estimate"] for run in kept], "o", ms=5, color=colour,
                          label=label)  # fmt: skip
            taken = next(run for run in runs if run["run"] == chosen["chosen"]["run"])
            axes.plot(taken["online"], taken["estimate"], "o", ms=12, mfc="none", color="#d55e00", label="chosen")
            worthless = [run["online"] for run in runs if not run["is_sound"]]
            axes.plot(
                worthless, [axes.get_ylim()[0]] * len(worthless), "x", color="#999999", label="worthless estimate"
            )
            axes.set_title(f"{name}, recording {seed}", fontsize=10)
            axes.locator_params(axis="x", nbins=4)
            axes.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel("estimate, discounted")
    for axes in panels[-1]:
        axes.set_xlabel("online return")
    finish(figure, panels, path)


def finish(figure: Figure, panels: Any, path: Path) -> None:
    """Put the first panel's legend above all (lines, columns), and write the figure."""
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=110)


def arguments(about: str | None, folder: str) -> argparse.Namespace:
    """What is typed: `folder` of the sweeps, which is this one else, and `write`, None where nothing is written."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--folder", type=Path, default=Path(folder), help="of the sweeps")
    parser.add_argument("--write", type=Path, help="folder for the table, the picture and the runs")
    return parser.parse_args()


def written(path: Path, lines: Sequence[str], named: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Write a study's table and its runs, as Markdown and CSV.

    Args:
        path: of both, without a suffix.
        lines: of the table.
        named: columns that name a choice, and the content of its `selection.json`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    every = [
        {**names, **row, "is_chosen": row["run"] == chosen["chosen"]["run"]}
        for names, chosen in named
        for row in rows(chosen)
    ]
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(every[0]))
        writer.writeheader()
        writer.writerows(every)


def main() -> None:
    """Run both studies; write the table, the picture and the runs."""
    args = arguments(__doc__, "outputs/offline_choice")
    found = {name: [selection(name, seed, args.folder) for seed in DATASET_SEEDS] for name in STUDIES}
    lines = table(found)
    print("\n".join(lines))
    if args.write is not None:
        named = (
            ({"study": name, "recording": seed}, chosen)
            for name, choices in found.items()
            for seed, chosen in zip(DATASET_SEEDS, choices, strict=True)
        )
        written(args.write / "known", lines, named)
        picture(found, args.write / "known.png")


if __name__ == "__main__":
    main()
