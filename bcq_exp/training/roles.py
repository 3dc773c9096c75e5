"""The section `algorithm.optimizers`: what the optimizer of each role has of its own."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import gymnasium as gym

from bcq_exp.algorithms import REGISTRY
from bcq_exp.algorithms.schema import AlgorithmConfig
from bcq_exp.engine.optim import RoleConfig, betas_errors
from bcq_exp.networks import Sizes
from bcq_exp.policies.actions import ActionMap
from bcq_exp.training.sections import MISSING, typed_section

PREFIX = "algorithm.optimizers."


def role_configs(section: Any, algorithm: str) -> tuple[dict[str, RoleConfig], list[str]]:
    """The typed keys of each role, and a sentence for each error.

    Args:
        section: `algorithm.optimizers` as plain values; `MISSING` where there is none.
        algorithm: name in the registry.
    """
    roles = REGISTRY[algorithm].roles
    if not roles:
        return {}, [] if section == MISSING else [explain_unknown_role(PREFIX[:-1], algorithm)]
    if not isinstance(section, Mapping):
        return {}, [f"{PREFIX[:-1]}={section} is no mapping of {', '.join(roles)} to the keys of their optimizers"]
    errors = [explain_unknown_role(f"{PREFIX}{key}", algorithm) for key in section if key not in roles]
    typed: dict[str, RoleConfig] = {}
    for role in roles:
        own = section.get(role, MISSING)
        if not isinstance(own, Mapping):
            errors.append(f"{PREFIX}{role}={own} is no mapping of {_keys()} to values")
            continue
        typed[role] = typed_section(own, RoleConfig, f"{PREFIX}{role}.", errors)
        if typed[role] is not None:
            errors += betas_errors(typed[role], f"{PREFIX}{role}.")
    return typed, errors


def explain_unknown_role(key: str, algorithm: str) -> str:
    """That there is no such key in `algorithm.optimizers`, with those that there are."""
    role = key.removeprefix(PREFIX).partition(".")[0]
    roles = REGISTRY[algorithm].roles
    if not roles:
        return f"{key}: algorithm={algorithm} has one optimizer for all its networks; give optimizer.lr or the like"
    if role not in roles:
        return f"{key}: algorithm={algorithm} has no such role; its roles: {', '.join(roles)}"
    return f"{key} is no key of an optimizer; known: {_keys()}"


def _keys() -> str:
    return ", ".join(spec.name for spec in fields(RoleConfig))


def idle_roles(
    algorithm: AlgorithmConfig, roles: Mapping[str, RoleConfig], obs_space: gym.Space[Any], action_space: gym.Space[Any]
) -> list[str]:
    """A sentence for each role that has a value and, with the algorithm's other keys, no network that it trains."""
    given = {role: key for role, own in roles.items() for key, value in vars(own).items() if value is not None}
    if not given:
        return []
    definition, action_map = REGISTRY[algorithm.name], ActionMap(action_space, **algorithm.action_rule)
    sizes = Sizes(obs_space.shape or (), action_map.act_dim, action_map.max_action)
    stages = definition.build(algorithm, sizes).stages
    trained = {definition.role(network) for stage in stages for network in stage.trains}
    return [
        f"{PREFIX}{role}.{key} is given, but with its other keys algorithm={algorithm.name} trains no {role}; drop it"
        for role, key in given.items()
        if role not in trained
    ]
