"""The configuration of a resumed run: its own, with the keys that are typed beside `resume=DIR`."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from bcq_exp.training.directories import check_code
from bcq_exp.training.identity import FREE, is_free
from bcq_exp.training.saved import allowed_modules, saved_config, saved_overrides


def resumed(run_dir: Path, cfg: DictConfig, typed: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """Replace keys of a run's saved configuration by the typed ones; whether they may differ is checked later.

    Args:
        run_dir: the run directory.
        cfg: the composition of `typed` on the defaults.
        typed: overrides, `resume=DIR` among them. `+key=value` sets a key that the saved configuration has and the
            defaults lack, such as one of its logger's.

    Returns:
        The configuration, and its overrides: those that the run began with and those typed since.

    Raises:
        ValueError: the directory holds no run, or one that other code began, or a word is no `key=value` of a key that
            the run has.
    """
    saved = saved_config(run_dir, allow_modules=allowed_modules(cfg))
    overrides = list(saved_overrides(run_dir))
    if not cfg.allow_code_change:
        check_code(run_dir)  # before the configuration, which may lack keys that the code has now
    OmegaConf.update(saved, "allow_code_change", cfg.allow_code_change, force_add=True)
    for key in sorted(FREE - set(map(str, saved))):  # came since; they change no result
        if key in cfg:
            OmegaConf.update(saved, key, cfg[key], force_add=True)
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
