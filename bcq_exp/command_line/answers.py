"""Answers to words that cannot be composed: one line each, with what is allowed and the nearest of it."""

import difflib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir

# A private name of Hydra, which has no public one for its flags; pyproject.toml bounds Hydra below 1.4.
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bcq_exp.command_line.choices import choices, is_group
from bcq_exp.io.arguments import Parser
from bcq_exp.io.endings import first_line, refuse_pickles
from bcq_exp.io.source import CONF_DIR

# Words of the papers and of other code for keys that go by another name here.
SYNONYMS = {
    "tau": ("tau", "target_update_freq", "unlikely_action_threshold"),
    "threshold": ("unlikely_action_threshold",),
    "discount_factor": ("gamma",),
    "lambda": ("lmbda",),
    "target_update_freq": ("target_update_freq", "tau"),
    "unlikely_action_threshold": ("unlikely_action_threshold", "lmbda", "phi"),
}
_FULL = "HYDRA_FULL_ERROR"
_NO_NAME = "Config group override must be"  # a ValueError of Hydra's


@contextmanager
def in_one_answer(config_name: str) -> Iterator[None]:
    """End the process with one line, and code 1, where Hydra cannot compose the words of the command line.

    Words that would have it load a pickle, and flags that it does not have, are refused first.

    Hydra prints errors of its own in many lines; it raises them where the environment has HYDRA_FULL_ERROR=1. A user
    who has set it gets the traceback.

    Args:
        config_name: the file in `conf/` that the command composes.
    """
    refuse_pickles(sys.argv[1:])
    command = Path(sys.argv[0]).stem.removeprefix("bcq-")
    flags = Parser(
        f"bcq {command}",
        lister="--hydra-help",
        hint="a key has no dashes: KEY=VALUE",
        parents=[get_args_parser()],
        add_help=False,
    )
    flags.parse_args(sys.argv[1:])
    if os.environ.get(_FULL) == "1":
        yield
        return
    os.environ[_FULL] = "1"
    try:
        yield
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if not isinstance(error, HydraException | OmegaConfBaseException) and not str(error).startswith(_NO_NAME):
            raise
        raise SystemExit(f"error: {answer(error, sys.argv[1:], config_name)}") from None
    finally:
        os.environ.pop(_FULL, None)


def answer(error: Exception, words: Sequence[str], config_name: str) -> str:
    """One line for an error of Hydra's.

    Args:
        error: raised while the words were composed.
        words: of a command line, or of a job of a sweep.
        config_name: as for `in_one_answer`.
    """
    said = str(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(str(error.override), said)
    single = [each for word in words if (each := parsed(word)) and not each.is_sweep_override()]
    for each in single:
        if is_group(each.key_or_group) and each.value() is not None and not isinstance(each.value(), str):
            return f"{each.input_line}: a choice is one name; choices: {', '.join(choices(each.key_or_group))}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        return _unknown_choice(error.missing_cfg_file, error.options)
    if found := re.match(r"Could not (?:override|delete from config\.) '([^']+)'", said):
        return _unknown_key(found[1].partition("=")[0].partition("@")[0], words, config_name)
    if found := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '([^']+)'", said):
        return _sweep(found[1])
    if found := re.match(r"Could not append to config\. An item is already at '([^']+)'", said):
        return f"+{found[1]}: the key {found[1]} is there already; give it without +"
    if found := re.match(r"Error merging override (.+)", said):
        return f"{found[1]}: {first_line(error.__cause__ or error)}"
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key} cannot be resolved: {first_line(error)}"
    return ": ".join(dict.fromkeys([first_line(error), *([first_line(error.__cause__)] if error.__cause__ else [])]))


def parsed(word: str) -> Override | None:
    """An override that is typed; None for a flag, a flag's value, and what cannot be read."""
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None


def _unreadable(word: str, said: str) -> str:
    if "=" not in word and not word.startswith("~"):
        return f"{word} is no KEY=VALUE; give a value: {word}=..."
    why = next(line for line in said.splitlines() if not line.startswith(("Error parsing override", "See ")))
    key = word.partition("=")[0]
    return f"{word} cannot be read: {why}; a value with brackets, commas or spaces is quoted: \"{key}='...'\""


def _sweep(word: str) -> str:
    key, _, value = word.partition("=")
    as_list = f"; a list is {key}=[{value}]" if re.fullmatch(r"[^()\[\]]+", value) else ""
    return f"{word} is a sweep, which needs -m{as_list}"


def _unknown_choice(file: str, options: Sequence[str]) -> str:
    """That a group has no such choice, with the nearest and all that it has."""
    group, _, name = file.rpartition("/") if file.startswith("hydra/") else file.partition("/")
    known = list(options) if group.startswith("hydra/") else choices(group)
    same_end = [choice for choice in known if choice.rpartition("/")[2] == name]
    near = same_end or difflib.get_close_matches(name, known, n=2)
    return f"{group}={name}: there is no such choice; {_nearest(near)}choices: {', '.join(known)}"


def _unknown_key(key: str, words: Sequence[str], config_name: str) -> str:
    """That a key does not exist, with the nearest and all keys beside which it would stand."""
    typed = [override for word in words if (override := parsed(word)) and not override.is_sweep_override()]
    groups = {each.key_or_group: str(each.input_line) for each in typed if is_group(each.key_or_group)}
    try:
        cfg = _composed(config_name, tuple(groups.values()))
    except HydraException:
        return f"{key} is not a key of this configuration"
    section, _, name = key.rpartition(".")
    while section and OmegaConf.select(cfg, section) is None and section.rpartition(".")[0]:
        section, name = section.rpartition(".")[0], section.rpartition(".")[2]
    chosen = cfg.hydra.runtime.choices
    part = OmegaConf.select(cfg, section) if section else cfg
    if key.startswith("algorithm.optimizers"):
        from bcq_exp.training.roles import explain_unknown_role  # heavy

        return explain_unknown_role(key, str(chosen["algorithm"]))
    if section in chosen and chosen[section] is None:
        return f"{key}: no {section} is chosen; choose one: {section}=NAME, of {', '.join(choices(section))}"
    if not isinstance(part, DictConfig):
        return f"{key}: {section} has a value, and no keys; give {section}=..."
    known = [str(each) for each in part if each not in ("name", "hydra")]
    near = [word for word in SYNONYMS.get(name, ()) if word in known] or difflib.get_close_matches(name, known, n=2)
    where = f"{section}={chosen[section]}" if section in chosen else section or "the configuration"
    if not section:
        known += [group for group in chosen if group not in known and "/" not in group and "@" not in group]
        near = near or difflib.get_close_matches(name, known, n=2)
    return f"{key}: {where} has no such key; {_nearest(near)}its keys: {', '.join(known) or 'none'}"


@cache
def _composed(config_name: str, groups: tuple[str, ...]) -> DictConfig:
    """The configuration of these choices, Hydra's own included."""
    if GlobalHydra.instance().is_initialized():
        return compose(config_name, overrides=[*groups], return_hydra_config=True)
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        return compose(config_name, overrides=[*groups], return_hydra_config=True)


def _nearest(names: Sequence[str]) -> str:
    return f"nearest: {', '.join(names)}; " if names else ""
