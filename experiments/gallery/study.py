"""A study of one swept key: its sweep, trained by the command line, and its picture."""

import csv
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bcq_exp.analysis.figures import GREY, LOGARITHMIC_FROM, new_figure, save
from bcq_exp.analysis.results import Result, read_results
from bcq_exp.analysis.statistics import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUTPUTS = Path("outputs", "gallery")
COMMON = ("logger=csv", "network.hidden_sizes=[64,64]", "num_updates=5000", "eval_freq=2500", "eval_episodes=20",
          "seed=0,1,2,3")  # fmt: skip
CARTPOLE = ("algorithm=discrete_bcq", "dataset=cartpole-noisy", "algorithm.clip_loss_grad=true", *COMMON)
PENDULUM = ("algorithm=bcq", "dataset=pendulum-noisy", "network.vae_hidden_sizes=[64,64]",
            "algorithm.forward_sampled_times=20", *COMMON)  # fmt: skip


@dataclass(frozen=True)
class Study:
    """A sweep of one key, and what explains its returns.

    Args:
        key: that is swept.
        values: of the key, as they are typed.
        words: all other words of the sweep's command.
        diagnostic: by its name in `bcq_exp/algorithms/diagnostics.py`.
        label: of the diagnostic's axis.
        is_beside_logged: whether a line shows what the data returned from their rows on.
    """

    key: str
    values: Sequence[str]
    words: Sequence[str]
    diagnostic: str
    label: str
    is_beside_logged: bool = False

    @property
    def command(self) -> list[str]:
        """The words of the sweep."""
        return [*self.words, f"{self.key}={','.join(self.values)}"]

    def show(self, file: str) -> None:
        """Train the sweep below `outputs/`, and draw the picture beside the study's file."""
        path = Path(file).with_suffix(".png")
        save(self.picture(trained(self.command, OUTPUTS / path.stem)), path)
        print(f"written: {path}")

    def picture(self, results: Sequence[Result]) -> "Figure":
        """Draw final returns and the last diagnostic against the key's values."""
        figure, (returns, diagnostics) = new_figure(2, 4.6, 3.4)
        finals, diagnosed = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
        for result in results:
            assert result.final is not None  # a run of a dataset with an environment
            value = typed_value(result, self.key)
            finals[value].append(result.final)
            diagnosed[value].append(last_diagnostics(result)[self.diagnostic])
        draw(returns, self.values, finals, {"behaviour": results[0].summary["behaviour_return"]})
        returns.set(ylabel="final return")
        logged = {"logged return": last_diagnostics(results[0])["return_logged"]} if self.is_beside_logged else {}
        draw(diagnostics, self.values, diagnosed, logged)
        diagnostics.set(ylabel=self.label)
        for axes in (returns, diagnostics):
            axes.set(xlabel=self.key.removeprefix("algorithm."))
        return figure


def trained(words: Sequence[str], folder: Path) -> list[Result]:
    """Train a sweep in a folder, and read its results; the same call goes on where it was stopped.

    Raises:
        subprocess.CalledProcessError: the sweep failed, and has said why.
    """
    command = [sys.executable, "-m", "bcq_exp.train", "-m", *words, f"hydra.sweep.dir={folder}"]
    subprocess.run(command, check=True)
    return read_results([folder])


def typed_value(result: Result, key: str) -> str:
    """The value of a swept key, as it was typed."""
    return str(next(word for word in result.summary["overrides"] if word.startswith(f"{key}=")).partition("=")[2])


def last_diagnostics(result: Result) -> Mapping[str, float]:
    """The diagnostics of a run's last evaluation, by name."""
    with (result.directory / "metrics.csv").open(newline="", encoding="utf-8") as file:
        row = list(csv.DictReader(file))[-1]  # the last update is evaluated
    prefix = "diagnostics/"
    return {column.removeprefix(prefix): float(text) for column, text in row.items() if column.startswith(prefix)}


def draw(axes: "Axes", values: Sequence[str], found: Mapping[str, Sequence[float]], lines: Mapping[str, float]) -> None:
    """Draw the seeds of each value as dots, their means as a line with 95 % intervals, and dashed lines by their label.

    The vertical range is that of seeds and lines, logarithmic where these are of different orders of magnitude; an
    interval may go beyond it.
    """
    spreads = [interval(found[value])[::2] for value in values]
    everything = [*lines.values(), *(number for numbers in found.values() for number in numbers)]
    low, high = min(everything), max(everything)
    axes.errorbar(range(len(values)), *zip(*spreads, strict=True), color="C0", capsize=3)
    for place, value in enumerate(values):
        axes.plot([place] * len(found[value]), found[value], "o", color="C0", alpha=0.5, markersize=4)
    for label, height in lines.items():
        axes.axhline(height, color=GREY, linestyle="--")
        axes.annotate(label, (1, height), xycoords=("axes fraction", "data"), ha="right", va="top", color="#6b6b6b")
    axes.set_xticks(range(len(values)), values)
    if low > 0 and high / low >= LOGARITHMIC_FROM:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.5, high * 1.5)
    else:
        margin = 0.08 * (high - low or 1.0)
        axes.set_ylim(low - margin, high + margin)
