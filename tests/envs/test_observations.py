import gymnasium as gym
import numpy as np
import pytest

from bcq_exp.envs.environments import make_env
from bcq_exp.envs.episodes import Episodes
from bcq_exp.envs.observations import FlatObservation, flat_space, flatten

GOAL = gym.spaces.Dict(
    {
        "achieved_goal": gym.spaces.Box(-1, 1, (2,)),
        "desired_goal": gym.spaces.Box(-3, 3, (2,)),
        "observation": gym.spaces.Box(-2, 2, (2, 2), np.float64),
    }
)


class Goal(gym.Env):
    observation_space, action_space = GOAL, gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"achieved_goal": np.full(2, 9.0), "desired_goal": np.array([5.0, 6]), "observation": np.eye(2)}, {}


def test_the_goal_comes_last_and_the_achieved_one_not_at_all() -> None:
    obs = {
        "achieved_goal": np.full((3, 2), 9.0),
        "desired_goal": np.full((3, 2), 5.0),
        "observation": np.arange(12).reshape(3, 2, 2),
    }
    found = flatten(GOAL, obs)
    np.testing.assert_array_equal(found[1], [4, 5, 6, 7, 5, 5])
    space = flat_space(GOAL)
    np.testing.assert_array_equal(space.high, [2, 2, 2, 2, 3, 3])
    np.testing.assert_array_equal(space.low, -space.high)
    assert space.dtype == np.float32


def test_parts_of_no_goal_are_in_the_order_of_their_names() -> None:
    space = gym.spaces.Dict({"b": gym.spaces.Discrete(3, start=-1), "a": gym.spaces.Box(0, 9, (1,))})
    found = flatten(space, {"b": np.array([-1, 1]), "a": np.array([[7.0], [8.0]])})
    np.testing.assert_array_equal(found, [[7, 1, 0, 0], [8, 0, 0, 1]])


def test_box_stays_as_it_is() -> None:
    images = np.zeros((2, 3, 4), np.uint8)
    space = gym.spaces.Box(0, 255, (3, 4), np.uint8)
    assert flatten(space, images) is images
    assert flat_space(space) is space


@pytest.mark.parametrize(
    ("space", "obs", "message"),
    [
        (gym.spaces.Discrete(3), np.array([0, 3]), r"not all in Discrete\(3\)"),
        (gym.spaces.Discrete(3), np.array([0.0]), "not all in"),
        (gym.spaces.MultiBinary(3), np.zeros((2, 3)), "is not supported; allowed: Box, Discrete, or Dict"),
        (gym.spaces.Dict({"a": gym.spaces.MultiBinary(3)}), {"a": np.zeros((2, 3))}, "is not supported"),
        (GOAL, {"observation": np.zeros((2, 2, 2))}, "have not the parts observation, desired_goal"),
        (
            GOAL,
            {"observation": np.zeros((2, 2, 2)), "desired_goal": np.zeros((3, 2))},
            "differ in their number of rows",
        ),
    ],
)
def test_what_does_not_fit_is_an_error(space: gym.Space, obs: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flatten(space, obs)


def test_an_environment_is_flattened_as_a_dataset_is() -> None:
    env = FlatObservation(Goal())
    obs, _ = env.reset()
    np.testing.assert_array_equal(obs, [1, 0, 0, 1, 5, 6])
    assert (obs.dtype, obs.shape) == (env.observation_space.dtype, env.observation_space.shape)


def test_discrete_states_are_one_hot_in_every_copy() -> None:
    env = make_env("FrozenLake-v1")
    assert env.observation_space == gym.spaces.Box(0, 1, (16,), np.float32)
    copies = Episodes("FrozenLake-v1", [0, 1, 2], num_envs=3, max_steps=9)
    copies.begin()
    np.testing.assert_array_equal(copies.obs(), np.eye(16)[[0, 0, 0]])
    assert isinstance(make_env("CartPole-v1").observation_space, gym.spaces.Box)


BOARD = gym.spaces.Box(-1, 1, (3,))
MASKED = gym.spaces.Dict({"action_mask": gym.spaces.MultiBinary(2), "observation": BOARD})


class Board(gym.Env):
    """Says in each observation which of two actions are available, as PettingZoo's environments do."""

    observation_space, action_space = MASKED, gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"action_mask": np.array([1, 0], np.int8), "observation": np.array([1, 2, 3.0])}, {"lives": 3}

    def step(self, action):
        return {"action_mask": np.array([0, 1], np.int8), "observation": np.zeros(3)}, 1.0, False, False, {}


def test_a_mask_in_the_observation_is_no_part_of_it_and_stands_in_info() -> None:
    env = FlatObservation(Board())
    assert env.observation_space == gym.spaces.Box(-1, 1, (3,), np.float32)
    obs, info = env.reset(seed=0)
    assert (obs.tolist(), info["action_mask"].tolist(), info["lives"]) == ([1, 2, 3], [1, 0], 3)
    obs, *_, info = env.step(0)
    assert (obs.tolist(), info["action_mask"].tolist()) == ([0, 0, 0], [0, 1])
    batch = {"action_mask": np.ones((4, 2)), "observation": np.full((4, 3), 7.0)}
    np.testing.assert_array_equal(flatten(MASKED, batch), np.full((4, 3), 7))


def test_an_image_beside_a_mask_stays_an_image() -> None:
    image = gym.spaces.Box(0, 255, (2, 5, 4), np.uint8)
    space = gym.spaces.Dict({"action_mask": gym.spaces.MultiBinary(2), "screen": image})
    assert flat_space(space) is image
    screens = np.arange(80, dtype=np.uint8).reshape(2, 2, 5, 4)
    assert flatten(space, {"action_mask": np.ones((2, 2)), "screen": screens}) is screens
    with pytest.raises(ValueError, match="have not the parts screen"):
        flatten(space, {"action_mask": np.ones((2, 2))})
