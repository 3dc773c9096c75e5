"""CSV and Parquet files, read and written in batches by `pyarrow`, which comes with the extra `tables`."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bcq_exp.data.columns import Array
from bcq_exp.io.files import replacing

PARQUET = b"PAR1"  # that a Parquet file begins with
SUFFIXES = (".csv", ".parquet")  # of files that are written
DELIMITERS = ",;\t|"
SNIFFED = 2**16  # bytes, in which the first line of a CSV file must end
BATCH = 2**16  # rows of a Parquet file that are read at once
BLOCK = 2**24  # bytes of a CSV file that are read at once
TEXTS = ("string", "large_string", "string_view")  # types
DATES = ("us", None), ("us", "UTC")  # types of timestamps, without and with a zone


class TableFile:
    """A CSV file, plain or compressed, or a Parquet file; its content says which of both.

    Args:
        path: of the file.

    Attributes:
        names: of its columns.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: `pyarrow` is missing, or the file is damaged or neither.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _reading(path):
            with path.open("rb") as file:
                self.is_parquet = file.read(len(PARQUET)) == PARQUET
            self.delimiter = ","
            self.names: list[str] = self._parquet().schema_arrow.names if self.is_parquet else self._head()

    def most_numbers(self, num_columns: int) -> int:
        """How many numbers are in so many columns: of a CSV file, how many it has room for."""
        if not self.is_parquet:
            return self.path.stat().st_size // 2  # a digit and a delimiter
        with _reading(self.path):
            return int(self._parquet().metadata.num_rows) * num_columns

    def batches(self, names: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Read columns, some rows at a time; those of a CSV file are texts, an empty cell is null.

        Raises:
            ValueError: the file is damaged.
        """
        wanted = list(names)
        with _reading(self.path):
            for batch in self._parquet().iter_batches(BATCH, columns=wanted) if self.is_parquet else self._csv(wanted):
                yield {name: batch.column(name) for name in wanted}

    def _parquet(self) -> Any:
        from pyarrow import parquet

        return parquet.ParquetFile(self.path)

    def _csv(self, names: list[str]) -> Any:
        from pyarrow import csv as arrow_csv
        from pyarrow import string

        texts = {name: string() for name in names}
        return arrow_csv.open_csv(
            str(self.path),
            arrow_csv.ReadOptions(block_size=BLOCK),
            arrow_csv.ParseOptions(delimiter=self.delimiter),
            arrow_csv.ConvertOptions(
                include_columns=names, column_types=texts, null_values=[""], strings_can_be_null=True
            ),
        )

    def _head(self) -> list[str]:
        """The names in a CSV file's first line; the delimiter is the one that it has most of."""
        from pyarrow import input_stream

        with input_stream(str(self.path), compression="detect") as stream:
            text = stream.read(SNIFFED).decode("utf-8-sig", errors="ignore")
        if not text.strip() or "\0" in text:
            raise ValueError("it begins with no line of names")
        rows = {each: next(csv.reader(text.splitlines(), delimiter=each)) for each in DELIMITERS}
        self.delimiter = max(rows, key=lambda each: len(rows[each]))
        return rows[self.delimiter]


def numbers(column: Any) -> Array:
    """The numbers of a column of `TableFile.batches`, (N,) float64.

    False and true are 0 and 1. NaN stands for null and for what is no number.
    """
    import pyarrow as pa

    column = plain(column)
    if is_text(column):
        for kind in (pa.float64(), pa.bool_()):
            try:
                column = column.cast(kind)
                break
            except pa.ArrowInvalid:
                continue
        else:
            return np.array([_number(text) for text in column.to_pylist()])
    try:
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # dates, lists and the like
        return np.full(len(column), np.nan)


def times(column: Any) -> Array:
    """The times of a column of `TableFile.batches`, (N,) float64: numbers, or dates of ISO 8601 in microseconds.

    NaN stands for null and for what is neither.
    """
    import pyarrow as pa

    column = plain(column)
    for unit, zone in DATES if is_text(column) or pa.types.is_temporal(column.type) else ():
        try:
            dates = column.cast(pa.timestamp(unit, zone), safe=False).cast(pa.int64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
        return np.asarray(dates.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    return numbers(column)


def codes(column: Any, known: dict[Any, int]) -> Array:
    """The values of a column of `TableFile.batches` by their numbers, (N,) float64; NaN for null.

    Args:
        column: of any type.
        known: the number of each value so far; values that are new get the next ones, in the order of the rows.
    """
    encoded = plain(column).dictionary_encode()
    values = (value.strip() if isinstance(value, str) else value for value in encoded.dictionary.to_pylist())
    found = [known.setdefault(value, len(known)) for value in values]
    return np.asarray(np.array([*found, np.nan])[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)])


def plain(column: Any) -> Any:
    """A column without the dictionary that its values may be kept in."""
    from pyarrow import types

    return column.dictionary_decode() if types.is_dictionary(column.type) else column


def is_text(column: Any) -> bool:
    """Whether a column's values are texts, be they numbers in writing."""
    return str(plain(column).type) in TEXTS


def begins_with_text(column: Any) -> bool:
    """Whether the first value of a column is a text that is no number."""
    first = plain(column).drop_null()[:1]
    return is_text(first) and bool(np.isnan(numbers(first)).any())


def are_whole(column: Any) -> bool:
    """Whether a column's numbers are integers by their type or, as texts, by the way that they are written."""
    import pyarrow as pa

    column = plain(column)
    if not is_text(column):
        return bool(pa.types.is_integer(column.type) or pa.types.is_boolean(column.type))
    try:
        column.cast(pa.int64())
    except pa.ArrowInvalid:
        return False
    return True


def write(path: Path, batches: Iterable[Mapping[str, Any]]) -> None:
    """Write a table, whole or not at all.

    Args:
        path: a new file that ends in one of `SUFFIXES`.
        batches: arrays (N,) by the names of the columns, the same in each batch; at least one.

    Raises:
        ValueError: the name is not that of a new file in a folder, or `pyarrow` is missing.
    """
    check_new(path)
    with _installed(path):
        import pyarrow as pa
        from pyarrow import csv as arrow_csv
        from pyarrow import parquet
    make, writer = arrow_csv.CSVWriter if path.suffix == ".csv" else parquet.ParquetWriter, None
    with replacing(path) as partial:
        for batch in batches:
            table = pa.table(dict(batch))
            writer = writer or make(str(partial), table.schema)
            writer.write_table(table)
        assert writer is not None
        writer.close()


def check_new(path: Path) -> None:
    """Raise ValueError unless a table may be written there."""
    if path.exists() or not path.parent.is_dir() or path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: give the name of a new {' or '.join(SUFFIXES)} file in a folder that exists")


def _number(text: str | None) -> float:
    """As Python reads it; NaN for what is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return {"true": 1.0, "false": 0.0}.get(str(text).strip().lower(), np.nan)


@contextmanager
def _installed(path: Path) -> Iterator[None]:
    """Name the extra where `pyarrow` is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(f"{path}: CSV and Parquet need {error.name}: pip install 'bcq_exp[tables]'") from None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn an error of reading inside the block into one line that names the file."""
    with _installed(path):
        from pyarrow import ArrowException
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (ArrowException, OSError, ValueError, csv.Error, StopIteration) as error:
        said = " ".join(str(error).split())[:300]
        raise ValueError(f"{path}: not a readable CSV or Parquet file, truncated or damaged ({said})") from None
