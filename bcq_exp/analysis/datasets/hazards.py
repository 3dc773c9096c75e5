"""What in a dataset spoils learning, or looks as if it did: a sentence each that says what, how many and what to do."""

from collections.abc import Mapping, Sequence

import numpy as np

from bcq_exp.data import Transitions
from bcq_exp.data.columns import Array
from bcq_exp.data.frames import distinct

SHOWN = 8  # actions and dimensions of observations that a sentence names
SHARED = 0.01  # warn from this share of episodes, rewards or rows on
RARE = 0.01  # share of rows below which an action is rarely taken


def hazards(transitions: Transitions, flags: Mapping[str, Array], lengths: Array, num_duplicates: int) -> list[str]:
    """Look for all of them.

    Args:
        transitions: the dataset.
        flags: the columns of its file that `inspection.read_flags` reads.
        lengths: of its episodes.
        num_duplicates: rows that equal an earlier one.
    """
    return [
        *flags_twice(transitions, flags, lengths),
        *limit_as_terminal(transitions, lengths),
        *unended(transitions, lengths),
        *rows_apart(transitions),
        *repeated(num_duplicates, len(transitions)),
        *constant_observations(distinct(transitions.obs)),
        *clipped_rewards(transitions.rew),
        *late_rewards(transitions, lengths),
        *rare_actions(transitions),
        *contradicting_masks(transitions),
    ]


def flags_twice(transitions: Transitions, flags: Mapping[str, Array], lengths: Array) -> list[str]:
    """Terminal flags that are set twice for one end."""
    warnings = []
    terminals = flags.get("terminals", transitions.terminated)
    if "episode_terminals" in flags:
        early = terminals & ~flags["episode_terminals"]
        if early.any():
            warnings.append(
                f"terminals set twice: they are 1 in {early.sum():,} rows that do not end an episode, first in row "
                f"{early.argmax()}; the reader here goes by episode_terminals, one that does not would cut episodes"
            )
    elif lengths.max() > 1 and "episode" not in transitions.keys:  # ids of episodes say better where they end
        twice = transitions.terminated[1:] & transitions.terminated[:-1]
        if twice.any():
            warnings.append(
                f"terminals set twice: {twice.sum():,} episodes of one row terminate right behind a terminated one, "
                f"first in row {twice.argmax() + 1}; set them in an episode's last row only"
            )
    both = terminals & flags["timeouts"] if "timeouts" in flags else transitions.terminated & transitions.truncated
    if both.any():
        warnings.append(
            f"{both.sum():,} rows are both terminal and a time limit, first row {both.argmax()}; they count as terminal"
        )
    return warnings


def limit_as_terminal(transitions: Transitions, lengths: Array) -> list[str]:
    """A time limit that is marked as terminal: more than a few episodes terminate after the same, longest time."""
    is_failed = transitions.terminated[np.cumsum(lengths) - 1]
    at_limit = int((is_failed & (lengths == lengths.max())).sum())
    if at_limit < 2 or at_limit < SHARED * len(lengths) or lengths.max() == 1:
        return []
    return [
        f"a time limit marked as terminal? {at_limit:,} of {len(lengths):,} episodes terminate after {lengths.max():,} "
        "steps, and none is longer; targets would not bootstrap there, so mark them as truncated if it is one"
    ]


def unended(transitions: Transitions, lengths: Array) -> list[str]:
    """Episodes that stop without an end, and not after the same number of steps, as those at a time limit do."""
    cut = lengths[~transitions.terminated[np.cumsum(lengths) - 1]]
    if len(cut) < max(2, SHARED * len(lengths)) or (cut == cut.max()).mean() >= 0.5:
        return []
    return [
        f"episodes that do not end: {len(cut):,} of {len(lengths):,} stop after {cut.min():,} to {cut.max():,} steps "
        "without a terminal state, so targets bootstrap there; mark those as terminated that had ended"
    ]


def rows_apart(transitions: Transitions) -> list[str]:
    """Episodes whose rows stand in the file in another order, or behind rows of others."""
    if transitions.rows is None:
        return []
    ends = transitions.terminated | transitions.truncated
    is_apart = (np.diff(transitions.rows) != 1) & ~ends[:-1]
    if not is_apart.any():
        return []
    num_episodes = len(np.unique((np.cumsum(ends) - ends)[:-1][is_apart]))
    return [
        f"rows apart: {num_episodes:,} episodes do not stand in the file row after row, first at row "
        f"{transitions.rows[:-1][is_apart][0]}; if their id returns for another episode, give that one an id of its own"
    ]


def repeated(num_duplicates: int, num_rows: int) -> list[str]:
    """Rows that equal an earlier one."""
    if num_duplicates < max(2, SHARED * num_rows):
        return []
    return [
        f"repeated rows: {num_duplicates:,} of {num_rows:,} equal an earlier one in every column; remove them if the "
        "same recording is there twice"
    ]


def constant_observations(obs: Array) -> list[str]:
    """Dimensions that never change, but for pixels."""
    flat = obs.reshape(len(obs), -1)
    constant = np.flatnonzero(flat.min(axis=0) == flat.max(axis=0))
    if not constant.size or len(obs) == 1 or (obs.dtype == np.uint8 and constant.size < flat.shape[1]):
        return []  # the borders of images may well be constant
    return [
        f"constant observations: {constant.size} of {flat.shape[1]} dimensions never change ({first(constant)}); leave "
        "them out, unless the environment has them"
    ]


def clipped_rewards(rew: Array) -> list[str]:
    """Rewards that look clipped: all in -1, 0 and 1, or many at an extreme of an else continuous distribution."""
    values, counts = np.unique(rew, return_counts=True)
    if values.tolist() == [-1, 0, 1]:
        return ["rewards that look clipped: all are -1, 0 or 1; returns are then in other units than evaluation's"]
    if len(values) < 20:
        return []
    return [
        f"rewards that look clipped: {counts[i] / len(rew):.1%} are {values[i]:g}, the {name} that there is; returns "
        "are then in other units than evaluation's"
        for i, name in ((0, "lowest"), (-1, "highest"))
        if counts[i] > 1 and counts[i] >= SHARED * len(rew)
    ]


def late_rewards(transitions: Transitions, lengths: Array) -> list[str]:
    """Rewards other than 0 in the last rows of episodes alone."""
    rewarded = transitions.rew != 0
    if not rewarded.any() or lengths.max() == 1 or (rewarded & ~(transitions.terminated | transitions.truncated)).any():
        return []
    return [
        f"rewards only at ends: {rewarded.sum():,} of {len(rewarded):,} rows have one, each the last of its episode; "
        f"give an algorithm.gamma near 1, with 0.99 the first of {lengths.mean():.0f} steps (the mean) sees "
        f"{0.99 ** (lengths.mean() - 1):.0%} of it"
    ]


def rare_actions(transitions: Transitions) -> list[str]:
    """Discrete actions that are never or rarely taken, or continuous ones that never change."""
    act = transitions.act
    if act.ndim > 1:
        constant = np.flatnonzero(act.min(axis=0) == act.max(axis=0))
        return [f"constant actions: dimensions {first(constant)}; leave them out"] if constant.size else []
    low, high = (
        (int(act.min()), int(act.max())) if transitions.action_names is None else (0, len(transitions.action_names) - 1)
    )
    shares = {
        low + place: count / len(act) for place, count in enumerate(np.bincount(act - low, minlength=high - low + 1))
    }
    never = [transitions.called(number) for number, share in shares.items() if share == 0]
    rare = [f"{transitions.called(number)} ({share:.2%})" for number, share in shares.items() if 0 < share < RARE]
    warnings = []
    if never:
        warnings.append(f"actions that are never taken: {first(never)}; nothing can be learned about them")
    if rare:
        warnings.append(
            f"actions that are rarely taken: {len(rare)} in less than {RARE:.0%} of the rows each, {first(rare)}; "
            "their values rest on few rows, so learn with a constraint to what was taken, as discrete_bcq has"
        )
    return warnings


def contradicting_masks(transitions: Transitions) -> list[str]:
    """Masks that exclude the action that was taken, or every action, or none ever."""
    mask, act = transitions.mask, transitions.act
    if mask is None or act.ndim > 1:
        return []
    if act.min() < 0 or act.max() >= mask.shape[1]:
        return [
            f"masks that contradict: they have {mask.shape[1]} actions, and those taken are {act.min()} to {act.max()}"
        ]
    is_excluded = ~np.take_along_axis(mask, act[:, None], axis=1)[:, 0]
    if is_excluded.any():
        row = int(is_excluded.argmax())
        return [
            f"masks that contradict: {is_excluded.sum():,} rows take an action that their mask excludes, first row "
            f"{row if transitions.rows is None else transitions.rows[row]} with {transitions.called(act[row])}; "
            "training refuses them, so correct the mask or leave the rows' episodes out"
        ]
    return ["masks that exclude no action in any row; leave them out"] if mask.all() else []


def first(names: Sequence[object] | Array) -> str:
    """The first few of them."""
    return ", ".join(map(str, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")
