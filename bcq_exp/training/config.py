"""Typed schemas of a run, and the check that every configuration passes before it is used, whatever it was read from.

Values stand in `conf/`; here are types, ranges and the rules that tie one key to another.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gymnasium as gym
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bcq_exp.algorithms import REGISTRY
from bcq_exp.algorithms.schema import AlgorithmConfig
from bcq_exp.behaviours.training import BehaviourConfig, Seeds
from bcq_exp.data.schema import DatasetConfig
from bcq_exp.data.storage import STORAGES
from bcq_exp.engine.machine import AUTO, MAX_THREADS, device_errors
from bcq_exp.engine.optim import OptimizerConfig, RoleConfig, betas_errors
from bcq_exp.engine.streams import BLOCK
from bcq_exp.fields import file_name, one_of, within
from bcq_exp.io.loggers import LOGGERS
from bcq_exp.io.loggers.form import LoggerConfig
from bcq_exp.networks import NETWORKS, NetworkConfig
from bcq_exp.ope.in_training import SECTION, Estimate, action_errors, checked_estimate
from bcq_exp.policies.actions import ActionMap
from bcq_exp.training.datasets import DATASETS, Spaces, checked_spaces, completed, dataset_errors, spaces_of
from bcq_exp.training.identity import FREE
from bcq_exp.training.roles import idle_roles, role_configs
from bcq_exp.training.sections import MISSING, Answers, chosen_type, plain, typed, typed_section


def _given(root: DictConfig, key: str) -> Any:
    """The value of a key; None where it has none, or one that cannot be resolved, which `check` reports."""
    try:
        return OmegaConf.select(root, key)
    except OmegaConfBaseException:
        return None


def _run_name(*, _root_: DictConfig) -> str:
    """A name for a run's directory, which Hydra makes before the configuration is checked: it stays in its folder."""
    return file_name(
        "{}-{}-seed{}".format(*(_given(_root_, key) for key in ("algorithm.name", "dataset.name", "seed"))), 200
    )


OmegaConf.register_new_resolver("run_dir", lambda fresh, *, _root_: _given(_root_, "resume") or fresh, replace=True)
OmegaConf.register_new_resolver("run_name", _run_name, replace=True)
OmegaConf.register_new_resolver("file_name", file_name, replace=True)
OmegaConf.register_new_resolver(
    "collect_dir", lambda behaviour: f"outputs/collect/{file_name(behaviour)}" if behaviour else ".", replace=True
)

# Free keys by which no directory is named, so that the same command goes on there whatever they say.
UNNAMED = FREE - {"dataset.path"}
# Keys of sweepers that only make a sweep longer, or split it.
EXTENDING = frozenset({"hydra.sweeper.num_trials", "hydra.sweeper.max_batch_size", "hydra.sweeper.storage"})


def digest(content: Any) -> str:
    """The identity of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sweep_hash(overrides: ListConfig, of_hydra: Sequence[str] = ()) -> str:
    """The same for the same sweep, in whatever order it is typed.

    Of Hydra's own keys only those count that decide what a sweeper searches, and how.
    """
    own = [line for line in of_hydra if line.startswith("hydra.sweeper.") and line.split("=")[0] not in EXTENDING]
    return digest(sorted([*(line for line in overrides if line.split("=")[0] not in UNNAMED), *own]))[:8]


def _config_hash(*, _root_: DictConfig) -> str:
    """The same for the same run, whatever its number in a sweep."""
    keys = [str(key) for key in _root_ if key not in ("hydra", *UNNAMED)]
    task = {key: MISSING if OmegaConf.is_missing(_root_, key) else _root_[key] for key in keys}
    values = {key: OmegaConf.to_container(v, resolve=True) if OmegaConf.is_config(v) else v for key, v in task.items()}
    return digest(values)[:8]


OmegaConf.register_new_resolver("sweep_hash", _sweep_hash, replace=True, use_cache=True)
OmegaConf.register_new_resolver("config_hash", _config_hash, replace=True)


@dataclass(kw_only=True)
class ScheduleConfig:
    """The run-level keys; periods and `num_updates` count updates."""

    seed: int = within(0)
    device: str
    storage: str = one_of(*STORAGES)
    num_threads: int | str = within(1, MAX_THREADS, words=(AUTO,))
    compile: str = one_of("auto", "always", "never")
    precision: str = one_of("fp32", "tf32", "bf16")
    updates_per_launch: int | str = within(1, BLOCK, words=(AUTO,))
    num_updates: int = within(1)
    batch_size: int = within(1)
    eval_freq: int = within(1)
    eval_episodes: int = within(1)
    eval_max_steps: int = within(1)
    log_freq: int = within(1)
    checkpoint_freq: int = within(1)
    num_checkpoints: int = within(1)
    resume: str | None
    allow_code_change: bool
    allow_modules: list[str]


@dataclass(frozen=True)
class RunConfig:
    """One checked experiment."""

    algorithm: AlgorithmConfig
    network: NetworkConfig
    dataset: DatasetConfig
    optimizer: OptimizerConfig
    roles: Mapping[str, RoleConfig]
    logger: LoggerConfig
    schedule: ScheduleConfig
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    estimate: Estimate | None

    def optimizer_of(self, role: str | None) -> OptimizerConfig:
        """The optimizer of a role's networks; of all where the algorithm has no roles."""
        return self.optimizer if role is None else self.optimizer.of_role(self.roles[role])


def check(cfg: DictConfig, known_spaces: Spaces | None = None) -> RunConfig:
    """The typed configuration; arguments and errors as for `checked`."""
    return checked(plain(cfg), Answers(), is_here=True, known_spaces=known_spaces)


def checked(
    values: Mapping[str, Any], answers: Answers, *, is_here: bool, known_spaces: Spaces | None = None
) -> RunConfig:
    """The typed configuration.

    Args:
        values: as `plain` returns them.
        answers: of the configurations that were checked before; equal sections are one object.
        is_here: whether it will run on this machine, so that its device must be there.
        known_spaces: of a dataset without environment, which is then not read.

    Raises:
        ValueError: with all that is wrong, a line each: unknown, missing and mistyped keys, numbers out of range, and
            combinations that cannot mean what they say.
    """
    errors: list[str] = []
    sections = {key for key, section in values.items() if isinstance(section, dict)}
    if lacking := {"algorithm", "network", "dataset", "optimizer", "logger"} - sections:
        raise ValueError(f"the configuration lacks {', '.join(sorted(lacking))}")
    algorithms = {name: entry.config for name, entry in REGISTRY.items()}
    algorithm_type = chosen_type(values, "algorithm.name", algorithms, errors)
    network_type = chosen_type(values, "network.kind", NETWORKS, errors)
    dataset_type = chosen_type(values, "dataset.format", DATASETS, errors)
    logger_type = chosen_type(values, "logger.name", LOGGERS, errors)
    if errors:
        raise ValueError("\n".join(errors))
    parts: dict[str, Any] = {}
    algorithm = dict(values["algorithm"])
    roles, found = answers.of(role_configs, algorithm.pop("optimizers", MISSING), algorithm["name"])
    errors += found
    for section, schema in {
        "algorithm": algorithm_type,
        "network": network_type,
        "dataset": dataset_type,
        "optimizer": OptimizerConfig,
        "logger": logger_type,
    }.items():
        given = algorithm if section == "algorithm" else values[section]
        given = answers.of(completed, given) if section == "dataset" else given
        parts[section], found = answers.of(typed, given, schema, f"{section}.")
        errors += found
    parts["estimate"], found = answers.of(checked_estimate, values.get(SECTION))
    errors += found
    top = {key: value for key, value in values.items() if key not in (*parts, SECTION)}
    parts["schedule"], found = answers.of(typed, top, ScheduleConfig, "")
    if errors := errors + found:
        raise ValueError("\n".join(errors))
    errors += answers.of(dataset_errors, parts["dataset"]) + betas_errors(parts["optimizer"], "optimizer.")
    errors += parts["logger"].errors()
    found_spaces = known_spaces
    if known_spaces is None and (parts["dataset"].env is not None or not errors):
        found_spaces, found = answers.of(spaces_of, parts["dataset"])
        errors += found
    errors += device_errors(parts["schedule"].device) if is_here else []
    if found_spaces is not None:
        errors += _contradictions(parts["algorithm"], parts["schedule"], found_spaces[1])
        errors += network_errors(parts["network"], parts["algorithm"], found_spaces[0])
        errors += REGISTRY[parts["algorithm"].name].network_errors(parts["algorithm"], parts["network"])
        errors += parts["dataset"].observation_errors(found_spaces[0])
        errors += estimate_errors(parts["estimate"], parts["algorithm"], *found_spaces)
    if found_spaces is not None and not errors:
        errors += idle_roles(parts["algorithm"], roles, *found_spaces)
    if found_spaces is None or errors:
        raise ValueError("\n".join(errors))
    return RunConfig(**parts, roles=roles, observation_space=found_spaces[0], action_space=found_spaces[1])


def checked_training(cfg: DictConfig) -> tuple[BehaviourConfig, Seeds]:
    """The typed section `behaviour` and the seeds of an agent's training; raises ValueError as `check`."""
    errors: list[str] = []
    values = plain(cfg)
    section = values.get("behaviour")
    if not isinstance(section, dict):
        raise ValueError(f"behaviour={section} is no mapping of keys to values")
    training = typed_section(section, BehaviourConfig, "behaviour.", errors)
    own = {spec.name: values.get(spec.name, MISSING) for spec in fields(Seeds)}
    seeds = typed_section(own, Seeds, "", errors)
    if training is not None and not errors:
        checked_spaces(training.env, errors)
    if errors:
        raise ValueError("\n".join(errors))
    return training, seeds


def _contradictions(algorithm: AlgorithmConfig, schedule: ScheduleConfig, action_space: gym.Space[Any]) -> list[str]:
    """Combinations of keys that cannot mean what they say."""
    errors = []
    is_discrete = REGISTRY[algorithm.name].is_discrete
    if is_discrete != isinstance(action_space, gym.spaces.Discrete):
        kinds = [name for name, entry in REGISTRY.items() if entry.is_discrete != is_discrete]
        errors.append(
            f"algorithm={algorithm.name} is for {'discrete' if is_discrete else 'continuous'} actions, not"
            f" {action_space}; choose one of {', '.join(kinds)}"
        )
    else:
        try:
            ActionMap(action_space, **algorithm.action_rule)
        except ValueError as error:
            errors.append(f"algorithm.{error}")
    errors += [f"algorithm.{line}" for line in algorithm.contradictions()]
    is_on_gpu = schedule.device.partition(":")[0] == "cuda"
    if schedule.precision == "tf32" and not is_on_gpu:
        errors.append(f"precision=tf32 is of GPUs (device=cuda), not of device={schedule.device}; give fp32 or bf16")
    if schedule.updates_per_launch not in (AUTO, 1) and not is_on_gpu:
        errors.append(
            f"updates_per_launch={schedule.updates_per_launch} is for device=cuda, not device={schedule.device}; give"
            " auto"
        )
    if schedule.storage == "mmap" and schedule.device != "cpu":
        errors.append(f"storage=mmap is for device=cpu, not device={schedule.device}; give storage=memory")
    return errors


def estimate_errors(
    estimate: Estimate | None, algorithm: AlgorithmConfig, observations: gym.Space[Any], actions: gym.Space[Any]
) -> list[str]:
    """Why returns cannot be estimated from such observations and actions."""
    if estimate is None:
        return []
    misfits = [f"{SECTION}.{line}" for line in network_errors(estimate.network, algorithm, observations)]
    return misfits + action_errors({estimate.name: estimate.estimator}, actions, SECTION)


def network_errors(network: NetworkConfig, algorithm: AlgorithmConfig, space: gym.Space[Any]) -> list[str]:
    """Why the network cannot serve the algorithm or take the observations."""
    chosen, is_discrete = f"network={network.name}", REGISTRY[algorithm.name].is_discrete
    fitting = [
        kind for kind, schema in NETWORKS.items() if schema.fits(space) and (is_discrete or schema.is_for_continuous)
    ]
    remedy = f"; choose network={' or '.join(fitting)}" if fitting else ""
    errors = []
    if not is_discrete and not network.is_for_continuous:
        errors.append(f"{chosen} is for discrete actions, algorithm={algorithm.name} for continuous ones{remedy}")
    if not network.fits(space):
        errors.append(f"{chosen} takes {network.observations}, not {space}{remedy}")
    return errors
