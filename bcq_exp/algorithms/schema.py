"""What every configuration of an algorithm has."""

from dataclasses import dataclass
from typing import TypedDict

from bcq_exp.fields import one_of, within


class ActionRule(TypedDict):
    """How policy units become environment units, to be handed on as keywords."""

    action_scaling: bool
    action_bound_method: str | None


@dataclass(kw_only=True)
class AlgorithmConfig:
    """What every algorithm has."""

    name: str

    def contradictions(self) -> list[str]:
        """A sentence for each combination of keys that cannot mean what it says."""
        return []

    @property
    def action_rule(self) -> ActionRule:
        """Discrete actions are taken as they are."""
        return {"action_scaling": False, "action_bound_method": None}


@dataclass(kw_only=True)
class DiscreteConfig(AlgorithmConfig):
    """What every algorithm for discrete actions has."""

    eval_eps: float = within(0, 1)


@dataclass(kw_only=True)
class ContinuousConfig(AlgorithmConfig):
    """What every algorithm for continuous actions has."""

    action_scaling: bool
    action_bound_method: str | None = one_of("clip", "tanh")

    @property
    def action_rule(self) -> ActionRule:
        """The keys as they stand."""
        return {"action_scaling": self.action_scaling, "action_bound_method": self.action_bound_method}
