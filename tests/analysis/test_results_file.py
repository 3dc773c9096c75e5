from pathlib import Path

import pytest

from bcq_exp.analysis.comparison import compare
from bcq_exp.analysis.results import read_results
from bcq_exp.analysis.results_file import committed, read_results_file, write_results
from bcq_exp.analysis.tables import over_seeds


def test_a_file_of_results_gives_the_tables_of_the_runs(runs: Path, tmp_path: Path):
    results = read_results([runs])
    write_results(results, tmp_path / "results.csv")
    again = read_results_file(tmp_path / "results.csv")
    assert [over_seeds(each).rows for each in compare(again)] == [over_seeds(each).rows for each in compare(results)]
    assert [result.evaluations for result in again] == [result.evaluations for result in results]
    assert [result.summary["overrides"] for result in again] == [result.summary["overrides"] for result in results]


@pytest.mark.parametrize(
    "content",
    [b"", b"run,algorithm\nx,bcq\n", b"\xff\xfe", b"run,evaluations\nx,1:2\n"],
    ids=["empty", "too few columns", "no text", "other columns"],
)
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes):
    path = tmp_path / "other.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.csv is no file of results"):
        read_results_file(path)


def test_a_row_with_a_number_that_is_none_is_refused(runs: Path, tmp_path: Path):
    path = tmp_path / "results.csv"
    write_results(read_results([runs]), path)
    path.write_text(path.read_text().replace(",50.0,", ",fifty,"))
    with pytest.raises(ValueError, match=r"results\.csv is no file of results, as bcq-report writes it"):
        read_results_file(path)


def test_committed_results_are_named_by_table_by_budget_or_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^results=none: there is no such file, and no such table .* has none$"):
        committed(["none"])
    files = [Path("experiments", *place, "results.csv") for place in (("a_b", "cpu"), ("a_b", "cpu-ram"), ("c", "cpu"))]
    for file in files:
        file.parent.mkdir(parents=True)
        file.touch()
    assert committed(["a-b"]) == files[:2]
    assert committed(["a-b/cpu-ram", "c"]) == files[1:]
    assert committed([str(files[2])]) == files[2:]
    with pytest.raises(ValueError, match=r"results=a-b/gpu: .* experiments/, which has a-b/cpu, a-b/cpu-ram, c/cpu$"):
        committed(["a-b/gpu"])
    with pytest.raises(ValueError, match=rf"results={tmp_path}/x: there is no such file"):
        committed([f"{tmp_path}/x"])
