"""What a run directory keeps of its configuration, read back: whatever lies there, nothing of it is executed."""

from collections.abc import Collection
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bcq_exp.envs.environments import foreign_module
from bcq_exp.io.plain import dereferenced, read_yaml
from bcq_exp.training.datasets import RESOLVERS
from bcq_exp.training.sections import MISSING, first_line, plain

RESTORE = "restore it from a copy, or begin the run anew in another directory"


class ModuleNotAllowed(ValueError):
    """A saved configuration's environment is in a module that nobody has allowed to be imported."""


def allowed_modules(cfg: DictConfig) -> list[str]:
    """The key `allow_modules` of what was typed; raises ValueError where it is no list of names."""
    words = plain(cfg).get("allow_modules")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"allow_modules={words} is no list of modules' names, such as [own_envs]")
    return words


def saved_config(run_dir: Path, *, allow_modules: Collection[str] | None = ()) -> DictConfig:
    """The configuration that a run directory keeps, as plain values, unchecked.

    Args:
        run_dir: it may have come from anywhere: nothing in it is resolved or executed.
        allow_modules: that its environment may be imported from, besides those that are there already; None allows
            any, for a configuration that is known to be what was typed.

    Raises:
        ModuleNotAllowed: its environment is in a module that is not allowed.
        ValueError: there is none, or it is damaged.
    """
    path = run_dir / ".hydra" / "config.yaml"
    if not path.exists():
        raise ValueError(f"there is no {path}, so {run_dir} is no run directory")
    values = dereferenced(read_yaml(path), path, RESOLVERS)
    if not isinstance(values, dict):
        raise ValueError(f"{path}: cannot be read, damaged or altered (no mapping of keys to values); {RESTORE}")
    dataset = values.get("dataset")
    env = dataset.get("env") if isinstance(dataset, dict) else None
    module = foreign_module(env) if isinstance(env, str) and env != MISSING else None
    if module is not None and allow_modules is not None and module not in allow_modules:
        raise ModuleNotAllowed(
            f"{path}: the environment {env} is made by importing the module {module}, which runs its code;"
            f" if you trust it, add 'allow_modules=[{module}]'"
        )
    try:
        return OmegaConf.create({**{str(key): value for key, value in values.items()}, "allow_modules": []})
    except (OmegaConfBaseException, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read, damaged or altered ({first_line(error)})") from None


def saved_overrides(run_dir: Path) -> tuple[str, ...]:
    """What was typed for a run, as its directory keeps it, word by word; raises ValueError where that is damaged."""
    path = run_dir / ".hydra" / "overrides.yaml"
    words = read_yaml(path)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{path}: cannot be read, damaged or altered (no list of words); {RESTORE}")
    return tuple(words)
