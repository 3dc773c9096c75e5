"""The configuration that a run directory keeps, as it was composed and as it was typed."""

from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

RESTORE = "restore it from a copy, or begin the run anew in another directory"


def saved_config(run_dir: Path) -> DictConfig:
    """The configuration that a run directory keeps, unchecked.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    cfg = _saved(run_dir, "config.yaml")
    if isinstance(cfg, DictConfig) and len(cfg):
        return cfg
    raise ValueError(f"{run_dir / '.hydra' / 'config.yaml'} holds no configuration, so it was damaged; {RESTORE}")


def saved_overrides(run_dir: Path) -> tuple[str, ...]:
    """What was typed for a run when it first began; raises as `saved_config`."""
    overrides = _saved(run_dir, "overrides.yaml")
    if isinstance(overrides, ListConfig):
        return tuple(map(str, overrides))
    raise ValueError(f"{run_dir / '.hydra' / 'overrides.yaml'} holds no list, so it was damaged; {RESTORE}")


def _saved(run_dir: Path, name: str) -> DictConfig | ListConfig:
    path = run_dir / ".hydra" / name
    if not path.exists():
        raise ValueError(f"there is no {path}, so {run_dir} is no run directory")
    try:
        return OmegaConf.load(path)
    except (OmegaConfBaseException, YAMLError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise ValueError(f"{path} is damaged ({' '.join(str(error).split())}); {RESTORE}") from None
