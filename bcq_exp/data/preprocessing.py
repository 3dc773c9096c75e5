"""Preprocessing of a dataset: episodes held out and left out, rewards in other units, statistics of observations.

Shape suffixes: N transitions, E episodes, S an observation.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from bcq_exp.data.frames import FrameStacks
from bcq_exp.data.steps import episode_sums
from bcq_exp.data.storage import chunks, room, taken
from bcq_exp.data.transitions import OPTIONAL, REQUIRED, Array, Transitions


def held_out(transitions: Transitions, *, fraction: float, seed: int) -> tuple[Transitions, Transitions]:
    """Divide a dataset into whole episodes to learn from and others that are held out, each in recorded order.

    Leading episodes of a random order are held out, until their transitions would exceed the fraction, one at least.

    Args:
        transitions: as recorded.
        fraction: of all transitions, in (0, 1).
        seed: of the random order, at least 0.

    Returns:
        The part to learn from, and the one that is held out.

    Raises:
        ValueError: no episode would be left to learn from.
    """
    lengths_E = episode_lengths(transitions)
    order = np.random.default_rng(seed).permutation(len(lengths_E))
    is_held_E = np.isin(np.arange(len(lengths_E)), leading(order, lengths_E, fraction))
    if is_held_E.all():
        raise ValueError(
            f"{transitions.source}: dataset.holdout={fraction:g} leaves none of {len(lengths_E)} episodes to learn"
            " from; give less, or 0"
        )
    return _episodes(transitions, ~is_held_E), _episodes(transitions, is_held_E)


def at_most(transitions: Transitions, limit: int | None, seed: int) -> Transitions:
    """The dataset, or where it has more transitions than the limit as many whole episodes of a random order as fit.

    Args:
        transitions: as recorded.
        limit: of transitions; at least one episode is kept. None keeps all.
        seed: of the random order, at least 0.
    """
    if limit is None or len(transitions) <= limit:
        return transitions
    return subset(transitions, fraction=limit / len(transitions), seed=seed, top_return_fraction=1)


def subset(transitions: Transitions, *, fraction: float, seed: int, top_return_fraction: float) -> Transitions:
    """Select whole episodes of a dataset; they stay in the order of their recording.

    Two steps, each of which keeps leading episodes of an order: `fraction` of a random order, then
    `top_return_fraction` of the order by return, highest first. A step keeps episodes until their transitions would
    exceed the fraction; at least one episode is kept. The second step is that of percentile behavioural cloning
    (arXiv:2106.01345, section 5.1). Of equal returns the one recorded first comes first.

    Args:
        transitions: in the environment's units; they come back untouched where both fractions are 1.
        fraction: of all transitions, in (0, 1].
        seed: of the random order, at least 0.
        top_return_fraction: of the transitions that `fraction` leaves, in (0, 1].
    """
    if fraction == top_return_fraction == 1:
        return transitions
    lengths_E, returns_E = episode_lengths(transitions), episode_returns(transitions)
    shuffled = np.random.default_rng(seed).permutation(len(lengths_E))
    chosen = np.sort(leading(shuffled, lengths_E, fraction))
    chosen = leading(chosen[np.argsort(-returns_E[chosen], kind="stable")], lengths_E, top_return_fraction)
    return _episodes(transitions, np.isin(np.arange(len(lengths_E)), chosen))


def _episodes(transitions: Transitions, is_kept_E: Array) -> Transitions:
    """The flagged episodes, in their order; flags are of the episodes that have transitions."""
    lengths_E, returns_E = episode_lengths(transitions), episode_returns(transitions)
    rows = np.flatnonzero(np.repeat(is_kept_E, lengths_E))
    columns = {name: getattr(transitions, name) for name in REQUIRED + OPTIONAL}
    taken: dict[str, Any] = {name: _taken(column, rows) for name, column in columns.items() if column is not None}
    return replace(
        transitions,
        **taken,
        episode_returns=returns_E[is_kept_E],
        rows=rows if transitions.rows is None else transitions.rows[rows],
    )


def leading(order: Array, lengths_E: Array, fraction: float) -> Array:
    """The leading episodes of an order, until their transitions would exceed the fraction; at least one."""
    num_transitions = np.cumsum(lengths_E[order])
    limit = round(fraction * int(num_transitions[-1]))
    return order[: max(1, np.searchsorted(num_transitions, limit, side="right"))]


def episode_lengths(transitions: Transitions) -> Array:
    """Number of transitions of each episode, (E,) int64; episodes without transitions are not counted."""
    ends = np.flatnonzero(transitions.terminated | transitions.truncated)
    return np.diff(ends, prepend=-1)


def episode_returns(transitions: Transitions) -> Array:
    """The undiscounted return of each episode that has transitions, (E,) float64.

    The recorded returns, where there is one for each of these episodes; else the sums of the transitions' rewards.
    """
    sums_E = episode_sums(transitions.rew, transitions.terminated | transitions.truncated)
    recorded = transitions.episode_returns
    return recorded if len(recorded) == len(sums_E) else sums_E


def transform_rewards(rew: Array, *, clip: tuple[float, float] | None, scale: float, shift: float) -> Array:
    """Transform rewards to scale * clip(r) + shift, (N,) float32; the input itself where the values change nothing.

    Args:
        rew: rewards in the environment's units, (N,) float32.
        clip: the least and the largest reward, in those units, or None.
        scale: of the clipped reward.
        shift: added to the scaled one, in each step.
    """
    if (clip, scale, shift) == (None, 1, 0):
        return rew
    low, high = clip or (-np.inf, np.inf)
    made = room(rew, len(rew))
    for part in chunks(rew):
        made[part] = scale * rew[part].clip(low, high) + shift
    return made


def range_of_returns(rew: Array, ends: Array, *, clip: tuple[float, float] | None) -> float:
    """The largest minus the smallest sum of an episode's clipped rewards    (published code of arXiv:2110.06169).

    Args:
        rew: rewards in the environment's units, (N,) float32.
        ends: whether a row is the last one of its episode, (N,).
        clip: as for `transform_rewards`.

    Raises:
        ValueError: all episodes have the same return, so that nothing can be divided by their range.
    """
    sums_E = episode_sums(transform_rewards(rew, clip=clip, scale=1, shift=0), ends)
    found = float(sums_E.max() - sums_E.min())
    if found == 0:
        raise ValueError(
            f"dataset.return_range: each of {len(sums_E)} episodes has the return {sums_E[0]:g}, so their range is 0;"
            " give dataset.return_range=null"
        )
    return found


def observation_statistics(obs: Array) -> tuple[Array, Array]:
    """Mean and deviation (divided by N) of each feature, (S,) float64 each, in two passes piece by piece.

    Args:
        obs: observations (N, S), in memory or memory-mapped.
    """
    mean = np.sum([obs[part].sum(0, dtype=np.float64) for part in chunks(obs)], axis=0) / len(obs)
    squares = np.sum([((obs[part] - mean) ** 2).sum(0) for part in chunks(obs)], axis=0)
    return mean, np.sqrt(squares / len(obs))


def _taken(column: Any, rows: Array) -> Any:
    """A column's rows; stacks go on sharing their frames."""
    if isinstance(column, FrameStacks):
        return replace(column, newest=taken(column.newest, rows))
    return taken(column, rows)
