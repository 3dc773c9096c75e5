"""A dataset with each thing that spoils learning, and its neighbours without."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bcq_exp.analysis.datasets.hazards import hazards
from bcq_exp.data import Transitions
from bcq_exp.data.preprocessing import episode_lengths

NUM = 400
STEP = np.arange(NUM) % 40
MASK = np.arange(NUM)[:, None] % 4 != np.arange(4)


def log(**changed: Any) -> Transitions:
    """Ten terminated episodes of 19 rows, ten of 21 that a time limit cut, four actions; nothing is wrong with them."""
    rng = np.random.default_rng(0)
    columns = {
        "obs": rng.normal(size=(NUM, 3)).astype(np.float32),
        "obs_next": rng.normal(size=(NUM, 3)).astype(np.float32),
        "act": (np.arange(NUM) + 1) % 4,
        "rew": rng.normal(size=NUM).astype(np.float32),
        "terminated": STEP == 18,
        "truncated": STEP == 39,
        "episode_returns": np.zeros(20),
    }
    return Transitions(**{**columns, "source": "log", **changed})


def found(transitions: Transitions, num_duplicates: int = 0) -> list[str]:
    return hazards(transitions, {}, episode_lengths(transitions), num_duplicates)


def acts(*shares: int) -> np.ndarray:
    return np.repeat(np.arange(len(shares)), shares)


ENDS_AT = np.isin(np.arange(NUM), np.cumsum(np.arange(1, 28)))
LAST = (STEP == 18) | (STEP == 39)
LATE = np.where(LAST, 1.0, 0.0)


@pytest.mark.parametrize(
    ("changed", "num_duplicates", "warning"),
    [
        (
            {"act": acts(197, 197, 3, 3)},
            0,
            r"rarely taken: 2 in less than 1% of the rows each, 2 \(0\.75%\), 3 \(0\.75%",
        ),
        ({"act": acts(200, 200), "action_names": ("a", "b", "c")}, 0, "never taken: c; nothing can be learned"),
        (
            {"act": acts(397, 3), "action_names": ("a", "b")},
            0,
            r"rarely taken: 1 .*, b \(0\.75%\);.*as discrete_bcq has",
        ),
        ({"rew": LATE}, 0, r"rewards only at ends: 20 of 400 rows have one, .*first of 20 steps .* sees 83% of it"),
        ({}, 4, "repeated rows: 4 of 400 equal an earlier one"),
        ({"obs": np.ones((NUM, 3))}, 0, "constant observations: 3 of 3 .*; leave them out"),
        ({"mask": ~MASK}, 0, "masks that contradict: 400 rows take an action that .*, first row 0 with 1; training"),
        ({"mask": MASK[:, :3]}, 0, "masks that contradict: they have 3 actions, and those taken are 0 to 3"),
        ({"mask": MASK | True}, 0, "masks that exclude no action in any row"),
        (
            {"terminated": STEP < 0, "truncated": ENDS_AT | (np.arange(NUM) == NUM - 1)},
            0,
            "episodes that do not end: 28 of 28 stop after 2 to 27 steps without a terminal state",
        ),
        (
            {"rows": np.arange(NUM) + (np.arange(NUM) % 20 > 9)},
            0,
            "rows apart: 20 episodes .*, first at row 9; if their id",
        ),
    ],
)
def test_each_is_found_with_its_number_and_a_remedy(changed: dict[str, Any], num_duplicates: int, warning: str) -> None:
    warnings = found(log(**changed), num_duplicates)
    assert any(re.search(warning, line) and re.search("[;,] ", line) for line in warnings), warnings


@pytest.mark.parametrize(
    ("changed", "num_duplicates"),
    [
        ({}, 0),
        ({"act": acts(196, 196, 4, 4)}, 0),  # one in a hundred
        ({"rew": np.where(STEP > 17, 1.0, 0.0)}, 0),  # not only at ends
        ({"rew": np.zeros(NUM)}, 0),
        ({}, 3),
        ({"mask": MASK}, 0),
        ({"rows": np.arange(NUM) + LAST.cumsum() - LAST}, 0),  # last rows of episodes were dropped
    ],
)
def test_what_is_well_is_none(changed: dict[str, Any], num_duplicates: int) -> None:
    assert found(log(**changed), num_duplicates) == []


def test_rows_are_those_of_the_file() -> None:
    transitions = log(mask=np.where(np.arange(NUM)[:, None] == 7, ~MASK, MASK), rows=np.arange(NUM) + 100)
    assert "first row 107 with 0;" in found(transitions)[0]


def test_ids_of_episodes_say_more_than_flags_behind_flags() -> None:
    """An episode of one row behind a terminated one is a doubled flag only where no ids say otherwise."""
    transitions = log(terminated=(STEP == 18) | (STEP == 19))
    assert "terminals set twice: 10 episodes" in found(transitions)[0]
    named = replace(transitions, keys={"episode": "patient"})
    assert not any("twice" in line for line in found(named))
