"""Atari games as arXiv:1910.01708 plays them: sticky actions, four frames a step, no extra no-ops, lives ignored."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation, TransformObservation

PREFIX, RAM = "ALE/", "-ram-"
NUM_FRAMES = 4  # an action lasts, and an observation shows
SIDE = 84  # pixels


def make_game(env_id: str, **kwargs: Any) -> gym.Env[Any, Any]:
    """Makes `ALE/Game-v5`, seen as images, or `ALE/Game-ram-v5`, seen as the machine's memory.

    An action is repeated with probability 0.25 in each frame, as the ids have it (arXiv:1709.06009, section 5). Rewards
    are the game's own; whoever learns from their signs clips them.

    Args:
        env_id: one of the two forms.
        **kwargs: of the game's constructor.

    Returns:
        Images: uint8 (4, 84, 84), the greater of each two frames in grey, the last four of them, black before the
        episode's beginning (doi:10.1038/nature14236, Methods). Memory: float32 (128,), bytes divided by 255.

    Raises:
        gymnasium.error.Error: there is no such game, or a package is missing.
    """
    if RAM not in env_id:
        frames = AtariPreprocessing(
            gym.make(env_id, **{"frameskip": 1, **kwargs}), noop_max=0, frame_skip=NUM_FRAMES, screen_size=SIDE
        )
        return FrameStackObservation(frames, NUM_FRAMES, padding_type="zero")
    env = gym.make(env_id.replace(RAM, "-"), **{"obs_type": "ram", "frameskip": NUM_FRAMES, **kwargs})
    space = gym.spaces.Box(0, 1, env.observation_space.shape, np.float32)
    return TransformObservation(env, lambda ram: (ram / 255).astype(np.float32), space)
