"""Recordings of steps that have no next observations of their own."""

from collections.abc import Mapping

import numpy as np

from bcq_exp.data.transitions import Array, Transitions, episode_sums


def from_steps(
    *, obs: Array, act: Array, rew: Array, terminated: Array, ends: Array, source: str, keys: Mapping[str, str]
) -> Transitions:
    """Transitions of steps, whose next observation is the next step of their episode.

    The last step of an episode is a transition only if the episode terminated; its `obs_next` is its own observation,
    which no target uses. The last step of any other episode is dropped, and the step before it becomes `truncated`.
    `episode_returns` count dropped steps too.

    Args:
        obs: checked observations, (N, *S).
        act: checked actions, (N,) or (N, A).
        rew: checked rewards, (N,).
        terminated: whether the episode terminated, (N,) bool; set only where an episode ends.
        ends: whether a step is the last one of its episode, (N,) bool; the last one is set.
        source: file or name that error messages begin with.
        keys: key in the file of each column.

    Raises:
        ValueError: no step has a next observation or is terminal.
    """
    dropped = ends & ~terminated
    truncated = np.append(dropped[1:], False) & ~ends
    rows = np.flatnonzero(~dropped)
    if not rows.size:
        raise ValueError(
            f"{source}: {keys['obs']} has no row 1 of any episode, so no next observation; two rows needed"
        )
    return Transitions(
        obs=obs[rows],
        act=act[rows],
        rew=rew[rows],
        terminated=terminated[rows],
        truncated=truncated[rows],
        obs_next=obs[rows + ~terminated[rows]],
        episode_returns=episode_sums(rew, ends),
        source=source,
        rows=rows,
        keys=keys,
    )
