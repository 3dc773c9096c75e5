from pathlib import Path

import numpy as np
import pytest

from bcq_exp.data import Transitions, read_transitions, write_h5
from cases import write_datasets


def write(path: Path, keys: tuple[str, ...]) -> Path:
    return write_datasets(path, dict.fromkeys(keys, np.arange(3)))


def test_own_layout_is_recognised(tmp_path: Path) -> None:
    columns = {
        "obs": np.ones((2, 1)),
        "act": np.zeros(2, np.int64),
        "rew": np.ones(2),
        "terminated": np.array([0, 1]),
        "truncated": np.zeros(2),
        "obs_next": np.ones((2, 1)),
    }
    write_h5(tmp_path / "own.h5", Transitions.from_columns(columns, "here"), "CartPole-v1", {})
    found = read_transitions(tmp_path / "own.h5")
    np.testing.assert_array_equal(found.terminated, [False, True])
    np.testing.assert_array_equal(found.rows, [0, 1])


def test_d3rlpy_layout_is_recognised_and_its_missing_key_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "other.h5", ("observations", "actions", "terminals", "episode_terminals", "discrete_action")
    )
    with pytest.raises(ValueError, match=r"other\.h5: missing dataset rewards; found: actions, discrete_action"):
        read_transitions(path)


def test_unknown_layout_lists_what_was_found_what_is_needed_and_what_to_rename(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"other\.h5: unknown layout with keys Timeout, states, weight; needed: observations, actions, rewards, "
        r"terminals, .*; rename states to observations, Timeout to timeouts; `bcq-collect inspect --layouts`",
    ):
        read_transitions(write(tmp_path / "other.h5", ("states", "Timeout", "weight")))
    with pytest.raises(ValueError, match="unknown layout with keys none"):
        read_transitions(write(tmp_path / "empty.h5", ()))


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.h5").write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.h5: not a readable HDF5 file"):
        read_transitions(tmp_path / "other.h5")
    with pytest.raises(FileNotFoundError, match="absent"):
        read_transitions(tmp_path / "absent.h5")
