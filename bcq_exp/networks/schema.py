"""The form of a kind of network: the keys of its configuration, and the networks that it makes."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
from torch import nn

from bcq_exp.fields import named, one_of, within
from bcq_exp.networks.initial_weights import INITS, initialize

LARGEST_DROPOUT = 0.99  # at 1 nothing would be left of a layer


@dataclass(frozen=True)
class Sizes:
    """Sizes of observations, actions and noise.

    Args:
        obs_shape: of an observation.
        act_dim: dimensions of a continuous action, or the number of discrete ones.
        max_action: largest magnitude of a continuous action, in policy units.
        dropout_units: hidden units of the policy that dropout may silence; 0: there is no dropout.
    """

    obs_shape: tuple[int, ...]
    act_dim: int
    max_action: float
    dropout_units: int = 0

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
    init: str = one_of(*INITS)
    last_layer_scale: float | None = within(0)
    policy_last_layer_scale: float | None = within(0)
    dropout: float = within(0, LARGEST_DROPOUT)

    @property
    def dropout_units(self) -> int:
        """Hidden units of a policy that dropout may silence."""
        return sum(self.hidden_sizes) if self.dropout else 0

    def initialized(self, nets: dict[str, nn.Module], policies: Collection[str] = ()) -> dict[str, nn.Module]:
        """The same networks with the initial weights that the keys name.

        Args:
            nets: fresh, by name.
            policies: names of those that `policy_last_layer_scale` is for, where it is not None.
        """
        for name, net in nets.items():
            own = self.policy_last_layer_scale if name in policies else None
            initialize(net, self.init, self.last_layer_scale if own is None else own)
        return nets

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
