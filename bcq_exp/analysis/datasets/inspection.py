"""Look at a dataset: what is in it, what may spoil learning, and its distributions as a PNG."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bcq_exp.analysis.datasets.hazards import hazards
from bcq_exp.analysis.datasets.sources import Source, add_flags
from bcq_exp.data import Transitions
from bcq_exp.data.columns import Array
from bcq_exp.data.formats import layouts, readers
from bcq_exp.data.frames import distinct
from bcq_exp.data.preprocessing import episode_lengths
from bcq_exp.io.arguments import Parser
from bcq_exp.io.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLAGS = ("terminals", "timeouts", "episode_terminals")  # of a file, before a reader has interpreted them
EXAMPLES = ("FILE.h5", "LOG.csv --columns treatment", "--layouts")
SHOWN = 8  # dimensions of actions that are shown
SAMPLED = 10_000_000  # numbers behind means and deviations of observations, in evenly spaced rows


@dataclass(frozen=True)
class Inspection:
    """Facts of a dataset, by name in the order of the table, and warnings of what looks wrong."""

    facts: Mapping[str, str]
    warnings: Sequence[str]


def inspect(transitions: Transitions, flags: Mapping[str, Array]) -> Inspection:
    """Compute counts, distributions and warnings.

    Args:
        transitions: the dataset.
        flags: the columns of its file that `read_flags` reads.
    """
    lengths = episode_lengths(transitions)
    rew, obs, returns = transitions.rew, transitions.obs, transitions.episode_returns
    values = distinct(obs)
    num, num_duplicates = len(transitions), count_duplicates(transitions)
    terminated = int(transitions.terminated.sum())
    facts = {
        "transitions": f"{num:,}",
        "episodes": f"{len(lengths):,}: {terminated:,} terminated, {len(lengths) - terminated:,} truncated",
        "episode length": spread(lengths),
        "return": f"{spread(returns)}; of {len(returns):,} episodes",
        "reward": spread(rew),
        "observation": f"{obs.dtype} {obs.shape[1:]}, {values.min():g} to {values.max():g}",
        **_action_facts(transitions),
        "duplicates": f"{num_duplicates:,} rows ({num_duplicates / num:.1%})",
    }
    if transitions.mask is not None:
        facts["mask"] = f"{transitions.mask.mean():.1%} of actions available"
    return Inspection(facts, hazards(transitions, flags, lengths, num_duplicates))


def read_flags(path: Path) -> dict[str, Array]:
    """Read those of `FLAGS` that a dataset file has, as bool; raises like `read_transitions`."""
    columns = readers.format_of(path).read_columns(path, FLAGS)
    return {key: columns[key].astype(np.bool_) for key in FLAGS if key in columns}


def count_duplicates(transitions: Transitions) -> int:
    """Count the rows that equal an earlier one in observations, action, reward and flags."""
    columns = [getattr(transitions, key) for key in ("obs", "act", "rew", "terminated", "truncated", "obs_next")]
    digests = set()
    for row in zip(*columns, strict=True):
        digest = hashlib.blake2b(digest_size=16)
        for value in row:
            digest.update(value.tobytes())
        digests.add(digest.digest())
    return len(transitions) - len(digests)


def spread(values: Array) -> str:
    """Mean, deviation, extremes and quartiles as text."""
    low, first, middle, third, high = np.quantile(values.astype(np.float64), (0, 0.25, 0.5, 0.75, 1))
    mean, std = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    return f"{mean:.4g} ± {std:.3g}; {low:.4g} to {high:.4g}, quartiles {first:.4g}, {middle:.4g}, {third:.4g}"


def _action_facts(transitions: Transitions) -> dict[str, str]:
    act = transitions.act
    if act.ndim == 1:
        values, counts = np.unique(act, return_counts=True)
        shares = [
            f"{transitions.called(value)}: {count / len(act):.1%}" for value, count in zip(values, counts, strict=True)
        ]
        more = f" and {len(shares) - 4 * SHOWN} more" if len(shares) > 4 * SHOWN else ""
        return {"actions": f"discrete, {len(values)} taken; " + ", ".join(shares[: 4 * SHOWN]) + more}
    low, high = act.min(axis=0), act.max(axis=0)
    facts = {"actions": f"continuous, {act.shape[1]} dimensions"}
    for i in range(min(act.shape[1], SHOWN)):
        at_ends = (np.abs(act[:, i] - (low[i] + high[i]) / 2) >= 0.49 * (high[i] - low[i])).mean()
        facts[f"action[{i}]"] = f"{spread(act[:, i])}; {at_ends:.1%} in the outer hundredths of that range"
    return facts


def plot(transitions: Transitions, path: Path) -> None:
    """Draw the distributions of returns, lengths, rewards, actions and observations into a PNG."""
    from matplotlib.figure import Figure  # takes half a second to import

    returns, act = transitions.episode_returns, transitions.act
    figure = Figure(figsize=(15, 7.5), layout="constrained")
    panels = figure.subplots(2, 3).flat
    histogram(next(panels), returns, "return", "episodes")
    axes = next(panels)
    axes.plot(returns, ".", markersize=3, alpha=0.5)
    axes.set(xlabel="episode, in the order of recording", ylabel="return")
    histogram(next(panels), episode_lengths(transitions), "transitions of an episode", "episodes")
    histogram(next(panels), transitions.rew, "reward", "transitions")
    axes = next(panels)
    if act.ndim == 1:
        taken, counts = np.unique(act, return_counts=True)
        axes.bar(taken, counts)
        axes.set(xlabel="action", ylabel="transitions")
        axes.locator_params(axis="x", integer=True)
        if transitions.action_names is not None:
            axes.set_xticks(taken, [transitions.called(value) for value in taken], rotation=90, fontsize="small")
    else:
        for i in range(min(act.shape[1], SHOWN)):
            axes.hist(act[:, i], bins=50, histtype="step", label=f"dimension {i}")
        axes.set(xlabel="action", ylabel="transitions")
        axes.legend()
    _plot_observations(next(panels), distinct(transitions.obs))
    figure.suptitle(f"{transitions.source}: {len(transitions):,} transitions", fontsize="medium")
    with replacing(path) as partial:
        figure.savefig(partial, dpi=100, format=path.suffix.removeprefix(".") or "png")


def histogram(axes: "Axes", values: Array, name: str, counted: str) -> None:
    """Draw a histogram; integers in a narrow range have a bar each."""
    is_few = len(np.unique(values)) <= 30 and np.array_equal(values, np.round(values)) and np.ptp(values) <= 60
    axes.hist(values, bins=np.arange(values.min() - 0.5, values.max() + 1).tolist() if is_few else 50)
    axes.locator_params(axis="x", integer=is_few)
    axes.set(xlabel=name, ylabel=counted)


def _plot_observations(axes: "Axes", obs: Array) -> None:
    """Extremes, mean and deviation of each dimension, or the mean of the last channel of images.

    Means are those of evenly spaced rows where there are many.
    """
    sample = obs[:: -(-obs.size // SAMPLED)].astype(np.float64)
    mean, std, index = sample.mean(axis=0), sample.std(axis=0), np.arange(obs.shape[1])
    if obs.ndim > 2:
        axes.imshow(mean.reshape(-1, *obs.shape[-2:])[-1])
        axes.set(xlabel="mean observation (last channel)")
        return
    low = obs.min(axis=0)
    axes.bar(index, obs.max(axis=0) - low, bottom=low, alpha=0.2, label="extremes")
    axes.errorbar(index, mean, std, fmt=".", label="mean ± std")
    axes.locator_params(axis="x", integer=True)
    axes.set(xlabel="dimension of the observation", ylabel="value")
    axes.legend()


def print_layouts() -> None:
    """Print the formats and the layouts that are read, with the names of their columns."""
    table = Table("format", "content", "", title="Files and folders that are read", box=box.SIMPLE_HEAD)
    for each in readers.FORMATS:
        table.add_row(*map(escape, (each.title, each.content, each.note)))
    table.add_row("CSV, Parquet", "a row a step", "--columns says which column is what; dataset=table in training")
    Console().print(table)
    table = Table("layout", "columns", "", title="Layouts of names", box=box.SIMPLE_HEAD)
    masks = (f"{', '.join(others)} too" for _, *others in layouts.MASKS.values())
    table.caption = escape("[...] may be missing. mask may be called {}; mask_next {}.".format(*masks))
    for row in layouts.table():
        table.add_row(*map(escape, row))
    Console().print(table)


def parser() -> Parser:
    """What `bcq collect inspect` takes."""
    made = Parser("bcq collect inspect", __doc__, EXAMPLES, "docs/own-data.md")
    add_flags(made, nargs="?")
    made.add_argument("--layouts", action="store_true", help="print the columns of each layout, and no dataset")
    made.add_argument("--png", type=Path, metavar="FILE", help="default: outputs/inspect/NAME.png")
    return made


def main(arguments: Sequence[str]) -> None:
    """Print what is in a dataset, and draw it into a PNG."""
    options = parser().parse_args(arguments)
    if options.layouts:
        print_layouts()
        return
    if options.path is None:
        parser().error("give PATH, or --layouts")
    png = options.png or Path("outputs", "inspect", f"{options.path.stem}.png")
    transitions = Source.of(options).read()
    inspection = inspect(transitions, {} if options.columns else read_flags(options.path))
    png.parent.mkdir(parents=True, exist_ok=True)
    plot(transitions, png)
    console, table = Console(), Table(title=str(options.path), box=box.SIMPLE_HEAD, show_header=False)
    for row in inspection.facts.items():
        table.add_row(*row)
    console.print(table)
    for line in [f"warning: {warning}" for warning in inspection.warnings] or ["warnings: none"]:
        console.print(line, style="yellow", soft_wrap=True)
    console.print(f"plots: {png}", soft_wrap=True)
