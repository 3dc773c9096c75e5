from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bcq_exp.data import Transitions

Columns = dict[str, Any]


def read(columns: Columns, **changed: Any) -> Transitions:
    columns = columns | {key: np.asarray(column) for key, column in changed.items()}
    return Transitions.from_columns(columns, "data.h5")


def test_columns_are_converted(columns: Columns) -> None:
    found = read(
        columns,
        act=columns["act"].astype(np.int8),
        rew=columns["rew"].astype(np.float64),
        terminated=columns["terminated"].astype(np.float32),
    )
    assert len(found) == 5
    assert [found.act.dtype.name, found.rew.dtype.name, found.terminated.dtype.name] == ["int64", "float32", "bool"]
    np.testing.assert_array_equal(found.act, columns["act"])
    np.testing.assert_array_equal(found.episode_returns, [7, 24])
    assert found.episode_returns.dtype == np.float64
    assert found.mask is None


def test_images_stay_bytes(columns: Columns) -> None:
    images = np.arange(5 * 12, dtype=np.uint8).reshape(5, 3, 4)
    found = read(columns, obs=images, obs_next=images)
    assert found.obs.dtype == np.uint8
    assert found.obs.shape == (5, 3, 4)


def test_two_axes_make_actions_continuous(columns: Columns) -> None:
    found = read(columns, act=np.ones((5, 1)))
    assert found.act.dtype == np.float32
    assert found.act.shape == (5, 1)


def changed(key: str, row: int, value: Any, dtype: Any = None) -> Callable[[Columns], Columns]:
    def change(columns: Columns) -> Columns:
        column = columns[key].astype(dtype or columns[key].dtype)
        column[row] = value
        return columns | {key: column}

    return change


@pytest.mark.parametrize(
    ("fault", "parts"),
    [
        (lambda c: {k: v for k, v in c.items() if k != "rew"}, ["missing dataset rew;", "found: obs, act"]),
        (lambda c: {k: v[:0] for k, v in c.items()}, ["obs, act, rew", "empty"]),
        (lambda c: c | {"rew": c["rew"][:3]}, ["rew ends before row 3", "5 rows"]),
        (lambda c: c | {"rew": np.float32(1)}, ["rew ends before row 0"]),
        (lambda c: c | {"rew": c["rew"].astype(np.complex64)}, ["rew has dtype complex64", "real numbers"]),
        (lambda c: c | {"rew": c["rew"].astype("S4")}, ["rew has dtype |S4", "row 0"]),
        (lambda c: c | {"rew": c["obs"]}, ["rew has shape (5, 2)", "allowed: (N,) or (N, 1)"]),
        (lambda c: c | {"obs": c["obs"][:, :0]}, ["obs has shape (5, 0)"]),
        (lambda c: c | {"obs_next": c["obs_next"][:, :1]}, ["obs_next", "(1,)", "like obs", "(2,)"]),
        (lambda c: c | {"obs_next": c["obs_next"].astype(np.uint8)}, ["obs_next is uint8", "float32"]),
        (lambda c: c | {"act": np.ones((5, 1, 1))}, ["act has shape (5, 1, 1)"]),
        (changed("act", 3, np.nan, np.float32), ["act row 3 is nan", "finite"]),
        (changed("act", 3, 2**63, np.uint64), ["act row 3 is 9223372036854775808", "integers"]),
        (changed("rew", 2, np.nan), ["rew row 2 is nan", "finite", "in all: 1"]),
        (changed("rew", 2, 1e300, np.float64), ["rew row 2 is 1e+300", "finite float32"]),
        (changed("obs", 1, [0, -np.inf]), ["obs row 1 is -inf", "finite"]),
        (changed("obs_next", 4, [np.nan, 0]), ["obs_next row 4 is nan"]),
        (changed("terminated", 2, 2, np.int8), ["terminated row 2 is 2", "0 or 1"]),
        (changed("truncated", 4, np.nan, np.float32), ["truncated row 4 is nan", "0 or 1"]),
        (lambda c: c | {"mask": np.full((5, 2), 3), "mask_next": np.ones((5, 2))}, ["mask row 0 is 3", "0 or 1"]),
        (lambda c: c | {"episode_returns": np.array([1, np.inf])}, ["episode_returns row 1 is inf"]),
    ],
)
def test_fault_names_source_column_and_row(
    columns: Columns, fault: Callable[[Columns], Columns], parts: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"^data\.h5: ") as error:
        Transitions.from_columns(fault(columns), "data.h5")
    assert all(part in str(error.value) for part in parts), str(error.value)
