"""A table of text, for the terminal and for files."""

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$",
}  # fmt: skip

WIDTH = 160  # columns of tables where there is no terminal
WIDEST_WORD = 32  # of a row's name, that the terminal does not break


@dataclass(frozen=True)
class Grid:
    """A table whose first column names its rows.

    Args:
        title: above it.
        header: a name a column.
        rows: as many cells each.
        note: below it, or empty.
        texts: other columns of words, which are at the left and may be broken; numbers are at the right.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    texts: Collection[str] = ()

    def terminal(self) -> Table:
        """The table for the terminal."""
        table = Table(
            title=self.title,
            title_justify="left",
            caption=self.note or None,
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
        )
        longest = max((len(word) for row in self.rows for word in row[0].split()), default=0)
        table.add_column(self.header[0], overflow="fold", min_width=min(longest, WIDEST_WORD))
        for name in self.header[1:]:
            is_text = name in self.texts
            table.add_column(name, justify="left" if is_text else "right", no_wrap=not is_text)
        for row in self.rows:
            table.add_row(*row)
        return table

    def table(self) -> str:
        """Header and rows in Markdown."""
        rule = ["---" if name in self.texts else "---:" for name in self.header[1:]]
        lines = (self.header, ["---", *rule], *self.rows)
        return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)

    def markdown(self, level: int = 3) -> str:
        """The table in Markdown, with its title, a heading of this level, and its note."""
        return "\n\n".join([f"{'#' * level} {self.title}", self.table(), *filter(None, [self.note])]) + "\n"

    def csv(self) -> str:
        """Header and rows as CSV."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.header, *self.rows])
        return text.getvalue()

    def latex(self) -> str:
        """The table in LaTeX, for the package booktabs."""
        lines = [r" & ".join(map(escaped, line)) + r" \\" for line in (self.header, *self.rows)]
        columns = "l" + "r" * (len(self.header) - 1)
        head, *body = lines
        inner = "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule"])
        caption = escaped(". ".join(filter(None, [self.title, self.note])))
        ends = (r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", inner, r"\end{tabular}", r"\end{table}")
        return "\n".join(ends) + "\n"


def escaped(text: str) -> str:
    """A text with LaTeX's own characters written out."""
    return "".join(LATEX.get(character, character) for character in text)


def console() -> Console:
    """The console for tables: as wide as the terminal, or wide enough where there is none."""
    found = Console()
    return found if found.is_terminal else Console(width=WIDTH)
