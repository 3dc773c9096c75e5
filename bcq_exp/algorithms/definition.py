"""The definition of an algorithm: all that the rest of the program needs of its file."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from bcq_exp.algorithms.form import Algorithm
from bcq_exp.algorithms.schema import AlgorithmConfig, DiscreteConfig
from bcq_exp.networks import NetworkConfig, Sizes

POLICIES = frozenset({"actor", "policy"})  # what every algorithm calls the network that makes its actions

# Roles whose networks have other names: a pattern of these.
NETWORKS_OF = {"critics": r"critics|(critic|model)\d+", "vae": "encoder|decoder", "perturbation": "actor"}


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
        roles: names in `algorithm.optimizers`: each stands for the networks that an optimizer of its own trains, those
            of `NETWORKS_OF` or the one of that name. Without roles one optimizer trains all networks.
    """

    config: type[AlgorithmConfig]
    build: Callable[[Any, Sizes], Algorithm]
    networks: Callable[[Any, Any, Sizes], dict[str, nn.Module]]
    swept: frozenset[str]
    roles: tuple[str, ...] = ()

    def role(self, network: str) -> str | None:
        """The role of a network; None where the algorithm has no roles."""
        if not self.roles:
            return None
        found = [role for role in self.roles if re.fullmatch(NETWORKS_OF.get(role, role), network)]
        assert len(found) == 1, f"{network} is of {len(found)} of the roles {', '.join(self.roles)}"
        return found[0]

    def fresh_networks(self, cfg: AlgorithmConfig, network: NetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
        """The networks by name, with the initial weights that the network's configuration names."""
        return network.initialized(self.networks(cfg, network, sizes), POLICIES)

    def has_policy(self, cfg: AlgorithmConfig) -> bool:
        """Whether a network makes the actions; otherwise values or a generative model do."""
        stages = self.build(cfg, Sizes(obs_shape=(1,), act_dim=1, max_action=1.0)).stages
        return any(name in POLICIES for stage in stages for name in stage.trains)

    def network_errors(self, cfg: AlgorithmConfig, network: NetworkConfig) -> list[str]:
        """A sentence for each key of the network that the algorithm does not read, or cannot use as it stands."""
        errors = [f"network.{line}" for line in cfg.network_contradictions(network)]
        if network.dropout and not cfg.has_dropout:
            errors.append(f"network.dropout={network.dropout:g}: algorithm={cfg.name} has no dropout; give 0")
        scale = network.policy_last_layer_scale
        if scale is not None and not self.has_policy(cfg):
            errors.append(
                f"network.policy_last_layer_scale={scale:g}: algorithm={cfg.name} has no network that makes its"
                " actions; give null"
            )
        return errors

    @property
    def is_discrete(self) -> bool:
        """Whether its actions are discrete."""
        return issubclass(self.config, DiscreteConfig)
