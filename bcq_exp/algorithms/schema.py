"""What configurations of algorithms are made of: types and ranges, no values (those stand in `conf/`)."""

import math
import numbers
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any, TypedDict, get_args

from torch import nn

from bcq_exp.networks import ACTIVATIONS, MLP, Branch, Hidden, NatureCNN


@dataclass(frozen=True)
class Range:
    """The numbers that a key may take; an open end is not among them."""

    low: float
    high: float = math.inf
    is_low_open: bool = False

    def __contains__(self, value: float) -> bool:
        is_above = self.low < value if self.is_low_open else self.low <= value
        return is_above and value <= self.high and math.isfinite(value)

    def __str__(self) -> str:
        high = ", inf)" if self.high == math.inf else f", {self.high:g}]"
        return f"{'(' if self.is_low_open else '['}{self.low:g}{high}"


NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,99}", re.ASCII)
NAME_RULE = "up to 100 letters, digits, `.`, `_`, `-` and `+`, no dot in front"


def named() -> Any:
    """A dataclass field without a value whose text is a name: it may stand in a path, and cannot leave its folder."""
    return field(metadata={"allowed": NAME})


def file_name(text: Any, max_length: int = 100) -> str:
    """The name that is nearest to a text, of which the end stays: what a name does not allow becomes a dash."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", str(text))[-max_length:].lstrip(".") or "-"


def within(low: float, high: float = math.inf, *, is_low_open: bool = False) -> Any:
    """A dataclass field without a value whose number must lie in a range."""
    return field(metadata={"allowed": Range(low, high, is_low_open)})


def one_of(*choices: str) -> Any:
    """A dataclass field without a value that must be one of the given words (or null, where its type says so)."""
    return field(metadata={"allowed": choices})


def violations(config: type[Any], values: Mapping[str, Any]) -> list[str]:
    """A sentence for each value that lies outside what its field allows.

    Args:
        config: a dataclass whose fields were made by `within`, `one_of` and `named`; of lists each element is held
            against the range.
        values: by field name.
    """
    found = []
    for key, spec in ((spec.name, spec) for spec in fields(config) if spec.name in values):
        allowed, value = spec.metadata.get("allowed"), values[key]
        if value is None and NoneType in get_args(spec.type):
            continue
        if isinstance(allowed, Range) and isinstance(value, list):
            if not all(is_number(element, spec.type) and element in allowed for element in value):
                found.append(f"{key}={value} has elements outside {allowed}")
        elif isinstance(allowed, Range) and not is_number(value, spec.type):
            kind = "an integer" if is_integral(spec.type) else "a number"
            found.append(f"{key}={value!r} is not {kind} in {allowed}")
        elif isinstance(allowed, Range) and value not in allowed:
            found.append(f"{key}={value} is outside {allowed}")
        elif isinstance(allowed, re.Pattern) and not (isinstance(value, str) and allowed.fullmatch(value)):
            found.append(f"{key}={value!r} is no name; allowed: {NAME_RULE}")
        elif isinstance(allowed, tuple) and value not in allowed:
            found.append(f"{key}={value} is none of {', '.join(allowed)}")
    return found


def is_number(value: Any, kind: Any) -> bool:
    """Whether a value can stand in a field of that type, `int` or `float`, with or without `None`."""
    return isinstance(value, numbers.Integral if is_integral(kind) else numbers.Real) and not isinstance(value, bool)


def is_integral(kind: Any) -> bool:
    """Whether a field of that type holds integers."""
    return int in (kind, *get_args(kind))


def check_ranges(config: type[Any], **values: Any) -> None:
    """Raise ValueError with all violations at once."""
    found = violations(config, values)
    if found:
        raise ValueError("; ".join(found))


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


@dataclass(frozen=True)
class Sizes:
    """What the environment and the action map decide.

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
        """Size of an observation of one axis; there is none where it has several."""
        (obs_dim,) = self.obs_shape
        return obs_dim


@dataclass(kw_only=True)
class NetworkConfig(ABC):
    """What every kind of network has."""

    name: str = named()
    kind: str
    hidden_sizes: list[int] = within(1)

    @abstractmethod
    def heads(self, outputs: Mapping[str, int], sizes: Sizes) -> dict[str, nn.Module]:
        """Fresh networks by name, each from observations to that many raw linear outputs."""

    def per_action(self, names: Sequence[str], sizes: Sizes) -> dict[str, nn.Module]:
        """Fresh networks by name, each from observations to raw linear outputs (A,), one a discrete action."""
        return self.heads(dict.fromkeys(names, sizes.act_dim), sizes)


@dataclass(kw_only=True)
class MLPNetworkConfig(NetworkConfig):
    """Widths and activations of networks on observations of one axis.

    `vae_hidden_sizes` is read by algorithms with a generative model of the actions only.
    """

    vae_hidden_sizes: list[int] = within(1)
    activation: str = one_of(*ACTIVATIONS)

    @property
    def hidden(self) -> Hidden:
        """Of every network but the generative model."""
        return {"hidden_sizes": self.hidden_sizes, "activation": self.activation}

    @property
    def vae_hidden(self) -> Hidden:
        """Of the generative model's two halves."""
        return {"hidden_sizes": self.vae_hidden_sizes, "activation": self.activation}

    def heads(self, outputs: Mapping[str, int], sizes: Sizes) -> dict[str, nn.Module]:
        """Networks that share nothing."""
        return {name: MLP(sizes.obs_dim, num_outputs, **self.hidden) for name, num_outputs in outputs.items()}


@dataclass(kw_only=True)
class NatureCNNConfig(NetworkConfig):
    """Widths of a head on the convolutions, which are the paper's."""

    def heads(self, outputs: Mapping[str, int], sizes: Sizes) -> dict[str, nn.Module]:
        """Heads of their own on convolutions that they share."""
        trunk = NatureCNN(sizes.obs_shape)
        return {name: Branch(trunk, size, hidden_sizes=self.hidden_sizes) for name, size in outputs.items()}


NETWORKS: dict[str, type[NetworkConfig]] = {"mlp": MLPNetworkConfig, "nature_cnn": NatureCNNConfig}
