import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bcq_exp.data.formats.tables import arrow

MICROSECONDS = 24 * 60 * 60 * 10**6


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array(["1", "2.5", "-1e3"]), [1, 2.5, -1000]),
        (pa.array(["True", "false"]), [1, 0]),
        (pa.array(["1", " 2 ", "TRUE", "x", None]), [1, 2, 1, np.nan, np.nan]),
        (pa.array([1, None, 3]), [1, np.nan, 3]),
        (pa.array([True, False]), [1, 0]),
        (pa.array([2**60 + 1]), [2.0**60]),
        (pa.array(["3", "4"]).dictionary_encode(), [3, 4]),
        (pa.array([[1], [2]]), [np.nan, np.nan]),
    ],
)
def test_numbers_of_every_type(column: pa.Array, expected: list[float]) -> None:
    found = arrow.numbers(column)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)


def test_times_are_numbers_or_dates() -> None:
    np.testing.assert_array_equal(arrow.times(pa.array(["2", "10"])), [2, 10])
    np.testing.assert_array_equal(arrow.times(pa.array([2.5, None])), [2.5, np.nan])
    days = [np.diff(arrow.times(column)) for column in (
        pa.array(["2026-01-31", "2026-02-01"]),
        pa.array(["2026-01-31T10:00:00Z", "2026-02-01T12:00:00+02:00"]),
        pa.array(np.array(["2026-01-31", "2026-02-01"], "datetime64[ns]")),
    )]  # fmt: skip
    np.testing.assert_array_equal(days, [[MICROSECONDS]] * 3)
    assert np.isnan(arrow.times(pa.array(["soon"]))).all()


def test_codes_go_on_from_batch_to_batch() -> None:
    known: dict[object, int] = {}
    np.testing.assert_array_equal(arrow.codes(pa.array(["b", "a", " b "]), known), [0, 1, 0])
    np.testing.assert_array_equal(arrow.codes(pa.array(["c", None, "a"]).dictionary_encode(), known), [2, np.nan, 1])
    assert known == {"b": 0, "a": 1, "c": 2}


@pytest.mark.parametrize(
    ("column", "is_whole"),
    [(["1", "-2", None], True), (["1.0"], False), (["x"], False), ([1, 2], True), ([1.0], False), ([True], True)],
)
def test_whole_numbers_are_told_by_type_or_writing(column: list[object], is_whole: bool) -> None:
    assert arrow.are_whole(pa.array(column)) is is_whole


@pytest.mark.parametrize("suffix", arrow.SUFFIXES)
def test_a_table_is_written_whole_or_not_at_all(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    arrow.write(path, [{"a, b": np.array([1.5, 2]), "c": np.array(["x", 'y"'])}] * 2)
    file = arrow.TableFile(path)
    assert file.names == ["a, b", "c"]
    (batch,) = file.batches(["c", "a, b"]) if suffix == ".csv" else list(file.batches(["c", "a, b"]))[:1]
    assert batch["c"].to_pylist() == ["x", 'y"'] * 2
    np.testing.assert_array_equal(arrow.numbers(batch["a, b"]), [1.5, 2, 1.5, 2])
    with pytest.raises(ValueError, match=f"a{suffix}: give the name of a new .csv or .parquet file"):
        arrow.write(path, [])

    def failing() -> object:
        yield {"a": np.ones(2)}
        raise KeyError

    with pytest.raises(KeyError):
        arrow.write(tmp_path / f"b{suffix}", failing())
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"PAR1" + bytes(40), b"a,b\n\0\0", bytes(100)])
def test_what_is_no_table_is_said_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.csv: not a readable CSV or Parquet file, truncated or damaged") as error:
        arrow.TableFile(tmp_path / "a.csv")
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"b\.csv: no such file"):
        arrow.TableFile(tmp_path / "b.csv")


def test_a_cut_parquet_file_is_refused(tmp_path: Path) -> None:
    arrow.write(tmp_path / "a.parquet", [{"a": np.arange(1000)}])
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a\.parquet: not a readable"):
        arrow.TableFile(tmp_path / "a.parquet")


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"a\.csv: CSV and Parquet need pyarrow: pip install 'bcq_exp\[tables\]'"):
        arrow.TableFile(tmp_path / "a.csv")
