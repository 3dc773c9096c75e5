"""The spaces of a dataset that has no environment: what its own observations and actions say."""

import math
from typing import Any

import gymnasium as gym
import numpy as np

from bcq_exp.data.columns import Array
from bcq_exp.data.storage import chunks
from bcq_exp.data.transitions import Transitions

MOST_ACTIONS = 100_000  # discrete ones; each is an output of the networks

Bounds = float | list[float] | None


def recorded_spaces(
    transitions: Transitions, *, num_actions: int | None = None, low: Bounds = None, high: Bounds = None
) -> tuple[gym.Space[Any], gym.Space[Any]]:
    """The observation space and the action space of recorded transitions.

    Observations: images of bytes are a Box of bytes, all others one without bounds. Actions that were recorded as
    integers, one a row, are Discrete, numbered from 0; there are as many as have names, as masks have columns,
    or as the largest action says. All others are a Box, whose bounds are the data's extremes.

    Args:
        transitions: as recorded.
        num_actions: number of discrete actions, where the largest one was never taken; it makes whole numbers discrete
            that were written as floats.
        low, high: bounds of continuous actions, one for all dimensions or a list of one each; they make integers
            continuous. None stands for the data's extreme.

    Raises:
        ValueError: the values cannot be of these actions.
    """
    obs, shape = transitions.obs, transitions.obs.shape[1:]
    if obs.dtype == np.uint8 and len(shape) > 1:
        observations: gym.Space[Any] = gym.spaces.Box(0, 255, shape, np.uint8)
    else:
        observations = gym.spaces.Box(-math.inf, math.inf, shape, np.float32)
    is_bounded = low is not None or high is not None
    if num_actions is not None and is_bounded:
        raise ValueError("num_actions is of discrete actions, action_low and action_high of continuous ones: drop one")
    if num_actions is not None or (transitions.act.ndim == 1 and not is_bounded):
        return observations, _discrete(transitions, num_actions)
    return observations, _box(transitions, low, high)


def _discrete(transitions: Transitions, num_actions: int | None) -> gym.spaces.Discrete:
    act, key = transitions.act, transitions.keys.get("act", "act")
    where = f"{transitions.source}: {key}"
    if act.shape[1:] not in ((), (1,)):
        raise ValueError(
            f"{where} has shape {act.shape}, and num_actions={num_actions} is of one action a row: drop it"
        )
    least, largest = (int(value) for value in _extremes(act.reshape(-1)))
    if least < 0:
        raise ValueError(f"{where} has the action {least}; discrete actions are numbered from 0: store {key} - {least}")
    if largest >= MOST_ACTIONS:
        raise ValueError(
            f"{where} has the action {largest}, and networks have an output for each up to the largest; number the"
            f" actions that there are from 0 on, {MOST_ACTIONS:,} at most"
        )
    width = None if transitions.mask is None else transitions.mask.shape[1]
    num = num_actions or len(transitions.action_names or ()) or width or largest + 1
    if num <= largest:
        counted = f"num_actions={num}" if num_actions else f"{transitions.keys.get('mask', 'mask')} of {num} columns"
        raise ValueError(
            f"{where} has the action {largest}, and {counted} allows 0 to {num - 1}; {largest + 1} are needed"
        )
    if width is not None and width != num:
        raise ValueError(
            f"{transitions.source}: {transitions.keys.get('mask', 'mask')} has {width} actions a row, and"
            f" num_actions={num}; give null or {width}"
        )
    return gym.spaces.Discrete(num)


def _box(transitions: Transitions, low: Bounds, high: Bounds) -> gym.spaces.Box:
    act = transitions.act if transitions.act.ndim > 1 else transitions.act[:, None]
    where = f"{transitions.source}: {transitions.keys.get('act', 'act')}"
    both = [_extremes(column) for column in (act, transitions.act_next) if column is not None]
    least, largest = np.min([each[0] for each in both], 0), np.max([each[1] for each in both], 0)
    size = act.shape[1]
    lower, upper = (
        found if given is None else _given(name, given, size, where)
        for name, given, found in (("action_low", low, least), ("action_high", high, largest))
    )
    for name, bound, extreme, is_beyond in (
        ("action_low", lower, least, least < lower),
        ("action_high", upper, largest, largest > upper),
    ):
        if is_beyond.any():
            column = int(is_beyond.argmax())
            raise ValueError(
                f"{where} reaches from {least[column]:g} to {largest[column]:g} in dimension {column}, beyond"
                f" {name}={bound[column]:g}; give null or {extreme[column]:g}"
            )
    if (is_constant := lower == upper).any():
        column = int(is_constant.argmax())
        raise ValueError(
            f"{where} has no value but {lower[column]:g} in dimension {column}, so nothing says how far actions reach;"
            " give action_low and action_high"
        )
    return gym.spaces.Box(lower.astype(np.float32), upper.astype(np.float32), dtype=np.float32)


def _given(name: str, bound: float | list[float], size: int, where: str) -> Array:
    values = np.atleast_1d(np.asarray(bound, np.float64))
    if len(values) not in (1, size):
        raise ValueError(f"{name} has {len(values)} values, {where} has {size} dimensions; give one number or {size}")
    return np.broadcast_to(values.astype(np.float32).astype(np.float64), (size,))


def _extremes(act: Array) -> tuple[Array, Array]:
    """The least and the largest value of each column, float64 or int64."""
    pieces = [(act[rows].min(0), act[rows].max(0)) for rows in chunks(act)]
    least, largest = (np.asarray(values) for values in zip(*pieces, strict=True))
    wide = np.float64 if act.dtype.kind == "f" else np.int64
    return least.min(0).astype(wide), largest.max(0).astype(wide)
