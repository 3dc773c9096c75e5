import csv
import io

from rich.console import Console

from bcq_exp.analysis.grid import Grid

GRID = Grid("a_b: 50 %", ("run", "final ± std"), [("x|y_1", "1.0 ± 0.5"), ("a & b", "-")], "note #1")


def test_markdown_has_a_row_a_line_and_no_cell_too_many():
    assert GRID.markdown() == (
        "### a_b: 50 %\n\n| run | final ± std |\n| --- | ---: |\n| x/y_1 | 1.0 ± 0.5 |\n| a & b | - |\n\nnote #1\n"
    )


def test_columns_of_words_are_at_the_left_and_broken_where_they_are_long():
    grid = Grid("t", ("run", "seeds", "why"), [("a", "1", "it was stopped")], texts=("why",))
    assert grid.markdown(level=2) == "## t\n\n| run | seeds | why |\n| --- | ---: | --- |\n| a | 1 | it was stopped |\n"
    console = Console(width=24, record=True, file=io.StringIO())
    console.print(grid.terminal())
    first, second = console.export_text().splitlines()[3:]
    assert (first.split(), second.split()) == (["a", "1", "it", "was"], ["stopped"])
    assert first.index("it") == second.index("stopped")


def test_csv_is_read_back_as_it_is():
    assert list(csv.reader(io.StringIO(GRID.csv()))) == [["run", "final ± std"], ["x|y_1", "1.0 ± 0.5"], ["a & b", "-"]]


def test_latex_escapes_its_own_characters():
    text = GRID.latex()
    assert r"\caption{a\_b: 50 \%. note \#1}" in text
    assert r"x|y\_1 & 1.0 $\pm$ 0.5 \\" in text
    assert r"a \& b & - \\" in text
    assert [text.count(word) for word in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lr}")] == [1] * 4


def test_a_narrow_terminal_breaks_names_between_words():
    console = Console(width=40, record=True, file=io.StringIO())
    name = "discrete_bcq tau=0.005 unlikely_action_threshold=0.3"
    console.print(Grid("t", ("run", "score"), [(name, "1.0")]).terminal())
    text = console.export_text()
    assert [word for word in name.split() if word not in text] == []
