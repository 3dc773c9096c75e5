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
    assert "bc lr=0.1" in (runs / "tables.tex").read_text().replace("\\", "")


def test_committed_results_stand_beside_new_runs(runs: Path, tmp_path_factory: pytest.TempPathFactory):
    """A file of results by its path, or by the name of its folder in experiments/."""
    other = tmp_path_factory.mktemp("other")
    write_run(other / "a", algorithm="dqn", seed=0, returns=[100])
    assert report(other).returncode == 0
    done = report(runs, f"results={other / 'results.csv'}")
    assert done.returncode == 0
    assert "dqn" in done.stdout
    assert "dqn" not in (runs / "results.csv").read_text()  # which has the runs of its own directory
    missing = report(runs, "results=no-such-table")
    assert missing.stderr == (
        "error: results=no-such-table: there is no file no-such-table or experiments/no_such_table/results.csv\n"
    )


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
