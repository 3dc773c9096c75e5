"""A search by TPE against one at random, of the same budget: `python -m experiments.search`.

Each study has 64 trials of three seeds. Those by TPE are killed twice (SIGKILL), after 48 and 120 of their 192 runs,
and the same command goes on. A trial's value is the mean of its runs' final returns, so the best of 64 is high by luck
too: its parameters train again with five seeds that no study has seen, and are evaluated on 100 episodes. The same
command goes on where this program was stopped.
"""

import argparse
import csv
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from bcq_exp.io.files import read_json

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SAMPLERS = ("tpe", "random")
KILLED_AFTER = (48, 120)  # runs
FRESH_SEEDS = (100, 101, 102, 103, 104)
COMMON = ("num_updates=3000", "eval_freq=3000", "checkpoint_freq=1000", "compile=always")
STUDIES = {
    "cartpole": ("search=discrete_bcq", "dataset=cartpole-noisy", "algorithm.target_update_freq=200"),
    "pendulum": (
        "search=bcq", "dataset=pendulum-noisy", "algorithm.num_sampled_action=10", "network.hidden_sizes=[64,64]",
        "network.vae_hidden_sizes=[64,64]",
    ),
}  # fmt: skip
COLOURS = {"tpe": "#0072b2", "random": "#d55e00"}


def train(*words: str) -> list[str]:
    """The command of a sweep."""
    return [sys.executable, "-m", "bcq_exp.train", "-m", *words]


def study(task: str, sampler: str, folder: Path) -> list[dict[str, str]]:
    """Run a study to its end; returns its trials."""
    place = folder / f"{task}-{sampler}"
    command = train(
        *STUDIES[task], *COMMON, "eval_episodes=20", "hydra.sweeper.num_trials=64", "hydra.sweeper.num_seeds=3",
        f"hydra.sweeper.sampler={sampler}", f"hydra.sweep.dir={place}",
    )  # fmt: skip
    killed = place.with_suffix(".kills")
    for num_runs in KILLED_AFTER if sampler == "tpe" else ():
        before = killed.read_text().split() if killed.exists() else []
        if str(num_runs) in before:
            continue
        process = subprocess.Popen(command)
        while process.poll() is None and len([*place.glob("*/summary.json")]) < num_runs:
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed.write_text(" ".join([*before, str(num_runs)]))
    subprocess.run(command, check=True)
    with (place / "study.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def fresh(task: str, sampler: str, trials: list[dict[str, str]], folder: Path) -> list[float]:
    """Final returns of the best trial's parameters with seeds that the study has not seen."""
    best = max((trial for trial in trials if trial["return"]), key=lambda trial: float(trial["return"]))
    parameters = [f"{key}={value}" for key, value in best.items() if key.startswith(("algorithm.", "optimizer."))]
    place = folder / f"{task}-{sampler}-best"
    words = [word for word in STUDIES[task] if not word.startswith("search=")]
    algorithm = STUDIES[task][0].replace("search", "algorithm")
    seeds = "seed=" + ",".join(map(str, FRESH_SEEDS))
    command = train(algorithm, *words, *COMMON, *parameters, "eval_episodes=100", seeds, f"hydra.sweep.dir={place}")
    subprocess.run(command, check=True)
    return [read_json(path)["final_return"] for path in sorted(place.glob("*/summary.json"))]


def best_so_far(trials: list[dict[str, str]]) -> list[float]:
    """The best value of the trials up to each one."""
    return np.maximum.accumulate([float(trial["return"] or "-inf") for trial in trials]).tolist()


def row(task: str, sampler: str, trials: list[dict[str, str]], again: list[float]) -> str:
    """A line of the table."""
    values = np.array([float(trial["return"]) for trial in trials if trial["return"]])
    failed = sum(trial["state"] == "failed" for trial in trials)
    figures = (values.max(), np.median(values), values[-16:].mean(), np.mean(again), np.std(again, ddof=1))
    best, median, last, mean, std = (f"{figure:.1f}" for figure in figures)
    return f"| {task} | {sampler} | {len(trials)} | {failed} | {best} | {median} | {last} | {mean} ± {std} |"


def picture(found: dict[tuple[str, str], list[dict[str, str]]], path: Path) -> None:
    """Values of all trials and the best so far, a panel a task."""
    figure, panels = plt.subplots(1, len(STUDIES), figsize=(11, 4), layout="constrained")
    for panel, task in zip(panels, STUDIES, strict=True):
        for sampler in SAMPLERS:
            trials = found[task, sampler]
            values: list[Any] = [float(trial["return"]) if trial["return"] else None for trial in trials]
            panel.plot(range(1, len(trials) + 1), values, ".", color=COLOURS[sampler], alpha=0.5)
            panel.plot(range(1, len(trials) + 1), best_so_far(trials), color=COLOURS[sampler], label=f"{sampler}, best")
        panel.set(title=task, xlabel="trial", ylabel="return, mean of three seeds")
        panel.spines[["top", "right"]].set_visible(False)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Run all studies, and write the table, the picture and the trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("outputs/search"), help="of the studies")
    parser.add_argument("--write", type=Path, help="folder for the table, the picture and the trials")
    args = parser.parse_args()
    found, rows = {}, []
    for task in STUDIES:
        for sampler in SAMPLERS:
            found[task, sampler] = trials = study(task, sampler, args.folder)
            rows.append(row(task, sampler, trials, fresh(task, sampler, trials, args.folder)))
    header = ("task", "sampler", "trials", "failed", "best", "median", "mean of the last 16", "best again, five seeds")
    lines = [f"| {' | '.join(header)} |", "|" + " --- |" * len(header), *rows]
    print("\n".join(lines))
    if args.write is not None:
        args.write.mkdir(parents=True, exist_ok=True)
        (args.write / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        picture(found, args.write / "history.png")
        for task, sampler in found:
            text = (args.folder / f"{task}-{sampler}" / "study.csv").read_text(encoding="utf-8")
            (args.write / f"{task}-{sampler}.csv").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
