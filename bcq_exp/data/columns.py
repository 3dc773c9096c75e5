"""Columns of a recording, checked and converted to the types of `Transitions`; the same for every layout."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bcq_exp.data.storage import chunks, is_mapped, new_mapped

Array = NDArray[Any]

ONE = "(N,) or (N, 1)"
SHOWN = 20  # names in a message


def typed(
    columns: Mapping[str, Array], source: str, keys: Mapping[str, str], *, is_discrete: bool | None = None
) -> dict[str, Array]:
    """Check columns, and convert them to the types of `Transitions`.

    A column of one number a row may be (N,) or (N, 1). Observations of bytes stay bytes, all others become float32.

    Args:
        columns: by the names of `as_transitions`.
        source: file or name that error messages begin with.
        keys: key in the file of each column, where it differs from the column's name.
        is_discrete: whether actions are, where the recording says so; None leaves it to `as_act`.

    Raises:
        ValueError: naming source, key and first bad row.
    """
    check_lengths({keys.get(name, name): columns[name] for name in columns if name != "episode_returns"}, source)
    made = {}
    for name, column in columns.items():
        key = keys.get(name, name)
        if name in ("obs", "obs_next"):
            made[name] = as_obs(column, key, source)
        elif name in ("act", "act_next"):
            made[name] = as_act(column, key, source, is_discrete=is_discrete)
        elif name in ("mask", "mask_next"):
            made[name] = as_flag(column, key, source, (2,), "(N, A)")
        elif name == "rew":
            made[name] = as_float(flat(column), key, source, (1,), ONE)
        elif name == "episode_returns":
            check_array(column, key, source, (1,), "(E,)")
            reject_rows(_is_not_finite, column, key, source, "finite numbers")
            made[name] = column.astype(np.float64)
        else:
            made[name] = as_flag(flat(column), key, source)
    for name in {"obs", "act", "mask"} & made.keys():
        if (following := made.get(f"{name}_next")) is not None:
            _check_alike(following, made[name], keys.get(f"{name}_next", f"{name}_next"), keys.get(name, name), source)
    return made


def flat(column: Array) -> Array:
    """A column (N, 1) as (N,); any other as it is."""
    return column[:, 0] if column.ndim == 2 and column.shape[1] == 1 else column


def shown(names: Iterable[str]) -> str:
    """Names of a file's keys for a message of one line: the first of them, unprintable characters escaped."""
    names = list(names)
    printed = [name if name.isprintable() else ascii(name) for name in names[:SHOWN]]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(printed) + more if names else "none"


def check_keys(names: Iterable[str], required: Iterable[str], source: str) -> None:
    """Raise ValueError for the required keys that are not found."""
    names = list(names)
    if missing := [key for key in required if key not in names]:
        raise ValueError(
            f"{source}: missing dataset {', '.join(missing)}; found: {shown(names)}; required: {', '.join(required)}"
        )


def check_lengths(columns: Mapping[str, Array], source: str) -> None:
    """Raise ValueError if the columns are empty or differ in their number of rows."""
    lengths = {key: column.shape[0] if column.ndim else 0 for key, column in columns.items()}
    shortest, longest = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
    if lengths[longest] == 0:
        raise ValueError(f"{source}: {', '.join(lengths)} are empty; at least one row is needed")
    if lengths[shortest] != lengths[longest]:
        raise ValueError(
            f"{source}: {shortest} ends before row {lengths[shortest]}, {longest} has {lengths[longest]} rows; "
            "all columns must have the same number of rows"
        )


def _check_alike(following: Array, column: Array, key: str, like: str, source: str) -> None:
    if following.shape != column.shape or following.dtype != column.dtype:
        raise ValueError(
            f"{source}: {key} is {following.dtype} {following.shape[1:]} a row; it must be "
            f"like {like}, {column.dtype} {column.shape[1:]}"
        )


def check_array(column: Array, key: str, source: str, ranks: Iterable[int], layout: str) -> None:
    """Raise ValueError unless the column holds real numbers and has one of the ranks, no axis being empty."""
    check_numbers(column.dtype, key, source)
    if column.ndim not in ranks or 0 in column.shape:
        raise ValueError(f"{source}: {key} has shape {column.shape}, from row 0 on; allowed: {layout}")


def check_numbers(dtype: np.dtype[Any], key: str, source: str) -> None:
    """Raise ValueError unless a column's type is one of real numbers."""
    if dtype.kind not in "fiub":
        raise ValueError(f"{source}: {said_of_type(dtype, key)}")


def said_of_type(dtype: np.dtype[Any], key: str) -> str:
    """The message for a column whose type is none of real numbers."""
    return f"{key} has dtype {dtype}, from row 0 on; allowed: real numbers"


def reject_rows(
    is_bad: Callable[[Array], Array],
    column: Array,
    key: str,
    source: str,
    allowed: str,
    rows: Array | None = None,
) -> None:
    """Raise ValueError for the first row of `column` that has an entry which `is_bad` flags, if any.

    The column is looked at piece by piece. `rows` translates indices into rows of the file.
    """
    first, num_bad = "", 0
    for piece in chunks(column):
        part = column[piece]
        bad = is_bad(part)
        bad_rows = np.flatnonzero(bad.any(axis=tuple(range(1, bad.ndim))))
        if bad_rows.size and not first:
            row = bad_rows[0] + piece.start
            first = f"row {row if rows is None else rows[row]} is {column[row][bad[bad_rows[0]]].flat[0]}"
        num_bad += bad_rows.size
    if first:
        raise ValueError(f"{source}: {key} {first}; allowed: {allowed} (bad rows in all: {num_bad})")


def _is_not_finite(part: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return ~np.isfinite(part.astype(np.float32, copy=False))


def _is_not_whole(part: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.asarray(part.astype(np.int64) != part)


def converted(column: Array, dtype: DTypeLike) -> Array:
    """A copy in another type, mapped where the column is; a mapped column of that type stays as it is."""
    with np.errstate(over="ignore", invalid="ignore"):
        if not is_mapped(column):
            return column.astype(dtype)
        if column.dtype == dtype:
            return column
        made = new_mapped(column.shape, dtype)
        for rows in chunks(column):
            made[rows] = column[rows]
        return made


def as_float(column: Array, key: str, source: str, ranks: Iterable[int], layout: str) -> Array:
    """Convert to float32, refusing NaN, infinity and what float32 cannot hold."""
    check_array(column, key, source, ranks, layout)
    reject_rows(_is_not_finite, column, key, source, "finite float32 numbers")
    return converted(column, np.float32)


def as_flag(column: Array, key: str, source: str, ranks: Iterable[int] = (1,), layout: str = ONE) -> Array:
    """Convert to bool, refusing anything but 0 and 1."""
    check_array(column, key, source, ranks, layout)
    reject_rows(lambda part: (part != 0) & (part != 1), column, key, source, "0 or 1")
    return converted(column, np.bool_)


def as_obs(column: Array, key: str, source: str) -> Array:
    """Convert observations (N,) or (N, *S) to float32 (N, 1) or (N, *S); uint8 stays."""
    column = column[:, None] if column.ndim == 1 else column
    ranks, layout = range(2, 33), "(N,) or (N, ...)"
    if column.dtype == np.uint8:
        check_array(column, key, source, ranks, layout)
        return column
    return as_float(column, key, source, ranks, layout)


def as_act(column: Array, key: str, source: str, *, is_discrete: bool | None = None) -> Array:
    """Convert actions to int64 (N,) if discrete, else to float32 (N, A); (N,) and (N, 1) are the same.

    Where the recording does not say whether they are discrete, one integer (by type) a row is kept as an integer. A Box
    of one dimension may be recorded so too, and a Discrete space as whole floats; `check_against` decides by the
    environment's space.
    """
    check_array(column, key, source, (1, 2), "(N,) or (N, A)")
    column = flat(column)
    if is_discrete is None:
        is_discrete = column.dtype.kind in "iub" and column.ndim == 1
    if not is_discrete:
        return as_float(column[:, None] if column.ndim == 1 else column, key, source, (2,), "(N, A)")
    check_array(column, key, source, (1,), f"{ONE} for discrete actions")
    return as_index(column, key, source)


def as_index(column: Array, key: str, source: str, rows: Array | None = None) -> Array:
    """Convert discrete actions (N,) to int64, refusing what is no whole number; `rows` as for `reject_rows`."""
    reject_rows(_is_not_whole, column, key, source, "integers for discrete actions", rows)
    return converted(column, np.int64)
