"""Keys that the configurations of algorithms share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict

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

    later_keys: ClassVar[Mapping[str, Any]] = {}  # that older runs lack, with the values that they had

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
class SlowCopyConfig(DiscreteConfig):
    """Keys of an algorithm whose targets are soft, by `tau`, or whole copies, each `target_update_freq` updates."""

    tau: float | None = within(0, 1, is_low_open=True)
    target_update_freq: int | None = within(0)

    def contradictions(self) -> list[str]:
        """Exactly one of both keys has a value."""
        if (self.tau is None) != (self.target_update_freq is None):
            return []
        both = f"tau={_typed(self.tau)}, algorithm.target_update_freq={_typed(self.target_update_freq)}"
        return [f"{both}: targets are soft or whole copies; give one of both keys a number, the other null"]


def _typed(value: float | None) -> str:
    return "null" if value is None else f"{value:g}"


@dataclass(kw_only=True)
class ContinuousConfig(AlgorithmConfig):
    """Keys of every algorithm for continuous actions."""

    action_scaling: bool
    action_bound_method: str | None = one_of("clip", "tanh")

    @property
    def action_rule(self) -> ActionRule:
        """The two keys, as configured."""
        return {"action_scaling": self.action_scaling, "action_bound_method": self.action_bound_method}
