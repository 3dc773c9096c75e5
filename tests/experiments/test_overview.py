"""What the README says and shows of results is what the committed results hold."""

import re
from pathlib import Path

import pytest

from experiments import overview
from experiments.reproduce.criteria import NOT_REPRODUCED, NOT_RUN, REPRODUCED

ROOT = Path(__file__).parents[2]
VERDICT = re.compile(rf"^\| ([^|]+) \| ([^|]+) \|.*\| ({REPRODUCED}|{NOT_REPRODUCED}|{NOT_RUN}) \|$", re.MULTILINE)
TABLES = ("bcq_figure2", "bcq_control", "discrete_bcq")  # papers' claims


def test_the_readme_counts_the_verdicts_of_the_pages() -> None:
    outcomes: dict[tuple[str, ...], str] = {}  # by table, criterion and dataset, which one budget has run
    for table in TABLES:
        for path in (ROOT / "experiments" / table).glob("*/README.md"):
            for says, dataset, outcome in VERDICT.findall(path.read_text(encoding="utf-8")):
                if outcome != NOT_RUN or (table, says, dataset) not in outcomes:
                    assert outcomes.setdefault((table, says, dataset), NOT_RUN) == NOT_RUN
                    outcomes[table, says, dataset] = outcome
    counted = [[*outcomes.values()].count(outcome) for outcome in (REPRODUCED, NOT_REPRODUCED, NOT_RUN)]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    said = re.search(r"(\d+) are reproduced, (\d+) are not, and (\d+) have not been run", readme)
    assert said is not None
    assert [int(number) for number in said.groups()] == counted


def test_the_picture_is_of_the_committed_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "PATH", tmp_path / "overview.svg")
    overview.main()
    assert (tmp_path / "overview.svg").read_bytes() == (ROOT / "docs" / "images" / "overview.svg").read_bytes()
