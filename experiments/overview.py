"""The picture of the README, drawn from committed results: `python -m experiments.overview`.

Scores are normalised returns, 0 for random play and 100 for the agent of `ref_max`: the mean over seeds of the last ten
evaluations, with its 95 % t interval. The dashed line is the behaviour that recorded the data.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from bcq_exp.analysis.comparison import compare
from bcq_exp.analysis.figures import new_figure, save
from bcq_exp.analysis.results import Result
from bcq_exp.analysis.results_file import RESULTS, read_results_file
from bcq_exp.training.datasets import checked_dataset
from experiments.benchmark.cases import composed
from experiments.reproduce.figures import Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXPERIMENTS = Path(__file__).parent
PATH = EXPERIMENTS.parent / "docs" / "images" / "overview.svg"
PANELS = {  # datasets with their titles, by the results that hold them
    "bcq_figure2/cpu": {
        "hopper-imitation": "Hopper, an expert's actions",
        "hopper-imperfect": "Hopper, a noisy expert",
        "halfcheetah-imitation": "HalfCheetah, an expert's actions",
        "halfcheetah-imperfect": "HalfCheetah, a noisy expert",
    },
    "discrete_bcq/cpu": {"lunarlander-noisy": "LunarLander, a half-trained agent"},
    "discrete_bcq/cpu-ram": {
        "breakout-ram-noisy": "Breakout, a half-trained agent",
        "boxing-ram-noisy": "Boxing, a half-trained agent",
    },
}
NAMES = {
    "bcq": "BCQ",
    "discrete_bcq": "discrete BCQ",
    "bc": "BC",
    "bc_discrete": "BC",
    "vae_bc": "VAE-BC",
    "ddpg": "DDPG",
    "discretized_dqn": "DQN",
    "dqn": "DQN",
    "qrdqn": "QR-DQN",
    "rem": "REM",
    "kl_control": "KL-control",
    "spibb_dqn": "SPIBB",
}
COLUMNS = 4
OURS, OTHERS, BEHAVIOUR = "#1f5fbf", "#b4b8bf", "#c2410c"


def main() -> None:
    """Draw the picture."""
    found = {
        (folder, dataset): [result for result in results if result.summary["dataset"] == dataset]
        for folder, titles in PANELS.items()
        for results in [read_results_file(EXPERIMENTS / folder / RESULTS)]
        for dataset in titles
    }
    figure, panels = new_figure(COLUMNS, width=2.9, height=2.7, num_rows=-(-len(found) // COLUMNS))
    for axes, ((folder, dataset), results) in zip(panels, found.items(), strict=False):
        draw(axes, PANELS[folder][dataset], results)
    for axes in panels[::COLUMNS]:
        axes.set_ylabel("normalised score")
    for axes in panels[len(found) :]:
        axes.axis("off")
    line = next(line for line in panels[0].lines if line.get_linestyle() == "--")
    panels[0].annotate("behaviour", (4.4, line.get_ydata()[0] + 3), color=BEHAVIOUR, ha="right", fontsize=8.5)
    PATH.parent.mkdir(exist_ok=True)
    save(figure, PATH)
    print(f"written: {PATH}")


def draw(axes: "Axes", title: str, results: Sequence[Result]) -> None:
    """A bar an algorithm, and a line at the behaviour's score."""
    first = results[0].summary
    scale = Scale(checked_dataset(OmegaConf.create(composed(f"dataset={first['dataset']}"))))
    rows = {row.algorithm: row for row in compare(results)[0].rows}
    names = [name for name in NAMES if name in rows]
    for place, name in enumerate(names):
        score = scale.of(rows[name])
        assert score is not None
        colour = OURS if name in ("bcq", "discrete_bcq") else OTHERS
        axes.bar(place, score.mean, 0.7, yerr=score.half, color=colour, ecolor="#555555", capsize=3)
    axes.axhline(scale.score(first["behaviour_return"]), color=BEHAVIOUR, linestyle="--", linewidth=1.2)
    axes.axhline(0, color="#555555", linewidth=0.8)
    axes.set_xticks(range(len(names)), [NAMES[name] for name in names], rotation=40, ha="right")
    axes.set_title(title, fontsize=9.5)


if __name__ == "__main__":
    main()
