"""Checks and conversions of transitions that need the environment's spaces."""

import itertools
import math
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from bcq_exp.data.columns import Array, as_index, converted, reject_rows, shown
from bcq_exp.data.frames import FrameStacks
from bcq_exp.data.storage import chunks, is_large, is_mapped, new_mapped, room
from bcq_exp.data.transitions import MASKS, Transitions
from bcq_exp.envs.observations import OneHot

FLOAT32_ROUNDING = 1e-5


def check_against(
    transitions: Transitions,
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    batch_size: int,
) -> Transitions:
    """Check that transitions belong to an environment and fill at least one batch.

    Args:
        transitions: in the environment's units.
        observation_space: its shape must be that of one observation; images of bytes must be bytes in the data too. The
            values of a Discrete space may stand in the data as one integer a row.
        action_space: Discrete (`start` is respected, actions are not shifted) or Box of rank one.
        batch_size: number of transitions in a batch.

    Returns:
        The transitions, as the spaces have them: actions are discrete or continuous by the action space, whatever type
        of numbers they were written in; integers for the values of a Discrete observation space become one-hot vectors;
        bytes become floats, unless they are images of bytes in the environment too. Continuous actions that exceed a
        bound by rounding (1e-5 of the larger bound) are clipped.

    Raises:
        ValueError: naming source, column and first bad row.
    """
    source, keys = transitions.source, transitions.keys
    if len(transitions) < batch_size:
        raise ValueError(
            f"{source}: {keys.get('rew', 'rew')} has {len(transitions)} transitions, fewer than "
            f"batch_size={batch_size}; allowed: 1 to {len(transitions)}"
        )
    transitions = _observed_in(transitions, observation_space)
    if isinstance(action_space, gym.spaces.Discrete):
        return _discrete(transitions, action_space)
    if isinstance(action_space, gym.spaces.Box) and len(action_space.shape) == 1:
        return _continuous(transitions, action_space)
    raise ValueError(f"{source}: action space {action_space} is not supported; allowed: Discrete or Box of rank one")


def _observed_in(transitions: Transitions, space: gym.Space[Any]) -> Transitions:
    """Convert observations to a space's type; raise ValueError where their shape is another."""
    source, obs = transitions.source, transitions.obs
    key = transitions.keys.get("obs", "obs")
    if isinstance(space, OneHot) and obs.shape[1:] == (1,) and space.shape != (1,):
        obs, obs_next = (_one_hot(transitions, name, space) for name in ("obs", "obs_next"))
        return replace(transitions, obs=obs, obs_next=obs_next)
    if obs.shape[1:] != space.shape:
        raise ValueError(
            f"{source}: {key} has shape {obs.shape[1:]} a row; the environment's observation space has {space.shape};"
            " " + _remedy(obs.shape[1:], space.shape, key)
        )
    is_image_of_bytes = space.dtype == np.uint8 and len(space.shape) > 1
    if is_image_of_bytes and obs.dtype != np.uint8:
        raise ValueError(
            f"{source}: {key} is {obs.dtype}; the environment's images are uint8, 0 to 255; store such ones, times "
            "255 if yours are 0 to 1"
        )
    if is_image_of_bytes or obs.dtype != np.uint8:
        return transitions
    obs, obs_next = (_floats(transitions, name, space) for name in ("obs", "obs_next"))
    return replace(transitions, obs=obs, obs_next=obs_next)


def _one_hot(transitions: Transitions, name: str, space: OneHot) -> Array:
    """Integers (N, 1) of a Discrete space as one-hot vectors (N, n) float32; in a file if they are many."""
    column, source, key = getattr(transitions, name)[:, 0], transitions.source, transitions.keys.get(name, name)
    low, high = int(space.discrete.start), int(space.discrete.start + space.discrete.n) - 1
    allowed = f"whole numbers from {low} to {high}, the values of {space.discrete}, or one-hot vectors of them"
    values, shape = np.arange(low, high + 1), (len(column), high - low + 1)
    reject_rows(lambda part: ~np.isin(part, values), column, key, source, allowed, transitions.rows)
    is_in_file = is_mapped(column) or is_large(4 * math.prod(shape))
    made = new_mapped(shape, np.float32) if is_in_file else np.empty(shape, np.float32)
    for rows in chunks(made):
        made[rows] = column[rows, None] == values
    return made


def _floats(transitions: Transitions, name: str, space: gym.Space[Any]) -> Array:
    """Bytes as float32, of the same values; raises ValueError where the environment has them as 0 to 1."""
    column, source, key = getattr(transitions, name), transitions.source, transitions.keys.get(name, name)
    if isinstance(column, FrameStacks):
        raise ValueError(f"{source}: {key} are frames of bytes; the environment's observations are {space}")
    if isinstance(space, gym.spaces.Box) and (space.low == 0).all() and (space.high == 1).all():
        allowed = "0 to 1, as the environment's observations are; divide bytes by 255 if the environment does"
        reject_rows(lambda part: part > 1, column, key, source, allowed, transitions.rows)
    return converted(column, np.float32)


def _remedy(shape: tuple[int, ...], wanted: tuple[int, ...] | None, key: str) -> str:
    """The advice for observations whose shape is not the environment's, as the end of a message."""
    wanted = wanted or ()
    orders = (order for order in itertools.permutations(range(len(shape))) if len(shape) == len(wanted))
    for order in orders:
        if tuple(shape[axis] for axis in order) == wanted:
            axes = ", ".join(str(axis + 1) for axis in order)
            return f"their axes are in another order: store {key}.transpose(0, {axes})"
    if math.prod(shape) == math.prod(wanted):
        return f"store {key}.reshape(-1, {', '.join(map(str, wanted))})"
    if len(shape) == len(wanted) == 3:
        return (
            "store images of that size and that many channels (cv2.resize, one image at a time), or give the "
            "environment whose images these are: dataset.env=ID"
        )
    return "is it the environment of the recording? dataset.env=ID names another"


def _discrete(transitions: Transitions, space: gym.spaces.Discrete) -> Transitions:
    """The transitions with actions and masks of a Discrete space."""
    act, source, key = transitions.act, transitions.source, transitions.keys.get("act", "act")
    if act.shape[1:] == (1,):
        act = as_index(act[:, 0], key, source, transitions.rows)
        transitions = replace(transitions, act=act, act_next=None)
    if act.ndim != 1:
        is_one_hot = act.shape[1] == space.n and all(_are_one_hot(act[rows]) for rows in chunks(act))
        remedy = f"; they are one-hot: store {key}.argmax(axis=1)" if is_one_hot else ""
        raise ValueError(
            f"{source}: {key} is continuous, shape {act.shape}; the environment's actions are {space}{remedy}"
        )
    low, high = int(space.start), int(space.start + space.n) - 1
    if (names := transitions.action_names) is not None and (len(names) != space.n or low != 0):
        raise ValueError(
            f"{source}: {key} has {len(names)} names, {shown(names)}; the environment's actions are {space}; give a "
            "name for each, from 0 on: dataset.action_names=[...]"
        )
    allowed = f"{low} to {high}, from {space}"
    reject_rows(lambda part: (part < low) | (part > high), act, key, source, allowed, transitions.rows)
    for name in MASKS:
        if getattr(transitions, name) is not None:
            _check_mask(transitions, name, space)
    return transitions


def _are_one_hot(rows: Array) -> bool:
    return bool(((rows == 0) | (rows == 1)).all() and (rows.sum(axis=1) == 1).all())


def _check_mask(transitions: Transitions, name: str, space: gym.spaces.Discrete) -> None:
    """Raise ValueError for masks of another width, a state without an action, or a logged action that is excluded."""
    mask, source, key = getattr(transitions, name), transitions.source, transitions.keys.get(name, name)
    if mask.shape[1] != space.n:
        raise ValueError(f"{source}: {key} has {mask.shape[1]} actions a row; the environment has {space}")
    available, is_taken = np.ones(len(mask), np.int64), np.ones(len(mask), np.bool_)
    for rows in chunks(mask):
        is_used = ~transitions.terminated[rows] if name == "mask_next" else np.ones(len(mask[rows]), np.bool_)
        available[rows] = np.where(is_used, mask[rows].sum(axis=1), 1)
        if name == "mask":
            index = (transitions.act[rows] - int(space.start))[:, None]
            is_taken[rows] = np.take_along_axis(mask[rows], index, axis=1)[:, 0]
    allowed = "at least 1 available action a row"
    reject_rows(lambda part: part == 0, available, key, source, allowed, transitions.rows)
    if (bad := np.flatnonzero(~is_taken)).size:
        row = bad[0] if transitions.rows is None else transitions.rows[bad[0]]
        choice = (np.flatnonzero(mask[bad[0]]) + int(space.start)).tolist()
        act = transitions.called(transitions.act[bad[0]])
        raise ValueError(
            f"{source}: {transitions.keys.get('act', 'act')} row {row} is {act}, which {key} "
            f"excludes there; allowed: {', '.join(map(transitions.called, choice))} "
            f"(bad rows in all: {bad.size})"
        )


def _continuous(transitions: Transitions, space: gym.spaces.Box) -> Transitions:
    """The transitions with actions of a Box, clipped where they exceed it by rounding."""
    act, source, key = transitions.act, transitions.source, transitions.keys.get("act", "act")
    for name in MASKS:
        if getattr(transitions, name) is not None:
            named = transitions.keys.get(name, name)
            raise ValueError(f"{source}: {named} is for discrete actions; the environment's are {space}; leave it out")
    if act.ndim == 1 and space.shape == (1,):
        act = converted(act, np.float32)[:, None]
    if act.shape[1:] != space.shape:
        kind = "discrete" if act.ndim == 1 else "continuous"
        raise ValueError(f"{source}: {key} is {kind}, shape {act.shape}; the environment's actions are {space}")
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    scale = np.maximum(*(np.where(np.isfinite(bound), np.abs(bound), 0.0) for bound in (low, high)))
    slack = FLOAT32_ROUNDING * scale
    allowed = f"{space.low} to {space.high}, from {space}"
    clipped: dict[str, Any] = {}
    for name, column in (("act", act), ("act_next", transitions.act_next)):
        if column is not None:
            is_beyond = partial(_is_beyond, low=low - slack, high=high + slack)
            reject_rows(is_beyond, column, transitions.keys.get(name, name), source, allowed, transitions.rows)
            clipped[name] = room(column, len(column))
            for piece in chunks(column):
                clipped[name][piece] = np.clip(column[piece], low, high)
    return replace(transitions, **clipped)


def _is_beyond(act: Array, low: Array, high: Array) -> Array:
    return (act < low) | (act > high)
