"""What a table's folder is given: results, where they were trained, pictures and the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from bcq_exp.analysis.comparison import Comparison, Row
from bcq_exp.analysis.figures import learning_curves, save, sensitivity
from bcq_exp.analysis.grid import Grid
from experiments.reproduce.cells import Cell
from experiments.reproduce.kept import Origin, read_origins, trained_origin, united, write_kept
from experiments.reproduce.page import page
from experiments.reproduce.protocol import Budget, Protocol
from experiments.reproduce.rows import Rows, missing_rows
from experiments.reproduce.training import read_seconds, row_key


@dataclass(frozen=True)
class Table:
    """A budget of a protocol with the rows that have ended.

    Args:
        protocol: of the table.
        name: of the budget.
        planned: its cells.
        found: rows that have ended, by cell.
        kept: those that the table's folder keeps and that count.
    """

    protocol: Protocol
    name: str
    planned: Sequence[Cell]
    found: Mapping[Cell, Rows]
    kept: Mapping[Cell, Rows]

    @property
    def budget(self) -> Budget:
        """By its name."""
        return self.protocol.budgets[self.name]

    @property
    def place(self) -> Path:
        """The folder of the budget's results."""
        return self.protocol.folder / self.name

    def rows(self) -> dict[str, list[Row]]:
        """The rows by dataset, each under the cell that trains it alone."""
        found: dict[str, list[Row]] = {}
        for cell, rows in self.found.items():
            own = [row for name, row in rows.items() if name in cell.settings]
            found.setdefault(cell.dataset, []).extend(own)
        return found

    def origins(self, folder: Path) -> dict[tuple[str, str], Origin]:
        """Where each row was trained, by dataset and row: as it is kept, or on this machine.

        Args:
            folder: of this machine's runs.
        """
        origins = read_origins(self.place) if self.kept else {}
        seconds = read_seconds(folder)
        for cell, rows in self.found.items():
            kept = self.kept.get(cell, {})
            for name, row in rows.items():
                if name in cell.settings and row is not kept.get(name):
                    origins[cell.dataset, name] = trained_origin(row, seconds.get(row_key(cell, name), 0.0))
        return origins

    def not_run(self) -> str:
        """The rows that have not ended, in words."""
        missing = {name: missing_rows(self.planned, self.found, name) for name in self.budget.datasets}
        return "; ".join(f"{', '.join(learners)} on {dataset}" for dataset, learners in missing.items() if learners)


def write(table: Table, grids: Sequence[Grid], verdicts: Grid, folder: Path) -> None:
    """Write results, pictures and page into the table's folder.

    Args:
        table: that is written.
        grids: its figures, one a dataset.
        verdicts: of its criteria.
        folder: of this machine's runs.
    """
    by_dataset, origins, name = table.rows(), table.origins(folder), table.name
    write_kept(table.place, by_dataset, origins)
    pictures = {
        f"curves-{dataset}.svg": learning_curves([Comparison(dataset, own)]) for dataset, own in by_dataset.items()
    }
    for cell, rows in table.found.items():
        for picture in sensitivity(Comparison(cell.dataset, [*rows.values()])):
            pictures[f"sensitivity-{cell.dataset}-{cell.algorithm}.svg"] = picture
    for file, picture in pictures.items():
        save(picture, table.place / file)
    hours = sum(origin.seconds for origin in origins.values()) / 3600
    facts = {
        "command": f"`python -m experiments.reproduce table={table.protocol.name} budget={name} write=true`",
        "seeds": f"0 to {table.budget.seeds - 1}",
        "wall time": f"{hours:.1f} h of training and evaluation, added up over sweeps",
        "machine": united(origin.machine for origin in origins.values()),
        "code": united(origin.code for origin in origins.values()),
        "written": str(date.today()),
    }
    if left := table.not_run():
        facts["not run yet"] = left
    text = page(table.protocol, name, table.budget, grids, verdicts, facts, list(pictures))
    (table.place / "README.md").write_text(text, encoding="utf-8")
