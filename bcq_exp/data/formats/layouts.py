"""What the columns of a recording are called: the layouts that are read, and how to get there from other names."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from bcq_exp.data.columns import Array, shown
from bcq_exp.data.steps import STEP

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
        note: what there is to say of it beyond the names.
    """

    title: str
    names: Mapping[str, str]
    required: tuple[str, ...]
    marks: frozenset[str]
    note: str


_ENDS_NOTE = "of {} and {} one may be missing: either says where episodes end"

OWN = Layout(
    "own names",
    {
        name: name
        for name in ("obs", "act", "rew", "terminated", "truncated", "obs_next", "mask", "mask_next", "episode_returns")
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
)
LAYOUTS = (OWN, D3RLPY, D4RL)  # those whose marks are rarer first

# Files of more than columns, in the words of the same table.
OTHERS = (
    (
        "d3rlpy 2",
        "observations_i, actions_i, rewards_i, terminated_i of each episode i, num_episodes, version",
        "what `dump` writes",
    ),
    (
        "Minari",
        "a folder with data/main_data.hdf5 and data/metadata.json",
        "masks: infos/action_mask, or the part action_mask of Dict observations",
    ),
    (
        "DQN replay",
        "a folder with $store$_observation_ckpt.N.gz and so on",
        "Atari's frames; no masks",
    ),
)

# What columns are called elsewhere.
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


def match(found: Collection[str]) -> Layout | None:
    """The layout that a file's names are of, be it with some missing; None where they are of none."""
    return next((layout for layout in LAYOUTS if layout.marks & set(found)), None)


def keys(layout: Layout, found: Collection[str], source: str) -> dict[str, str]:
    """The key in a file of each column of a layout that is there, masks among them.

    Raises:
        ValueError: a required one is missing, or a mask is there twice.
    """
    if missing := [layout.names[name] for name in layout.required if layout.names[name] not in found]:
        raise ValueError(
            f"{source}: missing dataset {', '.join(missing)}; found: {shown(found)}; "
            f"required: {', '.join(layout.names[name] for name in layout.required)}{renames(layout, found)}"
        )
    chosen = {name: key for name, key in layout.names.items() if key in found}
    for name, known in MASKS.items():
        there = [key for key in known if key in found]
        if len(there) > 1:
            raise ValueError(f"{source}: {' and '.join(there)} both hold masks; keep one of them")
        if there:
            chosen[name] = there[0]
    return chosen


def renamed(columns: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Array]:
    """A file's columns by the names that the project has for them."""
    return {name: columns[key] for name, key in keys.items() if key in columns}


def renames(layout: Layout, found: Collection[str]) -> str:
    """What to rename, so that a file's columns are of a layout, as the end of a message; empty where nothing helps."""
    lower = {name.lower(): name for name in found}
    pairs = {}
    for name, aliases in ALIASES.items():
        wanted = layout.names.get(name) or layout.names.get("truncated", name)
        there = [lower[alias] for alias in aliases if alias in lower]
        if wanted not in found and there:
            pairs[there[0]] = wanted
    if not pairs:
        return ""
    said = "; rename " + ", ".join(f"{old} to {new}" for old, new in pairs.items())
    if any(old.lower() in ("done", "dones") for old in pairs):
        said += ", which must be 1 only where the environment terminated, not at time limits"
    return said


def unknown(source: str, what: str, found: Sequence[str]) -> str:
    """The message for a file of none of the layouts: what was found in it, what is needed, and the way there."""
    needed = ", ".join(D4RL.names[name] for name in STEP)
    return (
        f"{source}: {what} {shown(found)}; needed: {needed}, and timeouts or next_observations, in .npz or HDF5"
        f"{renames(D4RL, found)}; `bcq-collect inspect --layouts` prints every layout that is known"
    )


def table() -> list[tuple[str, str, str]]:
    """Title, columns and note of everything that is read; columns that may be missing stand in brackets."""
    rows = []
    for layout in LAYOUTS:
        optional = [key for name, key in layout.names.items() if name not in (*layout.required, *MASKS)]
        columns = [*(layout.names[name] for name in layout.required), *(f"[{key}]" for key in optional)]
        rows.append((layout.title, ", ".join([*columns, "[mask]", "[mask_next]"]), layout.note))
    return [*rows, *OTHERS]
