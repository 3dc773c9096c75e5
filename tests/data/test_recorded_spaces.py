from dataclasses import replace

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from bcq_exp.data.recorded_spaces import recorded_spaces
from bcq_exp.data.transitions import Transitions
from cases import random_walk


def recorded(act: object, **columns: object) -> Transitions:
    act = np.asarray(act)
    num = len(act)
    obs = np.asarray(columns.pop("obs", np.zeros((num, 3))))
    plain = {"obs": obs, "obs_next": obs, "act": act, "rew": np.zeros(num), "terminated": np.ones(num)}
    return Transitions.from_columns(plain | columns, "log.csv")


def test_integers_are_as_many_actions_as_the_largest_says():
    assert recorded_spaces(recorded([0, 3, 1]))[1] == Discrete(4)
    assert recorded_spaces(recorded([0, 3, 1]), num_actions=6)[1] == Discrete(6)


def test_masks_say_how_many_actions_there_are():
    masks = np.ones((3, 5))
    assert recorded_spaces(recorded([0, 3, 1], mask=masks, mask_next=masks))[1] == Discrete(5)


def test_whole_floats_are_discrete_where_their_number_is_given():
    assert isinstance(recorded_spaces(recorded([0.0, 3.0, 1.0]))[1], Box)
    assert recorded_spaces(recorded([0.0, 3.0, 1.0]), num_actions=4)[1] == Discrete(4)


def test_a_box_reaches_to_the_extremes_or_where_it_is_told():
    act = np.float32([[-1, 5], [2, 0], [0.5, 9]])
    assert recorded_spaces(recorded(act))[1] == Box(np.float32([-1, 0]), np.float32([2, 9]), dtype=np.float32)
    told = recorded_spaces(recorded(act), low=-3, high=[2, 10])[1]
    assert told == Box(np.float32([-3, -3]), np.float32([2, 10]), dtype=np.float32)
    assert recorded_spaces(recorded([0, 3]), low=0, high=4)[1] == Box(0, 4, (1,), np.float32)


def test_a_next_action_that_no_row_takes_is_within_the_box():
    act = np.float32([[-1], [2]])
    data = replace(recorded(act), act_next=np.float32([[2], [7]]))
    assert recorded_spaces(data)[1].high == 7


def test_observations_are_images_of_bytes_or_numbers_without_bounds():
    images = np.zeros((2, 4, 36, 36), np.uint8)
    assert recorded_spaces(recorded([0, 1], obs=images))[0] == Box(0, 255, (4, 36, 36), np.uint8)
    for kind in (np.uint8, np.float64):
        assert recorded_spaces(recorded([0, 1], obs=np.zeros((2, 7), kind)))[0] == Box(
            -np.inf, np.inf, (7,), np.float32
        )


def test_a_random_walk_has_the_spaces_of_its_environment_but_for_bounds_of_observations():
    assert recorded_spaces(random_walk(3, is_discrete=True))[1] == Discrete(2)


@pytest.mark.parametrize(
    ("data", "keys", "said"),
    [
        (recorded([0, 7]), {"num_actions": 5}, "log.csv: act has the action 7, and num_actions=5 allows 0 to 4; 8 are"),
        (recorded([-1, 2]), {}, "log.csv: act has the action -1; discrete actions are numbered from 0: store act - -1"),
        (recorded([0, 1], mask=np.ones((2, 3)), mask_next=np.ones((2, 3))), {"num_actions": 4},
         "mask has 3 actions a row, and num_actions=4; give null or 3"),
        (recorded([0, 3], mask=np.ones((2, 3)), mask_next=np.ones((2, 3))), {}, "mask of 3 columns allows 0 to 2"),
        (recorded([[0.0, 1], [2, 3]]), {"num_actions": 4}, "and num_actions=4 is of one action a row: drop it"),
        (recorded([0, 10**6]), {}, "number the actions that there are from 0 on, 100,000 at most"),
        (recorded([0, 1]), {"num_actions": 2, "low": 0}, "num_actions is of discrete actions, action_low and"),
        (recorded([[-2.0, 1], [2, 3]]), {"low": -1}, "from -2 to 2 in dimension 0, beyond action_low=-1; give null or"),
        (recorded([[-2.0, 1], [2, 3]]), {"high": [2, 2]}, "in dimension 1, beyond action_high=2; give null or 3"),
        (recorded([[-2.0, 1], [2, 3]]), {"high": [2, 3, 4]}, "action_high has 3 values, log.csv: act has 2 dimensions"),
        (recorded([[-2.0, 1], [2, 1]]), {}, "has no value but 1 in dimension 1, so nothing says how far"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_of_the_actions_are_refused(data: Transitions, keys: dict, said: str):
    with pytest.raises(ValueError) as refusal:
        recorded_spaces(data, **keys)
    assert said in str(refusal.value)


def test_names_say_how_many_actions_there_are():
    named = replace(recorded([0, 3, 1]), action_names=("a", "b", "c", "d", "e"))
    assert recorded_spaces(named)[1] == Discrete(5)
