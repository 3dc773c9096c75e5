"""Keys that the configurations of algorithms share."""

from dataclasses import dataclass
from typing import ClassVar, TypedDict

from bcq_exp.fields import one_of, within
from bcq_exp.networks import NetworkConfig


class ActionRule(TypedDict):
    """Keyword arguments of `ActionMap`: how policy units become environment units."""

    action_scaling: bool
    action_bound_method: str | None


@dataclass(kw_only=True)
class AlgorithmConfig:
    """Keys of every algorithm; `has_dropout` says whether its policy's loss takes masks of hidden units."""

    has_dropout: ClassVar[bool] = False

    name: str

    def contradictions(self) -> list[str]:
        """A sentence for each combination of keys that contradicts itself."""
        return []

    def network_contradictions(self, network: NetworkConfig) -> list[str]:
        """A sentence for each key of the network that the algorithm cannot use as it stands."""
        return []

    @property
    def action_rule(self) -> ActionRule:
        """No conversion: discrete actions are indices."""
        return {"action_scaling": False, "action_bound_method": None}


@dataclass(kw_only=True)
class DiscreteConfig(AlgorithmConfig):
    """Keys of every algorithm for discrete actions."""

    eval_eps: float = within(0, 1)


@dataclass(kw_only=True)
class ContinuousConfig(AlgorithmConfig):
    """Keys of every algorithm for continuous actions."""

    action_scaling: bool
    action_bound_method: str | None = one_of("clip", "tanh")

    @property
    def action_rule(self) -> ActionRule:
        """The two keys, as configured."""
        return {"action_scaling": self.action_scaling, "action_bound_method": self.action_bound_method}
