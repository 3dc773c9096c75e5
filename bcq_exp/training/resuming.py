"""The configuration that a run goes on with: its own, and what may be typed beside `resume=DIR`."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from bcq_exp.training.identity import is_free
from bcq_exp.training.saved import allowed_modules, saved_config, saved_overrides


def resumed(run_dir: Path, cfg: DictConfig, typed: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """A run's saved configuration with the typed keys in place of its own; whether they may differ is checked later.

    Args:
        run_dir: of the run.
        cfg: the configuration that is composed of what is typed, on the defaults.
        typed: overrides, `resume=DIR` among them.

    Returns:
        The configuration, and what the run was begun with: its overrides, with the keys that were typed since.

    Raises:
        ValueError: the directory holds no run, or what is typed is no plain `key=value`.
    """
    saved = saved_config(run_dir, allow_modules=allowed_modules(cfg))
    overrides = list(saved_overrides(run_dir))
    OmegaConf.update(saved, "allow_code_change", cfg.allow_code_change, force_add=True)
    for line in typed:
        key = line.split("=", 1)[0].lstrip("+")
        if key in ("resume", "allow_modules"):
            continue
        section, _, name = key.rpartition(".")
        if "=" not in line or name not in (OmegaConf.select(saved, section) if section else saved):
            raise ValueError(f"resume goes on with the run's own configuration, which has no key {key}: drop {line}")
        OmegaConf.update(saved, key, OmegaConf.select(cfg, key), merge=False, force_add=True)
        if not is_free(key):
            overrides = [other for other in overrides if other.split("=", 1)[0] != key] + [line]
    return saved, overrides
