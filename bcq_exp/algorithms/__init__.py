"""One file, one paper: its losses, its configuration. The registry is all that the rest of the program knows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from bcq_exp.algorithms import (
    awac,
    bc,
    bcq,
    bear,
    cql,
    crr,
    ddpg,
    discrete_bcq,
    discrete_cql,
    discrete_crr,
    discrete_iql,
    discretized_dqn,
    dqn,
    iql,
    kl_control,
    mcq,
    qrdqn,
    rebrac,
    rem,
    spibb_dqn,
    td3,
    td3_bc,
    vae_bc,
)
from bcq_exp.algorithms.form import Algorithm
from bcq_exp.algorithms.schema import AlgorithmConfig, DiscreteConfig
from bcq_exp.networks.schema import Sizes


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
    "qrdqn": Entry(qrdqn.QRDQNConfig, qrdqn.from_config, qrdqn.networks, qrdqn.SWEPT),
    "rem": Entry(rem.REMConfig, rem.from_config, rem.networks, dqn.SWEPT),
    "discrete_cql": Entry(
        discrete_cql.DiscreteCQLConfig, discrete_cql.from_config, discrete_cql.networks, discrete_cql.SWEPT
    ),
    "discrete_crr": Entry(
        discrete_crr.DiscreteCRRConfig, discrete_crr.from_config, discrete_crr.networks, discrete_crr.SWEPT
    ),
    "discrete_iql": Entry(
        discrete_iql.DiscreteIQLConfig, discrete_iql.from_config, discrete_iql.networks, discrete_iql.SWEPT
    ),
    "kl_control": Entry(kl_control.KLControlConfig, kl_control.from_config, kl_control.networks, kl_control.SWEPT),
    "spibb_dqn": Entry(spibb_dqn.SPIBBDQNConfig, spibb_dqn.from_config, spibb_dqn.networks, spibb_dqn.SWEPT),
    "bc": Entry(bc.BCConfig, bc.from_config, bc.networks, frozenset()),
    "bc_discrete": Entry(bc.DiscreteBCConfig, bc.discrete_from_config, bc.discrete_networks, bc.DISCRETE_SWEPT),
    "awac": Entry(awac.AWACConfig, awac.from_config, awac.networks, awac.SWEPT),
    "cql": Entry(cql.CQLConfig, cql.from_config, cql.networks, cql.SWEPT),
    "crr": Entry(crr.CRRConfig, crr.from_config, crr.networks, crr.SWEPT),
    "mcq": Entry(mcq.MCQConfig, mcq.from_config, mcq.networks, mcq.SWEPT),
    "iql": Entry(iql.IQLConfig, iql.from_config, iql.networks, iql.SWEPT),
    "ddpg": Entry(ddpg.DDPGConfig, ddpg.from_config, ddpg.networks, ddpg.SWEPT),
    "discretized_dqn": Entry(
        discretized_dqn.DiscretizedDQNConfig,
        discretized_dqn.from_config,
        discretized_dqn.networks,
        discretized_dqn.SWEPT,
    ),
    "bear": Entry(bear.BEARConfig, bear.from_config, bear.networks, bear.SWEPT),
    "vae_bc": Entry(vae_bc.VAEBCConfig, vae_bc.from_config, vae_bc.networks, frozenset()),
    "td3": Entry(td3.TD3Config, td3.from_config, td3.networks, td3.SWEPT),
    "td3_bc": Entry(td3_bc.TD3BCConfig, td3_bc.from_config, td3.networks, td3_bc.SWEPT),
    "rebrac": Entry(rebrac.ReBRACConfig, rebrac.from_config, rebrac.networks, rebrac.SWEPT),
}
