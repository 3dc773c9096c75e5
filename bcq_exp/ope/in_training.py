"""The estimate that each evaluation of a run makes: the section `eval_ope`, checked, and the evaluator."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gymnasium as gym

from bcq_exp.data import Transitions
from bcq_exp.engine.optim import OptimizerConfig, betas_errors
from bcq_exp.networks import NETWORKS, NetworkConfig
from bcq_exp.ope.candidate import candidates
from bcq_exp.ope.estimators import ESTIMATORS
from bcq_exp.ope.estimators.base import Estimator
from bcq_exp.ope.recording import Recording
from bcq_exp.ope.schema import TrainingEstimateConfig
from bcq_exp.policies import Policy
from bcq_exp.training.sections import chosen_type, typed_section

SECTION = "eval_ope"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Estimate:
    """A checked section `eval_ope`."""

    settings: TrainingEstimateConfig
    network: NetworkConfig
    optimizer: OptimizerConfig
    estimator: Estimator

    @property
    def name(self) -> str:
        """Of the estimator."""
        return self.settings.estimator


def checked_estimate(section: Any) -> tuple[Estimate | None, list[str]]:
    """The typed section, and a sentence for each error; None where there is no section, or an error.

    Args:
        section: plain values; None or empty where nothing is estimated.
    """
    if section in (None, {}):
        return None, []
    if not isinstance(section, Mapping):
        return None, [f"{SECTION}={section} is no section; give one of {', '.join(ESTIMATORS)}, or none"]
    errors: list[str] = []
    values, prefix = dict(section), f"{SECTION}."
    schema = chosen_type({SECTION: values}, f"{SECTION}.estimator", ESTIMATORS, errors)
    network_type = chosen_type(values, "network.kind", NETWORKS, errors)
    if not isinstance(values.get("optimizer"), Mapping):
        errors.append(f"{prefix}optimizer={values.get('optimizer')} is no section")
    if errors:
        return None, errors
    network = typed_section(values.pop("network"), network_type, f"{prefix}network.", errors)
    optimizer = typed_section(values.pop("optimizer"), OptimizerConfig, f"{prefix}optimizer.", errors)
    own = {spec.name: values.pop(spec.name) for spec in fields(schema) if spec.name in values}
    estimator = typed_section(own, schema, prefix, errors)
    settings = typed_section(values, TrainingEstimateConfig, prefix, errors)
    if errors:
        return None, errors
    errors += betas_errors(optimizer, f"{prefix}optimizer.") + fit_errors(network, settings.gamma, [schema], prefix)
    return Estimate(settings, network, optimizer, estimator), errors


def fit_errors(network: NetworkConfig, gamma: float, kinds: Sequence[type[Estimator]], prefix: str = "") -> list[str]:
    """A sentence for each key that has no meaning where values are fitted, or makes them endless.

    Args:
        network: of the fitted networks.
        gamma: of the estimated return.
        kinds: of estimators.
        prefix: beginning of the keys.
    """
    errors = [
        f"{prefix}network.{key}={value:g} is of policies, and only values are fitted; drop it"
        for key, unset in (("policy_last_layer_scale", None), ("dropout", 0.0))
        if (value := getattr(network, key)) != unset
    ]
    if gamma == 1 and any(kind.is_discounted for kind in kinds):
        errors.append(
            f"{prefix}gamma=1: fitted values have no bound where episodes need not end; give less, such as 0.999"
        )
    return errors


def action_errors(estimators: Mapping[str, Estimator], action_space: gym.Space[Any], key: str) -> list[str]:
    """A sentence where estimators are not for such actions.

    Args:
        estimators: by name.
        action_space: of the runs.
        key: that chose them.
    """
    discrete = [name for name, estimator in estimators.items() if estimator.is_discrete]
    if not discrete or isinstance(action_space, gym.spaces.Discrete):
        return []
    others = [name for name, estimator in ESTIMATORS.items() if not estimator.is_discrete]
    return [
        f"{key}={', '.join(discrete)} is for discrete actions, not {action_space}: a policy that is sure of its action"
        f" has no density; give {key}={' or '.join(others)}"
    ]


class Estimating:
    """Estimates the returns of a population's policies from recorded episodes, as `training.evaluating.Evaluator`.

    Networks are fitted anew at each evaluation, by the same seed and number of updates. So an estimate depends on the
    weights that it judges alone, whenever a run was resumed; `num_updates` is small, and values are worth what that
    leaves: estimates of one run, and of runs with the same keys, can be compared with each other.

    Args:
        policies: of all members, as they act.
        data: the episodes that they are judged on, checked against the spaces.
        action_space: of the runs.
        name: of the dataset.
        estimate: the section.
        seeds: of each member's own noise, where its policy samples its actions.
    """

    def __init__(
        self,
        policies: Sequence[Policy],
        data: Transitions,
        action_space: gym.Space[Any],
        *,
        name: str,
        estimate: Estimate,
        seeds: Sequence[int],
    ) -> None:
        self.policies, self.estimator, self.seeds = policies, estimate.estimator, seeds
        self.show: Callable[[str], object] = log.debug
        self.recording = Recording(
            data,
            action_space,
            name=name,
            settings=estimate.settings,
            network=estimate.network,
            optimizer=estimate.optimizer,
            device=str(policies[0].device),
            compile_="auto",
            watch=lambda line: self.show(line),
        )

    @property
    def names(self) -> Sequence[str]:
        """The estimate, and the estimator's diagnostics."""
        return ["eval/estimate", *(f"eval/{name}" for name in self.estimator.diagnostic_names)]

    def __call__(self, members: Sequence[int], show: Callable[[str], object]) -> dict[int, dict[str, float]]:
        """The estimate of each member, by its number, and diagnostics; without what is no finite number."""
        self.show = show
        asked = [self.policies[member] for member in members]
        for member, policy in zip(members, asked, strict=True):
            policy.seed_acting(self.seeds[member])
        found = {}
        for member, candidate in zip(members, candidates(self.recording, asked), strict=True):
            numbers = {"estimate": self.estimator.estimate(candidate), **self.estimator.diagnostics(candidate)}
            found[member] = {f"eval/{name}": value for name, value in numbers.items() if math.isfinite(value)}
        return found
