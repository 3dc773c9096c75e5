"""One file, one paper: its losses, its configuration. The registry is all that the rest of the program knows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from bcq_exp.algorithms import bc, bcq, discrete_bcq, dqn, td3_bc
from bcq_exp.algorithms.form import Algorithm
from bcq_exp.algorithms.schema import AlgorithmConfig, DiscreteConfig, Sizes


@dataclass(frozen=True)
class Entry:
    """An algorithm of the registry.

    Args:
        config: the typed schema of its keys.
        build: configuration and sizes to the form that an engine walks.
        networks: configuration and sizes to freshly initialised modules, by the names that the losses use.
        swept: keys that may differ between the members of a population: what losses and policy take as tensors, and
            what networks keep as buffers.
    """

    config: type[AlgorithmConfig]
    build: Callable[[Any, Sizes], Algorithm]
    networks: Callable[[Any, Any, Sizes], dict[str, nn.Module]]
    swept: frozenset[str]

    @property
    def is_discrete(self) -> bool:
        """Whether its actions are discrete."""
        return issubclass(self.config, DiscreteConfig)


REGISTRY: dict[str, Entry] = {
    "bcq": Entry(bcq.BCQConfig, bcq.from_config, bcq.networks, bcq.SWEPT | {"phi"}),
    "discrete_bcq": Entry(
        discrete_bcq.DiscreteBCQConfig, discrete_bcq.from_config, discrete_bcq.networks, discrete_bcq.SWEPT
    ),
    "dqn": Entry(dqn.DQNConfig, dqn.from_config, dqn.networks, dqn.SWEPT),
    "bc": Entry(bc.BCConfig, bc.from_config, bc.networks, frozenset()),
    "bc_discrete": Entry(bc.DiscreteBCConfig, bc.discrete_from_config, bc.discrete_networks, bc.DISCRETE_SWEPT),
    "td3_bc": Entry(td3_bc.TD3BCConfig, td3_bc.from_config, td3_bc.networks, td3_bc.SWEPT),
}
