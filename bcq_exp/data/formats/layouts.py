"""Layouts: the names that columns have in files, and how to get there from other names."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bcq_exp.data.columns import Array, as_flag, shown, typed
from bcq_exp.data.steps import STEP
from bcq_exp.data.transitions import Transitions

log = logging.getLogger(__name__)

MASKS: Mapping[str, tuple[str, ...]] = {
    "mask": ("mask", "action_mask", "action_masks", "infos/action_mask", "infos/action_masks"),
    "mask_next": (
        "mask_next",
        "next_mask",
        "next_action_mask",
        "next_action_masks",
        "infos/next_action_mask",
        "infos/next_action_masks",
    ),
}


class Layout(NamedTuple):
    """One way to name the columns.

    Args:
        title: of the layout, for users.
        names: of the columns in a file, by the names of `as_transitions`; masks have those of `MASKS` besides.
        required: those without which nothing can be read.
        marks: names of which any one shows that a file is of this layout.
        note: a remark for users.
        rule: makes transitions of the columns; arguments as for `Transitions.from_columns`.
    """

    title: str
    names: Mapping[str, str]
    required: tuple[str, ...]
    marks: frozenset[str]
    note: str
    rule: Callable[..., Transitions] = Transitions.from_columns


def d3rlpy_1_transitions(
    columns: Mapping[str, Array], source: str, keys: Mapping[str, str], *, max_episode_steps: int | None
) -> Transitions:
    """Make transitions of columns in the layout of d3rlpy's version 1.

    Episodes end where `episode_terminals` is set, and `terminals` counts only there. Some recorders also set it one row
    before the end of each terminated episode: that is ignored. Anywhere else inside an episode it is ignored with a
    warning. An episode that the file cuts short is truncated, with a warning.

    Args:
        columns: those of `D3RLPY`.
        source: file or name that messages begin with.
        keys: key in the file of each column, where it differs from the column's name.
        max_episode_steps: None, since `episode_terminals` says where episodes end.

    Raises:
        ValueError: a value is bad, naming the source, the key and the first bad row.
    """
    columns = dict(columns)
    flag = columns.pop("discrete_action").reshape(-1)[:1]
    is_discrete = as_flag(flag, "discrete_action", source).item()
    steps = typed(columns, source, keys, is_discrete=is_discrete)
    terminals, ends = steps["terminated"], steps["ends"].copy()
    terminated = terminals & ends
    if not ends[-1]:
        log.warning(
            "%s: episode_terminals row %d is 0; the episode cut there is read as truncated", source, len(ends) - 1
        )
        ends[-1] = True
    stray = terminals & ~ends & ~np.append(terminated[1:], False)
    if stray.any():
        log.warning(
            "%s: terminals is 1 inside an episode in %d rows, first in row %d; passed over",
            source,
            stray.sum(),
            stray.argmax(),
        )
    return Transitions.from_typed(
        {**steps, "terminated": terminated, "ends": ends}, source, keys, max_episode_steps=max_episode_steps
    )


_ENDS_NOTE = "of {} and {} one may be missing: either says where episodes end"

OWN = Layout(
    "own names",
    {
        name: name
        for name in ("obs", "act", "rew", "terminated", "truncated", "obs_next", "act_next", *MASKS, "episode_returns")
    },
    STEP,
    frozenset({"obs", "act", "rew"}),
    "what `collect` and `convert` write; " + _ENDS_NOTE.format("truncated", "obs_next"),
)
D4RL = Layout(
    "D4RL's names",
    {
        "obs": "observations",
        "act": "actions",
        "rew": "rewards",
        "terminated": "terminals",
        "ends": "timeouts",
        "obs_next": "next_observations",
    },
    STEP,
    frozenset({"observations", "actions", "rewards", "terminals"}),
    _ENDS_NOTE.format("timeouts", "next_observations"),
)
D3RLPY = Layout(
    "d3rlpy 1",
    {**D4RL.names, "ends": "episode_terminals", "discrete_action": "discrete_action"},
    (*STEP, "ends", "discrete_action"),
    frozenset({"episode_terminals", "discrete_action"}),
    "discrete_action: whether actions are discrete",
    d3rlpy_1_transitions,
)
LAYOUTS = (OWN, D3RLPY, D4RL)  # those whose marks are rarer first

# Names that columns have in other libraries, for advice in messages.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "obs": ("obs", "observations", "observation", "state", "states", "s"),
    "act": ("act", "actions", "action", "acts", "a", "u"),
    "rew": ("rew", "rewards", "reward", "rews", "r"),
    "terminated": (
        "terminated",
        "terminals",
        "terminal",
        "terminations",
        "termination",
        "done",
        "dones",
        "is_terminal",
    ),
    "ends": ("truncated", "timeouts", "timeout", "truncations", "truncation", "truncateds", "time_limit"),
    "obs_next": (
        "obs_next",
        "next_observations",
        "next_observation",
        "next_obs",
        "new_obs",
        "next_state",
        "next_states",
        "s_next",
        "sp",
    ),
}


def match(names: Collection[str]) -> Layout | None:
    """The layout of a file's names, which need not be complete; None where there is none."""
    return next((layout for layout in LAYOUTS if layout.marks & set(names)), None)


def keys(layout: Layout, names: Collection[str], source: str) -> dict[str, str]:
    """The key in the file of each column of a layout that the file has, masks included.

    Raises:
        ValueError: a required one is missing, or a mask is there twice.
    """
    if missing := [layout.names[name] for name in layout.required if layout.names[name] not in names]:
        raise ValueError(
            f"{source}: missing dataset {', '.join(missing)}; found: {shown(names)}; "
            f"required: {', '.join(layout.names[name] for name in layout.required)}{renames(layout, names)}"
        )
    chosen = {name: key for name, key in layout.names.items() if key in names}
    for name, known in MASKS.items():
        there = [key for key in known if key in names]
        if len(there) > 1:
            raise ValueError(f"{source}: {' and '.join(there)} both hold masks; keep one of them")
        if there:
            chosen[name] = there[0]
    return chosen


def renamed(columns: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Array]:
    """A file's columns by the project's names."""
    return {name: columns[key] for name, key in keys.items() if key in columns}


def renames(layout: Layout, names: Collection[str]) -> str:
    """The renames that would make a file's columns those of a layout, as the end of a message; empty without any."""
    lower = {name.lower(): name for name in names}
    pairs = {}
    for name, aliases in ALIASES.items():
        wanted = layout.names.get(name) or layout.names.get("truncated", name)
        there = [lower[alias] for alias in aliases if alias in lower]
        if wanted not in names and there:
            pairs[there[0]] = wanted
    if not pairs:
        return ""
    said = "; rename " + ", ".join(f"{old} to {new}" for old, new in pairs.items())
    if any(old.lower() in ("done", "dones") for old in pairs):
        said += ", which must be 1 only where the environment terminated, not at time limits"
    return said


def unknown(source: str, what: str, names: Sequence[str]) -> str:
    """The message for a file of no layout: the names in it, the names that are needed, and what to rename."""
    needed = ", ".join(D4RL.names[name] for name in STEP)
    return (
        f"{source}: {what} {shown(names)}; needed: {needed}, and timeouts or next_observations, in .npz or HDF5"
        f"{renames(D4RL, names)}; `bcq-collect inspect --layouts` prints every layout that is known"
    )


def table() -> list[tuple[str, str, str]]:
    """Title, columns and note of each layout; columns that may be missing stand in brackets."""
    rows = []
    for layout in LAYOUTS:
        optional = [key for name, key in layout.names.items() if name not in (*layout.required, *MASKS)]
        columns = [*(layout.names[name] for name in layout.required), *(f"[{key}]" for key in optional)]
        rows.append((layout.title, ", ".join([*columns, "[mask]", "[mask_next]"]), layout.note))
    return rows
