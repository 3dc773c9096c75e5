"""Keys that the configurations of algorithms share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict

from bcq_exp.fields import one_of, within


class ActionRule(TypedDict):
    """Keyword arguments of `ActionMap`: how policy units become environment units."""

    action_scaling: bool
    action_bound_method: str | None


@dataclass(kw_only=True)
class AlgorithmConfig:
    """Keys of every algorithm."""

    later_keys: ClassVar[Mapping[str, Any]] = {}  # that older runs lack, with the values that they had

    name: str

    def contradictions(self) -> list[str]:
        """A sentence for each combination of keys that contradicts itself."""
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
