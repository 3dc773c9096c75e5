"""What the README says and shows of results is what the committed results hold."""

import re
from pathlib import Path

import pytest

from experiments import overview

ROOT = Path(__file__).parents[2]
TABLES = ("bcq_figure2", "bcq_control", "discrete_bcq")  # papers' claims


def test_the_readme_counts_the_verdicts_of_the_pages() -> None:
    pages = [(ROOT / "experiments" / table / "cpu" / "README.md").read_text(encoding="utf-8") for table in TABLES]
    outcomes = ("reproduced", "not reproduced", "not run")
    counted = [sum(page.count(f"| {outcome} |") for page in pages) for outcome in outcomes]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    said = re.search(r"(\d+) are reproduced, (\d+) are not, and (\d+) have not been run", readme)
    assert said is not None
    assert [int(number) for number in said.groups()] == counted


def test_the_picture_is_of_the_committed_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "PATH", tmp_path / "overview.svg")
    overview.main()
    assert (tmp_path / "overview.svg").read_bytes() == (ROOT / "docs" / "images" / "overview.svg").read_bytes()
