"""Gymnasium environments and the normalised score."""

import difflib
import importlib
import math
import re
import sys
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import gymnasium as gym

from bcq_exp.envs.atari import PREFIX, make_game
from bcq_exp.envs.observations import FlatObservation

EXTRAS = {  # what installs each module that environments of gymnasium import
    "mujoco": "bcq_exp[mujoco]", "Box2D": "bcq_exp[box2d]", "ale_py": "bcq_exp[atari]", "cv2": "bcq_exp[atari]",
    "jax": "gymnasium[jax]", "pygame": "gymnasium[classic-control]",
}  # fmt: skip

ENV_ID = re.compile(
    r"(?:(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):)?(?:[\w-]+/)?[\w.-]*?[\w.](?:-v\d{1,9})?", re.ASCII
)
MAX_ID = 200  # characters

gym.register("bcq_exp/Treatment-v0", "bcq_exp.envs.treatment:Treatment")  # which ends its episodes itself


def foreign_module(env_id: str) -> str | None:
    """The module that making `env_id` would import: `module` of `module:id`; None where it is imported already.

    Importing a module runs its code, so an id that was read from a file is checked here before it is made.

    Raises:
        ValueError: `env_id` is malformed.
    """
    if len(env_id) > MAX_ID or (match := ENV_ID.fullmatch(env_id)) is None:
        raise ValueError(f"environment {env_id[:MAX_ID]!r} cannot be made: it is no id: [module:][namespace/]name-vN")
    return None if match["module"] in sys.modules else match["module"]


def make_env(env_id: str, **kwargs: Any) -> gym.Env[Any, Any]:
    """Makes the environment `env_id` as registered, its time limit included; Discrete and Dict observations flattened.

    Args:
        env_id: an id of the Gymnasium registry, or `module:id` where importing `module` registers it. Games of Atari
            (`ALE/Game-v5`, `ALE/Game-ram-v5`) are those of `make_game`.
        **kwargs: arguments of the environment's constructor.

    Raises:
        ValueError: the id is malformed, unknown or retired, a package that the environment needs is not installed, or
            the environment's own code fails.
    """
    foreign_module(env_id)
    if env_id not in gym.registry and find_spec("ale_py"):
        importlib.import_module("ale_py")  # registers the Atari games
    try:
        env = make_game(env_id, **kwargs) if env_id.startswith(PREFIX) else gym.make(env_id, **kwargs)
        has_parts = isinstance(env.observation_space, gym.spaces.Discrete | gym.spaces.Dict)
        return FlatObservation(env) if has_parts else env
    except (gym.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        raise ValueError(f"environment {env_id!r} cannot be made: {what_installs(error)}") from None
    except (gym.error.Error, ImportError) as error:
        closest = [known for known in difflib.get_close_matches(env_id, gym.registry, n=4) if known != env_id]
        hint = f"closest known ids: {', '.join(closest)}" if closest else "no known id is close to it"
        if not find_spec("ale_py"):
            hint += f"; Atari games need `{_pip('ale_py')}`"
        raise ValueError(f"environment {env_id!r} cannot be made: {str(error).rstrip('.')}; {hint}") from None
    except Exception as error:
        said = " ".join(str(error).split())
        raise ValueError(f"environment {env_id!r} cannot be made: {type(error).__name__}: {said}") from error


@cache
def spaces(env_id: str) -> tuple[gym.Space[Any], gym.Space[Any]]:
    """The observation space and the action space of `env_id`.

    Raises:
        ValueError: as `make_env`.
    """
    env = make_env(env_id)
    env.close()
    return env.observation_space, env.action_space


def packages(env_id: str) -> dict[str, str]:
    """Names and versions of the packages that decide how `env_id` behaves, as `gymnasium_version` and the like."""
    env = make_env(env_id)
    module = type(env.unwrapped).__module__
    env.close()
    known = {"mujoco": "mujoco", "box2d": "Box2D", "ale_py": "ale-py"}
    names = ["gymnasium", *(package for part, package in known.items() if part in module)]
    return {f"{package}_version": version(package) for package in names}


def normalized_score(return_: float, ref_min: float | None, ref_max: float | None) -> float | None:
    """Return in per cent of the way from one reference return to another, `100 (R - ref_min) / (ref_max - ref_min)`.

    D4RL (arXiv:2004.07219, section 5), where the references are a random and an expert policy.

    Args:
        return_: undiscounted return R, in units of the environment's reward.
        ref_min: return that scores 0.
        ref_max: return that scores 100.

    Returns:
        The score, or None where the environment has no reference returns.

    Raises:
        ValueError: only one reference is given, one is not finite, or `ref_min` is not below `ref_max`.
    """
    if ref_min is None and ref_max is None:
        return None
    if ref_min is None or ref_max is None or not -math.inf < ref_min < ref_max < math.inf:
        raise ValueError(f"ref_min={ref_min}, ref_max={ref_max}: give both, ref_min below ref_max, or neither")
    return 100.0 * (return_ - ref_min) / (ref_max - ref_min)


def what_installs(error: Exception) -> str:
    """Which module `error` misses, and what installs it."""
    for missing in (error, error.__cause__):
        if isinstance(missing, ModuleNotFoundError) and missing.name:
            command = f"run `{_pip(missing.name)}`" if missing.name in EXTRAS else "install the package that has it"
            return f"the module {missing.name!r} is not installed; {command}"
    return str(error)


def _pip(module: str) -> str:
    return f"pip install '{EXTRAS[module]}'"
