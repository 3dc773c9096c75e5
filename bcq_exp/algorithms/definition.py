"""The definition of an algorithm: all that the rest of the program needs of its file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from bcq_exp.algorithms.form import Algorithm
from bcq_exp.algorithms.schema import AlgorithmConfig, DiscreteConfig
from bcq_exp.networks import Sizes


@dataclass(frozen=True)
class Definition:
    """An algorithm of the registry.

    Args:
        config: the schema of its keys.
        build: (configuration, sizes) to its stages, targets and rule of action.
        networks: (configuration, network configuration, sizes) to freshly initialised modules, by the names that the
            losses use.
        swept: keys that may differ between the members of a population: numbers that losses and the rule of action
            take as tensors, or that networks keep as buffers.
    """

    config: type[AlgorithmConfig]
    build: Callable[[Any, Sizes], Algorithm]
    networks: Callable[[Any, Any, Sizes], dict[str, nn.Module]]
    swept: frozenset[str]

    @property
    def is_discrete(self) -> bool:
        """Whether its actions are discrete."""
        return issubclass(self.config, DiscreteConfig)
