"""Available actions of environments, as their `info` gives them."""

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np

from bcq_exp.envs.environments import make_env, spaces
from bcq_exp.envs.observations import MASK

log = logging.getLogger(__name__)


class Masks:
    """The available actions of copies of an environment.

    Args:
        env_id: of the environments.
        space: of their actions; masks of continuous actions have another meaning and are left alone.
        num_envs: N.
    """

    def __init__(self, env_id: str, space: gym.Space[Any], num_envs: int) -> None:
        self.env_id = env_id
        self.is_discrete = isinstance(space, gym.spaces.Discrete)
        self.rows: list[Any] = [None] * num_envs
        self.is_given: bool | None = None  # not known before the first reset

    def take(self, index: int, info: Mapping[str, Any]) -> None:
        """Read the mask of a reset, or of a step that does not end an episode, of one environment.

        Raises:
            ValueError: it has a mask and others had none, or the other way round.
        """
        if not self.is_discrete:
            return
        is_given = MASK in info
        if self.is_given not in (None, is_given):
            raise ValueError(
                f"{self.env_id} has {MASK} in the info of some resets and steps and not of others; it must be in all,"
                " or in none"
            )
        self.is_given = is_given
        if is_given:
            self.rows[index] = np.array(info[MASK])


@cache
def gives_masks(env_id: str) -> bool:
    """Whether an environment has masks of its available discrete actions; raises like `make_env`."""
    if not isinstance(spaces(env_id)[1], gym.spaces.Discrete):
        return False
    env = make_env(env_id)
    try:
        return MASK in env.reset(seed=0)[1]
    finally:
        env.close()


def check_masks(env_id: str, source: str, *, has_masks: bool) -> None:
    """Check that a dataset has masks of available actions where its environment has.

    Args:
        env_id: where policies are evaluated.
        source: of the dataset, for the message.
        has_masks: whether the dataset has them.

    Raises:
        ValueError: the dataset has masks and the environment has none, so that policies would take unavailable actions.
            Where the environment alone has them, a warning says what follows.
    """
    gives = gives_masks(env_id)
    if has_masks and not gives:
        raise ValueError(
            f"{source} has masks of available actions, {env_id} gives none in evaluation ({MASK} in info, or in a Dict"
            " observation): policies would take actions that are not available; give dataset.env an environment that"
            " has masks, or a dataset without mask and mask_next"
        )
    if gives and not has_masks:
        log.warning(
            "%s gives masks of available actions, %s has none: what is learned is about all actions, and only the"
            " available ones are taken in evaluation; record mask and mask_next to learn with them",
            env_id,
            source,
        )
