"""Games against the emulator's own frames and memory."""

from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest

from bcq_exp.envs.environments import make_env, spaces
from bcq_exp.envs.episodes import Episodes

ale_py = pytest.importorskip("ale_py")
gym.register_envs(ale_py)
ACTIONS = [1, 0, 2, 2, 3, 0, 3, 2, 0, 1] * 3


def test_an_observation_is_the_last_four_frames_and_black_before_the_first() -> None:
    pytest.importorskip("cv2")
    env = make_env("ALE/Breakout-v5")
    assert env.observation_space == gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    obs, _ = env.reset(seed=0)
    seen = [obs]
    for act in ACTIONS:
        seen.append(env.step(act)[0])
    assert (obs[:3] == 0).all()
    assert obs[3].any()
    for before, after in pairwise(seen):
        np.testing.assert_array_equal(after[:3], before[1:])
    assert len({frame[3].tobytes() for frame in seen}) > 10


def test_an_image_is_the_greater_of_the_last_two_of_four_frames_in_grey() -> None:
    cv2 = pytest.importorskip("cv2")
    env, raw = make_env("ALE/Breakout-v5"), gym.make("ALE/Breakout-v5", frameskip=1, obs_type="grayscale")
    env.reset(seed=1)
    raw.reset(seed=1)
    for act in ACTIONS:
        obs, rew, *_ = env.step(act)
        frames = [raw.step(act) for _ in range(4)]
        expected = cv2.resize(np.maximum(frames[2][0], frames[3][0]), (84, 84), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(obs[3], expected)
        assert rew == sum(float(frame[1]) for frame in frames)


def test_memory_is_divided_by_255() -> None:
    env, raw = make_env("ALE/Breakout-ram-v5"), gym.make("ALE/Breakout-v5", obs_type="ram")
    assert env.observation_space == gym.spaces.Box(0, 1, (128,), np.float32)
    np.testing.assert_array_equal(env.reset(seed=2)[0] * 255, raw.reset(seed=2)[0])
    for act in ACTIONS:
        np.testing.assert_array_equal(env.step(act)[0], (raw.step(act)[0] / 255).astype(np.float32))


@pytest.mark.parametrize("env_id", ["ALE/Breakout-v5", "ALE/Breakout-ram-v5"])
def test_actions_stick_with_probability_a_quarter_and_lives_end_no_episode(env_id: str) -> None:
    if "ram" not in env_id:
        pytest.importorskip("cv2")
    env = make_env(env_id)
    assert env.get_wrapper_attr("ale").getFloat("repeat_action_probability") == 0.25
    assert env.get_wrapper_attr("ale").getInt("max_num_frames_per_episode") == 108_000
    env.reset(seed=0)
    lives = []
    done = False
    while not done:
        *_, terminated, truncated, info = env.step(1 + len(lives) % 3)
        lives.append(info["lives"])
        done = terminated or truncated
    assert [*dict.fromkeys(lives)] == [5, 4, 3, 2, 1, 0]


def test_games_step_together() -> None:
    episodes = Episodes("ALE/Breakout-ram-v5", [3, 3], num_envs=2, max_steps=9)
    episodes.begin()
    obs = episodes.obs()
    assert obs.shape == (2, 128)
    np.testing.assert_array_equal(obs[0], obs[1])
    episodes.close()


def test_an_unknown_game_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="environment 'ALE/Brekout-ram-v5' cannot be made"):
        spaces("ALE/Brekout-ram-v5")
