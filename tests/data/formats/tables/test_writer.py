from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bcq_exp.data import Transitions
from bcq_exp.data.formats.tables.roles import TableColumns
from bcq_exp.data.formats.tables.table import read_table
from bcq_exp.data.formats.tables.writer import write_table
from cases import random_walk

COLUMNS = ("obs", "act", "rew", "terminated", "truncated", "obs_next", "mask", "mask_next", "episode_returns")


def read_back(path: Path, roles: dict[str, str]) -> Transitions:
    return read_table(path, TableColumns(**{**dict.fromkeys(TableColumns.__dataclass_fields__), **roles}))


def masked(transitions: Transitions) -> Transitions:
    """Twelve named actions, each available where it or the next one is taken."""
    act = np.arange(len(transitions)) % 12
    mask = (act[:, None] == np.arange(12)) | (act[:, None] == np.arange(12) + 1)
    names = tuple(f"dose {number}" for number in range(12))
    return replace(transitions, act=act, mask=mask, mask_next=mask[::-1], action_names=names)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("kind", ["numbers", "names", "continuous"])
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str, kind: str) -> None:
    transitions = random_walk(4, is_discrete=kind != "continuous")
    transitions = masked(transitions) if kind == "names" else transitions
    if kind == "continuous":
        transitions = replace(transitions, act=np.tile(transitions.act, (1, 2)))
    found = read_back(tmp_path / f"a{suffix}", write_table(tmp_path / f"a{suffix}", transitions))
    for name in COLUMNS:
        expected = getattr(transitions, name)
        if expected is None:
            assert getattr(found, name) is None
        else:
            np.testing.assert_array_equal(getattr(found, name), expected, strict=True, err_msg=name)
    assert found.action_names == transitions.action_names


def test_images_are_refused(tmp_path: Path) -> None:
    images = np.zeros((40, 2, 3, 3), np.float32)
    with pytest.raises(ValueError, match=r"obs has shape \(2, 3, 3\) a row; tables hold observations of one axis"):
        write_table(tmp_path / "a.csv", replace(random_walk(2, is_discrete=True), obs=images))
