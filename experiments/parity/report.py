"""How far our updates are from the golden ones, and the tables that say so.

The criteria, written down before anything was compared: with golden values in float64 no loss of any update, and no
weight after one or ten updates, is 1e-10 or more away from ours; with values in float32, whose rounding errors grow
from update to update, none of the first update is 1e-5 away.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bcq_exp.algorithms import REGISTRY
from bcq_exp.analysis.grid import Grid
from experiments.parity.cases import CASES
from experiments.parity.golden import COMPARED_AFTER, Golden, Source, sources
from experiments.parity.replay import replay

LARGEST = {torch.float64: 1e-10, torch.float32: 1e-5}
FIRST, LAST = COMPARED_AFTER
HEADER = (
    "case", "reference", "numbers", "held",
    *(f"{kind}, {num}" for kind in ("losses", "weights", "targets") for num in COMPARED_AFTER), "verdict",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """The largest differences of a case.

    Args:
        source: of its golden values.
        dtype: of the golden values.
        differences: by kind (`loss`, `weights`, `targets`) and number of updates.
    """

    source: Source
    dtype: torch.dtype
    differences: dict[tuple[str, int], float]

    @property
    def is_equal(self) -> bool:
        """Whether the criterion holds."""
        counted = COMPARED_AFTER if self.dtype == torch.float64 else (FIRST,)
        return all(
            self.differences[kind, num] < LARGEST[self.dtype] for kind, num in self.differences if num in counted
        )


def difference(ours: Tensor, golden: Tensor) -> float:
    """The largest absolute difference of two tensors of one shape; infinite where only one of them has a number."""
    if not torch.equal(ours.isnan(), golden.isnan()):
        return math.inf
    return float((ours - golden).nan_to_num(0.0).abs().max())


def compare(source: Source) -> Comparison:
    """Make a case's updates and measure.

    Raises:
        ValueError: the golden values have weights that our networks lack, or lack some.
    """
    golden = Golden.of(source.case)
    ours, theirs = replay(CASES[source.case], golden), golden.results
    if ours.keys() != theirs.keys():
        raise ValueError(f"{source.case}: only one side has {', '.join(sorted(ours.keys() ^ theirs.keys()))}")
    differences = {}
    for num in COMPARED_AFTER:
        losses = [difference(ours[key][:num], theirs[key][:num]) for key in ours if key.startswith("loss/")]
        differences["loss", num] = max(losses)
        for kind in ("weights", "targets"):
            found = [difference(ours[key], theirs[key]) for key in ours if key.startswith(f"{kind}/{num}/")]
            differences[kind, num] = max(found, default=0.0)
    return Comparison(source, golden.dtype, differences)


def compare_all() -> list[Comparison]:
    """All cases with golden values, in the order of the table of sources."""
    return [compare(source) for source in sources() if source.repository]


def grid(comparisons: Sequence[Comparison]) -> Grid:
    """A row a case: networks that were held, the largest differences, and whether the criterion holds."""
    rows = []
    for each in comparisons:
        source = each.source
        figures = [
            f"{each.differences[kind, num]:.1e}" for kind in ("loss", "weights", "targets") for num in (FIRST, LAST)
        ]
        reference = f"{source.repository} {source.commit[:7]}"
        held = ", ".join(name for name, rate in CASES[source.case].rates.items() if rate == 0)
        verdict = "equal" if each.is_equal else "differs"
        rows.append((source.case, reference, source.precision, held or "-", *figures, verdict))
    return Grid(f"Largest differences after {FIRST} and {LAST} updates", HEADER, rows, texts=HEADER[:4])


def without_reference() -> Grid:
    """A row for each algorithm of the registry that no reference is compared with, and why."""
    rows: list[tuple[str, ...]] = [
        (source.algorithm, source.departures) for source in sources() if not source.repository
    ]
    return Grid("Without a reference", ("algorithm", "why"), rows, texts=("why",))


def markdown(comparisons: Sequence[Comparison], head: str) -> str:
    """The whole report: both tables, what was run, and where references depart."""
    compared = {each.source.algorithm for each in comparisons}
    num_equal = sum(each.is_equal for each in comparisons)
    shares = f"{len(compared)} of {len(REGISTRY)} algorithms"
    summary = f"{num_equal} of {len(comparisons)} cases are equal. They are of {shares}."
    lines = [
        "# Parity with the authors' code\n",
        head,
        f"{summary}\n",
        grid(comparisons).markdown(level=2),
        "## What was run, and departures\n",
    ]
    for each in comparisons:
        source = each.source
        place = f"`{source.file}` of {source.repository}, `{source.commit}`"
        lines.append(f"- **{source.case}** ({place}): {source.run} {source.departures}".rstrip())
    return "\n".join([*lines, "", without_reference().markdown(level=2)])
