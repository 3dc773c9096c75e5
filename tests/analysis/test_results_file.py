from pathlib import Path

import pytest

from bcq_exp.analysis.comparison import compare
from bcq_exp.analysis.results import read_results
from bcq_exp.analysis.results_file import read_results_file, write_results
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
