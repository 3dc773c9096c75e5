"""Episodes that are played again, to be seen: an evaluation itself draws nothing."""

import os
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from bcq_exp.envs.environments import make_env, what_installs
from bcq_exp.envs.evaluation import ActingPolicy

MODE = "rgb_array"  # Gymnasium's word for pictures as arrays
FPS = 30.0  # of an environment that names no rate


class NotRepeated(ValueError):
    """An episode took another course than before."""


class Step(NamedTuple):
    """A step of an episode: a checksum of the observation, and the action in the environment's units."""

    obs_crc: int
    act: Any


class KeptSteps:
    """A policy in an evaluation, and what it sees and does in the first of the copies of the environment.

    Args:
        policy: acts as it would without this.

    Attributes:
        steps: of the first copy; those of the first episode come first.
    """

    def __init__(self, policy: ActingPolicy) -> None:
        self._policy = policy
        self.steps: list[Step] = []

    @property
    def training(self) -> bool:
        """See `ActingPolicy`."""
        return self._policy.training

    def train(self, mode: bool = True) -> Any:
        """See `ActingPolicy`."""
        return self._policy.train(mode)

    def seed_acting(self, seed: int) -> None:
        """See `ActingPolicy`."""
        self._policy.seed_acting(seed)

    def compute_action(self, obs: NDArray[Any], *, mask: NDArray[Any] | None = None) -> NDArray[Any]:
        """See `ActingPolicy`."""
        act = self._policy.compute_action(obs) if mask is None else self._policy.compute_action(obs, mask=mask)
        self.steps.append(Step(_crc(obs[0]), act[0].copy()))
        return act


def check_drawn(env_id: str) -> float:
    """Draw the first picture of an environment.

    Returns:
        Its steps a second, `FPS` where it names none.

    Raises:
        ValueError: it has no pictures, or what draws them is not installed or fails; or as `make_env`.
    """
    env = make_env(env_id)
    modes, fps = env.metadata.get("render_modes") or [], env.metadata.get("render_fps")
    env.close()
    if MODE not in modes:
        named = ", ".join(map(str, modes)) or "none"
        raise ValueError(f"environment {env_id!r} cannot be drawn: its render modes are {named}, needed is {MODE}")
    env = _make_drawn(env_id)
    try:
        env.reset(seed=0)
        _picture(env)
    except (gym.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        raise ValueError(f"environment {env_id!r} cannot be drawn: {what_installs(error)}") from None
    except Exception as error:  # of whatever it draws with
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        hint = "; without a display MUJOCO_GL=egl or MUJOCO_GL=osmesa is needed" if "OpenGL" in said else ""
        raise ValueError(f"environment {env_id!r} cannot be drawn: {said}{hint}") from error
    finally:
        env.close()
    return float(fps or FPS)


def pictures(
    env_id: str, seed: int, steps: Sequence[Step], return_: float, max_pictures: int
) -> list[NDArray[np.uint8]]:
    """Play an episode again from its actions, and draw it.

    Args:
        env_id: see `make_env`.
        seed: of the episode.
        steps: of the episode.
        return_: of the episode.
        max_pictures: of which the first is of its beginning and the last of its end; 2 or more.

    Returns:
        Pictures, uint8 (H, W, 3), at equal distances in time.

    Raises:
        NotRepeated: it takes another course, so something other than seed and actions decides it.
        ValueError: as `make_env`.
    """
    drawn = {round(step) for step in np.linspace(0, len(steps), min(len(steps) + 1, max_pictures))}
    env = _make_drawn(env_id)
    try:
        obs, _ = env.reset(seed=seed)
        found, total, has_ended = [_picture(env)], 0.0, False
        for number, step in enumerate(steps, start=1):
            if has_ended or _crc(np.asarray(obs, env.observation_space.dtype)) != step.obs_crc:
                raise NotRepeated(f"{env_id}: seed and actions do not decide its course, another one at step {number}")
            obs, rew, terminated, truncated, _ = env.step(step.act)
            total, has_ended = total + float(rew), terminated or truncated
            if number in drawn:
                found.append(_picture(env))
    finally:
        env.close()
    if total != return_:
        raise NotRepeated(f"{env_id}: seed and actions do not decide its return: {return_} and then {total}")
    return found


def _make_drawn(env_id: str) -> gym.Env[Any, Any]:
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame opens no window, and does not look for a display
    return make_env(env_id, render_mode=MODE)


def _crc(obs: NDArray[Any]) -> int:
    return zlib.crc32(obs.tobytes())


def _picture(env: gym.Env[Any, Any]) -> NDArray[np.uint8]:
    """What an environment looks like; raises TypeError where it is no picture in colours."""
    picture: Any = env.render()
    if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        kind = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
        raise TypeError(f"render() gave {kind}, not a uint8 array (H, W, 3)")
    return picture.copy()
