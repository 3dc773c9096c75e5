"""The checked configuration of `bcq-evaluate`: which runs, by which estimators, and how networks are fitted."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from omegaconf import DictConfig

from bcq_exp.engine.machine import device_errors
from bcq_exp.engine.optim import OptimizerConfig, betas_errors
from bcq_exp.networks import NETWORKS, NetworkConfig
from bcq_exp.ope.estimators import ESTIMATORS
from bcq_exp.ope.estimators.base import Estimator
from bcq_exp.ope.in_training import action_errors, fit_errors
from bcq_exp.ope.schema import EvaluationConfig
from bcq_exp.training.config import RunConfig, network_errors
from bcq_exp.training.sections import chosen_type, plain, typed_section


@dataclass(frozen=True)
class Request:
    """One checked evaluation; `estimators`, by name, is empty where episodes are played."""

    settings: EvaluationConfig
    network: NetworkConfig
    optimizer: OptimizerConfig
    estimators: Mapping[str, Estimator]


def checked_request(cfg: DictConfig) -> Request:
    """Check the configuration of an evaluation; raise ValueError with all that is wrong, a line each."""
    errors: list[str] = []
    values = plain(cfg)
    network_type = chosen_type(values, "network.kind", NETWORKS, errors)
    if not isinstance(values.get("optimizer"), dict):
        errors.append("the configuration lacks optimizer")
    _raise(errors)
    network = typed_section(values.pop("network"), network_type, "network.", errors)
    optimizer = typed_section(values.pop("optimizer"), OptimizerConfig, "optimizer.", errors)
    own = {name: {spec.name for spec in fields(schema)} for name, schema in ESTIMATORS.items()}
    estimators = {
        name: typed_section({key: values[key] for key in own[name] & {*values}}, schema, "", errors)
        for name, schema in ESTIMATORS.items()
    }
    common = {key: value for key, value in values.items() if not any(key in keys for keys in own.values())}
    settings = typed_section(common, EvaluationConfig, "", errors)
    _raise(errors)
    asked = settings.ope if isinstance(settings.ope, list) else [] if settings.ope is None else [settings.ope]
    _raise([f"ope={name} is none of {', '.join(ESTIMATORS)}" for name in asked if name not in [*ESTIMATORS]])
    if settings.select and not asked:
        errors.append(f"select=true chooses by estimates; give ope={next(iter(ESTIMATORS))}, or a list of estimators")
    if settings.video and asked:
        errors.append("video=true shows an episode that is played, and with ope none is played; leave out one of them")
    errors += device_errors(settings.device) + betas_errors(optimizer, "optimizer.")
    errors += fit_errors(network, settings.gamma, [ESTIMATORS[name] for name in asked])
    _raise(errors)
    return Request(settings, network, optimizer, {name: estimators[name] for name in asked})


def check_fit(request: Request, cfg: RunConfig) -> None:
    """Raise ValueError where an estimator is not for a run's actions, or the network not for its observations."""
    errors = network_errors(request.network, cfg.algorithm, cfg.observation_space)
    _raise(errors + action_errors(request.estimators, cfg.action_space, "ope"))


def _raise(errors: list[str]) -> None:
    """One ValueError of all errors, each once; none where there are none."""
    if errors:
        raise ValueError("\n".join(dict.fromkeys(errors)))
