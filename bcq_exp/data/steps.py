"""The rule that turns recorded steps into transitions: where episodes end, and which step follows which."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bcq_exp.data.columns import Array, check_keys
from bcq_exp.data.storage import chunks, taken

STEP = ("obs", "act", "rew", "terminated")


def as_transitions(
    columns: Mapping[str, Array], source: str, keys: Mapping[str, str], max_episode_steps: int | None = None
) -> dict[str, Any]:
    """Make the columns of `Transitions` from those of a recording, by one rule for every layout.

    Episodes end at `terminated`, and at `truncated` or `ends`. Without both columns they end where `obs_next` differs
    from the next row's observation, or, without `obs_next`, at the time limit. An episode that the recording cuts short
    is truncated there.

    The next observation of a row is its `obs_next`; without that column it is the next row's observation. Masks follow
    the same rule. A row is a transition if it has a next observation, or if it terminated: no target uses the next
    observation of a terminal row, so its own stands there where the recording has none. The last row of an episode that
    did not terminate has none without `obs_next`: it is dropped, and the row before it becomes `truncated`, with the
    dropped row's action as `act_next`.
    `episode_returns` count dropped rows too.

    Args:
        columns: in the types of `typed`: `obs`, `act`, `rew`, `terminated`, and where the recording has them
            `obs_next`, `act_next`, `mask`, `mask_next`, `episode_returns`, and `truncated` or `ends`. `truncated` is
            kept as it is; `ends` may or may not be set where `terminated` is.
        source: file or name that error messages begin with.
        keys: key in the file of each column, where it differs from the column's name.
        max_episode_steps: length of the time limit where nothing in the recording says where it struck; 0 if there was
            none.

    Raises:
        ValueError: a column is missing, or no row has a successor.
    """
    check_keys([keys.get(name, name) for name in columns], [keys.get(name, name) for name in STEP], source)
    rew, terminated = columns["rew"], columns["terminated"]
    ends = _ends(columns, source, keys, max_episode_steps)
    truncated = columns.get("truncated", ends & ~terminated)
    if not (truncated | terminated)[-1]:
        truncated = np.append(truncated[:-1], True)
    returns = columns.get("episode_returns")
    made: dict[str, Any] = {"episode_returns": episode_sums(rew, ends) if returns is None else returns}
    followed = [name for name in ("obs", "mask") if name in columns]
    if all(f"{name}_next" in columns for name in followed):
        kept = [*STEP, *followed[1:], *(f"{name}_next" for name in followed), *({"act_next"} & columns.keys())]
        return made | {name: columns[name] for name in kept} | {"truncated": truncated}

    is_dropped = ends & ~terminated
    rows = np.flatnonzero(~is_dropped)
    if not rows.size:
        raise ValueError(
            f"{source}: {keys.get('obs', 'obs')} has no row 1 of any episode, so no next observation; two rows needed"
        )
    made |= {name: taken(columns[name], rows) for name in (*STEP, *followed[1:])}
    following = rows + ~terminated[rows]
    made["act_next"] = actions_after(columns["act"], rows, terminated[rows])
    for name in followed:
        after = columns.get(f"{name}_next")
        made[f"{name}_next"] = taken(columns[name], following) if after is None else taken(after, rows)
    return made | {"truncated": (np.append(is_dropped[1:], False) & ~ends)[rows], "rows": rows}


def episode_sums(rew: Array, ends: Array) -> Array:
    """Sum rewards (N,) over the episodes that the flags (N,) end, in float64; the last flag must be set."""
    starts = np.flatnonzero(np.concatenate(([True], ends[:-1])))
    return np.asarray(np.add.reduceat(rew, starts, dtype=np.float64))


def actions_after(act: Array, rows: Array, terminated: Array) -> Array | None:
    """The actions that the recording takes behind some of its rows; None for discrete ones, which no loss reads.

    Args:
        act: of the whole recording, (N, A) or (N,).
        rows: of it, (M,); each that did not terminate has a next row in its episode.
        terminated: of these rows, (M,); a terminal one has its own action.
    """
    return taken(act, rows + ~terminated) if act.dtype.kind == "f" else None


def _ends(columns: Mapping[str, Array], source: str, keys: Mapping[str, str], max_episode_steps: int | None) -> Array:
    """Whether a row is the last one of its episode, (N,) bool."""
    terminated = columns["terminated"]
    flag, after = keys.get("ends", "truncated"), keys.get("obs_next", "obs_next")
    if max_episode_steps is not None and max_episode_steps < 0:
        raise ValueError(f"{source}: max_episode_steps={max_episode_steps}; allowed: 0 for none, or more")
    told = next((name for name in ("truncated", "ends", "obs_next") if name in columns), None)
    if told is not None and max_episode_steps is not None:
        raise ValueError(
            f"{source}: {keys.get(told, told)} says where episodes end, so that max_episode_steps={max_episode_steps} "
            f"has nothing to say; give dataset.max_episode_steps=null"
        )
    if told is None and max_episode_steps is None:
        raise ValueError(
            f"{source}: missing dataset {flag} or {after}; without both nothing says where an episode that did not "
            f"terminate ends; add {flag}, 1 in the last row of each such episode, or give "
            "dataset.max_episode_steps=N, the length of the time limit, or dataset.max_episode_steps=0 if every "
            "episode runs to its terminal"
        )
    if told == "obs_next":
        ends = terminated | _breaks(columns["obs"], columns["obs_next"])
    elif told is not None:
        ends = terminated | columns[told]
    else:
        ends = terminated | _at_limit(terminated, max_episode_steps or len(terminated))
    ends[-1] = True
    return np.asarray(ends)


def _breaks(obs: Array, obs_next: Array) -> Array:
    """Where the next row begins with another observation than the one that was reached, (N,) bool."""
    is_break, axes = np.zeros(len(obs), np.bool_), tuple(range(1, obs.ndim))
    for part in chunks(obs[1:]):
        is_break[part] = (obs_next[part] != obs[part.start + 1 : part.stop + 1]).any(axis=axes)
    return is_break


def _at_limit(terminated: Array, max_episode_steps: int) -> Array:
    """Where a count of rows since the last terminal one reaches the time limit, time and again, (N,) bool."""
    row = np.arange(len(terminated))
    starts = np.maximum.accumulate(np.where(np.append(True, terminated[:-1]), row, 0))
    return np.asarray((row - starts) % max_episode_steps == max_episode_steps - 1)
