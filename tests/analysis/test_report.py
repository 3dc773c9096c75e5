import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bcq_exp.analysis.report import FILES, present
from bcq_exp.analysis.results_file import read_results_file
from trained import write_run, write_run_without_environment


def test_a_directory_without_runs_is_one_short_message(tmp_path: Path):
    command = [sys.executable, "-m", "bcq_exp.report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"error: no summary.json below {tmp_path}: no run has ended there\n"


def report(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "bcq_exp.report", *map(str, words)], capture_output=True, text=True)


def test_a_report_writes_its_files_and_names_them(runs: Path):
    before = {path.name for path in runs.iterdir()}
    done = report(runs)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in runs.iterdir()} - before == set(FILES)
    assert f"report:           {runs / 'report.html'}" in done.stdout
    assert "bc & 1 & 9.0 &" in (runs / "tables.tex").read_text()


def test_committed_results_stand_beside_new_runs(runs: Path, tmp_path_factory: pytest.TempPathFactory):
    """A run that is in both counts once; one that was trained again elsewhere is in a row of its own."""
    other = tmp_path_factory.mktemp("other")
    write_run(other / "e", algorithm="dqn", seed=0, returns=[100] * 6)
    shutil.copytree(runs / "a", other / "a")
    write_run(other / "b", algorithm="bcq", seed=1, returns=[3, 4, 5, 6, 7, 9])
    assert report(other).returncode == 0
    done = report(runs, f"results={other / 'results.csv'}")
    assert done.returncode == 0
    lines = [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()]
    rows = {cells[0]: cells[1] for cells in lines[: lines.index([""])] if len(cells) > 1}
    assert rows["dqn"] == "1"
    assert rows[f"bcq in {runs}"] == "2 (1 failed)"
    assert rows[f"bcq in {other}"] == "1"
    assert "dqn" not in (runs / "results.csv").read_text()  # which has the runs of its own directory
    missing = report(runs, "results=no-such-table")
    assert missing.stderr.startswith("error: results=no-such-table: there is no such file, and no such table in ")
    assert missing.stderr.count("\n") == 1


def test_runs_without_environment_have_a_report_with_and_without_estimates(tmp_path: Path):
    write_run_without_environment(tmp_path / "a", [2.0, 3.0])
    write_run_without_environment(tmp_path / "b", [], dataset="other")
    present([tmp_path])
    page = (tmp_path / "report.html").read_text()
    assert "fqe estimates on held-out episodes" in page
    (first, second) = read_results_file(tmp_path / "results.csv")
    assert (first.final, first.measure) == (3.0, "fqe estimates on held-out episodes")
    assert first.evaluations == [(10, 2.0), (20, 3.0)]
    assert (second.final, second.measure, second.evaluations) == (None, "returns unknown", [])
