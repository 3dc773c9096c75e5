"""The form of a kind of network: the keys of its configuration, and the networks that it makes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
from torch import nn

from bcq_exp.fields import named, within


@dataclass(frozen=True)
class Sizes:
    """Sizes of observations and actions.

    Args:
        obs_shape: of an observation.
        act_dim: dimensions of a continuous action, or the number of discrete ones.
        max_action: largest magnitude of a continuous action, in policy units.
    """

    obs_shape: tuple[int, ...]
    act_dim: int
    max_action: float

    @property
    def obs_dim(self) -> int:
        """Size of an observation of one axis; raises ValueError for several axes."""
        (obs_dim,) = self.obs_shape
        return obs_dim


@dataclass(kw_only=True)
class NetworkConfig(ABC):
    """The keys that every kind of network has.

    `observations` says in words which observations a kind takes; `is_for_continuous` says whether algorithms for
    continuous actions can build their networks from its keys.
    """

    observations: ClassVar[str]
    is_for_continuous: ClassVar[bool] = False

    name: str = named()
    kind: str
    hidden_sizes: list[int] = within(1)

    @staticmethod
    @abstractmethod
    def fits(space: gym.Space[Any]) -> bool:
        """Whether the networks take observations of a space."""

    @abstractmethod
    def heads(self, outputs: Mapping[str, int], sizes: Sizes) -> dict[str, nn.Module]:
        """Fresh networks by name, each from observations (B, *S) to that many raw linear outputs, (B, number)."""

    def per_action(self, names: Sequence[str], sizes: Sizes) -> dict[str, nn.Module]:
        """Fresh networks by name, each from observations (B, *S) to raw outputs (B, A), one a discrete action."""
        return self.heads(dict.fromkeys(names, sizes.act_dim), sizes)
