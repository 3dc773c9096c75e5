"""Recorded transitions as numpy columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

from bcq_exp.data.columns import Array, check_keys, typed
from bcq_exp.data.frames import FrameStacks
from bcq_exp.data.steps import STEP, as_transitions, episode_sums

__all__ = ["MASKS", "OPTIONAL", "REQUIRED", "Array", "Transitions", "episode_sums"]

REQUIRED = ("obs", "act", "rew", "terminated", "truncated", "obs_next")
MASKS = ("mask", "mask_next")
OPTIONAL = (*MASKS, "act_next")
COLUMNS = (*REQUIRED, *OPTIONAL, "episode_returns")
SAME: Mapping[str, str] = MappingProxyType({})  # for columns whose keys in the file are their names here


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
        act_next: continuous actions that were taken at `obs_next`, like `act`, without meaning where `terminated`; None
            where the next row of the same episode has it, and nothing is known of it behind a truncated row.
        source: file or name that error messages begin with.
        rows: row in the file of each transition, (N,) int64, or None where it is the transition's own index.
        keys: key in the file of each column, where it differs from the column's name.
        obs_names: the names of the numbers of an observation of one axis, (S,), or None where they have none.
        action_names: the names of discrete actions, the first one's first, or None where they have none.
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
    act_next: Array | None = None
    source: str
    rows: Array | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    obs_names: tuple[str, ...] | None = None
    action_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.rew)

    def called(self, act: int) -> str:
        """The name of a discrete action, or its number where actions have none."""
        return str(act) if self.action_names is None else self.action_names[act]

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, Array],
        source: str,
        keys: Mapping[str, str] = SAME,
        *,
        is_discrete: bool | None = None,
        max_episode_steps: int | None = None,
    ) -> Self:
        """Check and convert raw columns, and make transitions of them; every reader ends here or in `from_typed`.

        Args:
            columns: by the names of `as_transitions`.
            source: file or name that error messages begin with.
            keys: key in the file of each column, where it differs from the column's name.
            is_discrete: see `typed`.
            max_episode_steps: see `as_transitions`.

        Raises:
            ValueError: naming source, key and first bad row.
        """
        check_keys([keys.get(name, name) for name in columns], [keys.get(name, name) for name in STEP], source)
        return cls.from_typed(typed(columns, source, keys, is_discrete=is_discrete), source, keys, max_episode_steps)

    @classmethod
    def from_typed(
        cls,
        columns: Mapping[str, Array],
        source: str,
        keys: Mapping[str, str] = SAME,
        max_episode_steps: int | None = None,
    ) -> Self:
        """Make transitions of columns that `typed` gave; arguments and errors as for `as_transitions`."""
        return cls(**as_transitions(columns, source, keys, max_episode_steps), source=source, keys=keys)
