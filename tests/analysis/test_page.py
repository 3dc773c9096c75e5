import re
from html.parser import HTMLParser
from pathlib import Path

from bcq_exp.analysis.comparison import compare
from bcq_exp.analysis.page import page
from bcq_exp.analysis.results import read_results
from bcq_exp.analysis.tables import across
from bcq_exp.io.files import write_json
from trained import write_run


def page_of(directories: list[Path], title: str) -> str:
    comparisons = compare(read_results(directories))
    return page(comparisons, across(comparisons), title)


class Tags(HTMLParser):
    """Counts tags, and collects addresses and the cells of each table."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.addresses: list[str] = []
        self.rows: list[list[str]] = []
        self.is_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag == "tr":
            self.rows.append([])
        self.is_cell = tag == "td"

    def handle_data(self, data: str) -> None:
        if self.is_cell:
            self.rows[-1].append(data)
            self.is_cell = False


def parsed(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    return tags


def test_the_page_holds_the_table_and_needs_no_network(runs: Path):
    text = page_of([runs], "a <title>")
    tags = parsed(text)
    assert "<title>a &lt;title&gt;</title>" in text
    assert ["bc", "1", "9.0", "9.0", "0.9", "100"] in tags.rows
    assert ["bcq", "2 (1 failed)", "7.0 ± 1.4", "4.5 ± 12.7", "0.7", "100"] in tags.rows
    assert all(address.startswith("#") for address in tags.addresses)
    assert not re.search(r"@import|url\((?!#)|<link|<script [^>]*src", text)


def test_what_is_drawn_has_the_colour_of_the_page(runs: Path):
    text = page_of([runs], "t")
    assert "currentColor" in text
    assert "#010203" not in text


def test_names_from_files_stay_text(tmp_path: Path):
    """A dataset's name is a file's word; a page must not run it."""
    write_run(tmp_path / "a", algorithm="bcq", seed=0, returns=[1], dataset="<script>alert(1)</script>")
    text = page_of([tmp_path], "t")
    assert parsed(text).opened.count("script") == 1  # the page's own
    assert "&lt;script&gt;alert(1)" in text


def test_a_sweep_says_what_its_choice_is_worth(tmp_path: Path):
    for rate, values in (("0.1", (1.0, 2.0, 3.0)), ("0.2", (5.0, 0.0, 2.0))):
        for seed, value in enumerate(values):
            write_run(tmp_path / f"{rate}-{seed}", algorithm="bcq", seed=seed, returns=[value],
                      typed=(f"optimizer.lr={rate}",))  # fmt: skip
    text = page_of([tmp_path], "t")
    # The choices give 1, 0 and 2: mean 1, deviation 1, t(0.975, 2) / sqrt(3) = 2.484.
    assert "<b>bcq lr=0.2</b>" in text
    assert "the choice gives 1.0 ± 2.5 (95 % interval)" in text


def test_runs_that_all_failed_are_a_page_without_curves(tmp_path: Path):
    write_run(tmp_path / "a", algorithm="bcq", seed=0, returns=[], status="failed")
    tags = parsed(page_of([tmp_path], "t"))
    assert ["bcq", "0 (1 failed)", "-", "-", "-", "-"] in tags.rows
    assert "figure" not in tags.opened


def test_named_actions_have_a_table(runs: Path):
    assert "<summary>Actions</summary>" not in page_of([runs], "t")
    write_json(
        runs / "d" / "manifest.json", {"dataset": {"action_names": ["<low>", "high"], "action_counts": [30, 10]}}
    )
    rows = parsed(page_of([runs], "t")).rows
    assert ["0", "<low>", "30", "75.0%"] in rows
    assert ["1", "high", "10", "25.0%"] in rows
