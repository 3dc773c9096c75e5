"""Which estimate orders policies as the environment does? `python -m experiments.gallery.ope_choice`.

The sweep of `threshold.py` is judged from its dataset alone, by fitted Q evaluation, by importance weights and by both
(doubly robust), and one run is chosen. CartPole can be played, so the returns say what each estimate was worth.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bcq_exp.analysis.figures import GREY, new_figure, save
from bcq_exp.io.files import read_json
from experiments.gallery.study import OUTPUTS, trained
from experiments.gallery.threshold import STUDY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ESTIMATORS = ("fqe", "wis", "dr")
ASKED = (f"ope=[{','.join(ESTIMATORS)}]", "select=true", "network.hidden_sizes=[64,64]", "num_updates=5000")
POSSIBLE = (0.0, 100.0)
"""Discounted returns of CartPole: a reward of 1 each step, and 1 / (1 - gamma) = 100."""


def judged(words: Sequence[str], folder: Path) -> Mapping[str, Any]:
    """Estimate what the runs of a folder are worth, and choose one; returns the content of its `selection.json`."""
    subprocess.run([sys.executable, "-m", "bcq_exp.evaluate", f"run={folder}", *words], check=True)
    found: dict[str, Any] = read_json(folder / "selection.json")
    return found


def picture(selection: Mapping[str, Any]) -> "Figure":
    """Draw estimates against online returns, a panel an estimator, the chosen run in a ring.

    Estimates beyond any possible return are drawn at the edge.
    """
    runs = [run for setting in selection["settings"] for run in setting["runs"]]
    figure, panels = new_figure(len(ESTIMATORS), 3.6, 3.4)
    for axes, name in zip(panels, ESTIMATORS, strict=True):
        known = [run for run in runs if run["estimates"][name]["value"] is not None]
        sound = [run for run in known if name not in run["objections"]]
        others = [run for run in known if name in run["objections"]]
        chosen = [run for run in known if selection["chosen"] and run["run"] == selection["chosen"]["run"]]
        styles: dict[str, tuple[list[Any], dict[str, Any]]] = {
            "objected to": (others, {"marker": "x", "color": GREY, "markersize": 5}),
            "worth something": (sound, {"marker": "o", "color": "C0", "markersize": 5}),
            "chosen": (chosen, {"marker": "o", "color": "C3", "markersize": 12, "markerfacecolor": "none"}),
        }
        for label, (some, style) in styles.items():
            estimates = np.clip([run["estimates"][name]["value"] for run in some], *POSSIBLE)
            online = [run["online_return"] for run in some]
            axes.plot(online, estimates, linestyle="none", label=label, **style)
        axes.set(title=name, xlabel="return in the environment", ylabel="estimate, discounted", ylim=(-6, 106))
    panels[0].legend(frameon=False, loc="lower right")
    return figure


def main() -> None:
    """Train the sweep where it is not there yet, judge it and draw the picture beside this file."""
    folder, path = OUTPUTS / "threshold", Path(__file__).with_suffix(".png")
    trained(STUDY.command, folder)
    save(picture(judged(ASKED, folder)), path)
    print(f"written: {path}")


if __name__ == "__main__":
    main()
