"""Recorded transitions as numpy columns, and the checks that every reader applies to them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import gymnasium as gym
import numpy as np
from numpy.typing import DTypeLike, NDArray

from bcq_exp.data.frames import FrameStacks
from bcq_exp.data.storage import chunks, is_mapped, new_mapped

Array = NDArray[Any]

REQUIRED = ("obs", "act", "rew", "terminated", "truncated", "obs_next")
MASKS = ("mask", "mask_next")
FLOAT32_ROUNDING = 1e-5


@dataclass(frozen=True, kw_only=True, eq=False)
class Transitions:
    """Transitions in the order of their recording, episode after episode, in the environment's units.

    An episode ends where `terminated | truncated`; the last row always ends one.

    Args:
        obs: observations, (N, *S), uint8 (images) or float32; images that are stacked from frames are `FrameStacks`.
        act: actions, (N,) int64 if discrete, else (N, A) float32.
        rew: rewards, (N,) float32.
        terminated: whether the environment reached a terminal state, (N,) bool.
        truncated: whether the recording stopped elsewhere (time limit, cut file), (N,) bool.
        obs_next: next observations, like `obs`, of the same frames; without meaning where `terminated`.
        episode_returns: undiscounted return of each recorded episode, (E,) float64, which includes the rewards of
            recorded rows that are no transition (no next observation).
        mask: available actions at `obs`, (N, A) bool, or None where all are.
        mask_next: available actions at `obs_next`, (N, A) bool, or None where all are.
        source: file or name that error messages begin with.
        rows: row in the file of each transition, (N,) int64, or None where it is the transition's own index.
        keys: key in the file of each column, where it differs from the column's name.
    """

    obs: Array | FrameStacks
    act: Array
    rew: Array
    terminated: Array
    truncated: Array
    obs_next: Array | FrameStacks
    episode_returns: Array
    mask: Array | None = None
    mask_next: Array | None = None
    source: str
    rows: Array | None = None
    keys: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rew)

    @classmethod
    def from_columns(cls, columns: Mapping[str, Array], source: str) -> Self:
        """Check and convert raw columns named like the attributes of this class.

        `act` is discrete if it has one axis. `episode_returns` are summed from `rew` if absent.

        Raises:
            ValueError: naming source, column and first bad row.
        """
        is_masked = any(key in columns for key in MASKS)
        keys = REQUIRED + MASKS if is_masked else REQUIRED
        check_keys(columns, keys, source)
        check_lengths({key: columns[key] for key in keys}, source)

        obs, obs_next = (as_obs(columns[key], key, source) for key in ("obs", "obs_next"))
        check_obs_next(obs_next, obs, {}, source)
        rew = as_float(columns["rew"], "rew", source, (1,), "(N,)")
        terminated, truncated = (as_flag(columns[key], key, source) for key in ("terminated", "truncated"))
        ends = terminated | truncated
        if not ends[-1]:
            raise ValueError(f"{source}: truncated row {len(ends) - 1} is 0; the last row must end an episode")
        masks = {key: as_flag(columns[key], key, source, (2,), "(N, A)") for key in MASKS if is_masked}
        if "episode_returns" in columns:
            check_array(columns["episode_returns"], "episode_returns", source, (1,), "(E,)")
            episode_returns = columns["episode_returns"].astype(np.float64)
            reject_rows(_is_not_finite, episode_returns, "episode_returns", source, "finite numbers")
        else:
            episode_returns = episode_sums(rew, ends)
        return cls(
            obs=obs,
            act=as_act(columns["act"], "act", source, is_discrete=columns["act"].ndim == 1),
            rew=rew,
            terminated=terminated,
            truncated=truncated,
            obs_next=obs_next,
            episode_returns=episode_returns,
            mask=masks.get("mask"),
            mask_next=masks.get("mask_next"),
            source=source,
        )


def episode_sums(rew: Array, ends: Array) -> Array:
    """Sum rewards (N,) over the episodes that the flags (N,) end, in float64; the last flag must be set."""
    starts = np.flatnonzero(np.concatenate(([True], ends[:-1])))
    return np.asarray(np.add.reduceat(rew, starts, dtype=np.float64))


def check_keys(found: Iterable[str], required: Iterable[str], source: str) -> None:
    """Raise ValueError for the required keys that are not found."""
    found = list(found)
    if missing := [key for key in required if key not in found]:
        raise ValueError(
            f"{source}: missing dataset {', '.join(missing)}; found: {', '.join(found) or 'none'}; "
            f"required: {', '.join(required)}"
        )


def check_lengths(columns: Mapping[str, Array], source: str) -> None:
    """Raise ValueError if the columns are empty or differ in their number of rows."""
    lengths = {key: column.shape[0] if column.ndim else 0 for key, column in columns.items()}
    shortest, longest = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
    if lengths[longest] == 0:
        raise ValueError(f"{source}: {', '.join(lengths)} are empty; at least one row is needed")
    if lengths[shortest] != lengths[longest]:
        raise ValueError(
            f"{source}: {shortest} ends before row {lengths[shortest]}, {longest} has {lengths[longest]} rows; "
            "all columns must have the same number of rows"
        )


def check_obs_next(obs_next: Array, obs: Array, keys: Mapping[str, str], source: str) -> None:
    """Raise ValueError unless next observations have the type and shape of observations; `keys` as in Transitions."""
    if obs.shape != obs_next.shape or obs.dtype != obs_next.dtype:
        raise ValueError(
            f"{source}: {keys.get('obs_next', 'obs_next')} is {obs_next.dtype} {obs_next.shape[1:]} a row; it must be "
            f"like {keys.get('obs', 'obs')}, {obs.dtype} {obs.shape[1:]}"
        )


def check_array(column: Array, key: str, source: str, ranks: Iterable[int], layout: str) -> None:
    """Raise ValueError unless the column holds real numbers and has one of the ranks, no axis being empty."""
    if column.dtype.kind not in "fiub":
        raise ValueError(f"{source}: {key} has dtype {column.dtype}, from row 0 on; allowed: real numbers")
    if column.ndim not in ranks or 0 in column.shape:
        raise ValueError(f"{source}: {key} has shape {column.shape}, from row 0 on; allowed: {layout}")


def reject_rows(
    is_bad: Callable[[Array], Array],
    column: Array,
    key: str,
    source: str,
    allowed: str,
    rows: Array | None = None,
) -> None:
    """Raise ValueError for the first row of `column` that has an entry which `is_bad` flags, if any.

    The column is looked at piece by piece. `rows` translates indices into rows of the file.
    """
    first, num_bad = "", 0
    for piece in chunks(column):
        part = column[piece]
        bad = is_bad(part)
        bad_rows = np.flatnonzero(bad.any(axis=tuple(range(1, bad.ndim))))
        if bad_rows.size and not first:
            row = bad_rows[0] + piece.start
            first = f"row {row if rows is None else rows[row]} is {column[row][bad[bad_rows[0]]].flat[0]}"
        num_bad += bad_rows.size
    if first:
        raise ValueError(f"{source}: {key} {first}; allowed: {allowed} (bad rows in all: {num_bad})")


def _is_not_finite(part: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return ~np.isfinite(part.astype(np.float32, copy=False))


def converted(column: Array, dtype: DTypeLike) -> Array:
    """A copy in another type; a column that is memory-mapped and of that type already stays as it is."""
    if is_mapped(column) and column.dtype == dtype:
        return column
    with np.errstate(over="ignore", invalid="ignore"):
        return column.astype(dtype)


def as_float(column: Array, key: str, source: str, ranks: Iterable[int], layout: str) -> Array:
    """Convert to float32, refusing NaN, infinity and what float32 cannot hold."""
    check_array(column, key, source, ranks, layout)
    reject_rows(_is_not_finite, column, key, source, "finite float32 numbers")
    return converted(column, np.float32)


def as_flag(column: Array, key: str, source: str, ranks: Iterable[int] = (1,), layout: str = "(N,)") -> Array:
    """Convert to bool, refusing anything but 0 and 1."""
    check_array(column, key, source, ranks, layout)
    reject_rows(lambda part: (part != 0) & (part != 1), column, key, source, "0 or 1")
    return converted(column, np.bool_)


def as_obs(column: Array, key: str, source: str) -> Array:
    """Convert observations (N, *S) to float32; uint8 stays."""
    ranks, layout = range(2, 33), "(N, ...), at least one axis after the rows"
    if column.dtype == np.uint8:
        check_array(column, key, source, ranks, layout)
        return column
    return as_float(column, key, source, ranks, layout)


def as_act(column: Array, key: str, source: str, *, is_discrete: bool) -> Array:
    """Convert actions to int64 (N,), from (N,) or (N, 1), if discrete, else to float32 (N, A)."""
    if not is_discrete:
        return as_float(column, key, source, (2,), "(N, A) for continuous actions")
    check_array(column, key, source, (1, 2), "(N,) for discrete actions")
    if column.ndim == 2:
        if column.shape[1] != 1:
            raise ValueError(f"{source}: {key} has shape {column.shape}; allowed: (N,) for discrete actions")
        column = column[:, 0]
    with np.errstate(invalid="ignore"):
        reject_rows(lambda part: part.astype(np.int64) != part, column, key, source, "integers for discrete actions")
    return converted(column, np.int64)


def check_against(
    transitions: Transitions,
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    batch_size: int,
) -> Transitions:
    """Check that transitions belong to an environment and fill at least one batch.

    Args:
        transitions: in the environment's units.
        observation_space: its shape must be that of one observation; images of bytes must be bytes in the data too.
        action_space: Discrete (`start` is respected, actions are not shifted) or Box of rank one.
        batch_size: number of transitions in a batch.

    Returns:
        The transitions; continuous actions that exceed a bound by rounding (1e-5 of the larger bound) are clipped.

    Raises:
        ValueError: naming source, column and first bad row.
    """
    source, keys = transitions.source, transitions.keys
    if len(transitions) < batch_size:
        raise ValueError(
            f"{source}: {keys.get('rew', 'rew')} has {len(transitions)} transitions, fewer than "
            f"batch_size={batch_size}; allowed: 1 to {len(transitions)}"
        )
    if transitions.obs.shape[1:] != observation_space.shape:
        raise ValueError(
            f"{source}: {keys.get('obs', 'obs')} has shape {transitions.obs.shape[1:]} a row; "
            f"the environment's observation space has {observation_space.shape}"
        )
    if observation_space.dtype == np.uint8 != transitions.obs.dtype:
        raise ValueError(
            f"{source}: {keys.get('obs', 'obs')} is {transitions.obs.dtype}; the environment's images are uint8,"
            " 0 to 255"
        )
    if isinstance(action_space, gym.spaces.Discrete):
        _check_discrete(transitions, action_space)
        return transitions
    if isinstance(action_space, gym.spaces.Box) and len(action_space.shape) == 1:
        return _clip_continuous(transitions, action_space)
    raise ValueError(f"{source}: action space {action_space} is not supported; allowed: Discrete or Box of rank one")


def _check_discrete(transitions: Transitions, space: gym.spaces.Discrete) -> None:
    act, source, key = transitions.act, transitions.source, transitions.keys.get("act", "act")
    if act.ndim != 1:
        raise ValueError(f"{source}: {key} is continuous, shape {act.shape}; the environment's actions are {space}")
    low, high = int(space.start), int(space.start + space.n) - 1
    allowed = f"{low} to {high}, from {space}"
    reject_rows(lambda part: (part < low) | (part > high), act, key, source, allowed, transitions.rows)
    masks = {"mask": np.ones(len(act), np.bool_), "mask_next": ~transitions.terminated}
    for name, is_used in masks.items():
        mask = getattr(transitions, name)
        if mask is None:
            continue
        if mask.shape[1] != space.n:
            raise ValueError(f"{source}: {name} has {mask.shape[1]} actions a row; the environment has {space}")
        available = np.where(is_used, mask.sum(axis=1), 1)
        allowed = "at least 1 available action a row"
        reject_rows(lambda part: part == 0, available, name, source, allowed, transitions.rows)


def _clip_continuous(transitions: Transitions, space: gym.spaces.Box) -> Transitions:
    act, source, key = transitions.act, transitions.source, transitions.keys.get("act", "act")
    if act.shape[1:] != space.shape:
        kind = "discrete" if act.ndim == 1 else "continuous"
        raise ValueError(f"{source}: {key} is {kind}, shape {act.shape}; the environment's actions are {space}")
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    scale = np.maximum(*(np.where(np.isfinite(bound), np.abs(bound), 0.0) for bound in (low, high)))
    slack = FLOAT32_ROUNDING * scale
    allowed = f"{space.low} to {space.high}, from {space}"
    reject_rows(lambda part: (part < low - slack) | (part > high + slack), act, key, source, allowed, transitions.rows)
    clipped = new_mapped(act.shape, act.dtype) if is_mapped(act) else np.empty_like(act)
    for piece in chunks(act):
        clipped[piece] = np.clip(act[piece], low, high)
    return replace(transitions, act=clipped)
