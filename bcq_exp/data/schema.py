"""Schema of a dataset: the keys that every kind has, and what a kind says and does.

A kind is one class, beside what reads it; `bcq_exp.training.datasets.DATASETS` lists them.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import gymnasium as gym

from bcq_exp.data.growth import Growth
from bcq_exp.data.recorded_spaces import MOST_ACTIONS, recorded_spaces
from bcq_exp.data.transitions import Transitions
from bcq_exp.envs.environments import normalized_score
from bcq_exp.fields import is_number, named, within

LARGEST = (2 - 2**-23) * 2.0**127  # of float32, which actions have


@dataclass(kw_only=True)
class DatasetConfig(ABC):
    """A dataset; the keys from `fraction` on are those of `conf/preprocessing`."""

    is_reward_clipped: ClassVar[bool] = False  # in the recording: its returns are in other units than evaluation's
    file_keys: ClassVar[tuple[str, ...]] = ("path",)  # name files, which may be relative to where a command is given
    later_keys: ClassVar[Mapping[str, Any]] = {  # that older runs lack, with their values
        "return_range": None, "num_actions": None, "action_low": None, "action_high": None, "holdout": 0.0,
        "holdout_seed": 0,
    }  # fmt: skip

    name: str = named()
    format: str
    env: str | None
    num_actions: int | None = within(1, MOST_ACTIONS)
    action_low: Any
    action_high: Any
    ref_min: float | None
    ref_max: float | None
    holdout: float = within(0, 1)
    holdout_seed: int = within(0)
    fraction: float = within(0, 1, is_low_open=True)
    fraction_seed: int = within(0)
    top_return_fraction: float = within(0, 1, is_low_open=True)
    reward_clip: tuple[float, float] | None
    reward_scale: float = within(0, is_low_open=True)
    return_range: float | None = within(0, is_low_open=True)
    reward_shift: float = within(-math.inf)
    normalize_obs: bool
    obs_eps: float = within(0, is_low_open=True)

    @classmethod
    def facts(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """Values for keys that a section leaves null, from the dataset's own metadata.

        Args:
            section: the plain values of `dataset`, not checked yet; a key without a value has None.

        Raises:
            ValueError: there is no such dataset, or its metadata are damaged.
            OSError: they cannot be read.
        """
        return {}

    def fetch(self) -> None:
        """Bring the files of the dataset onto this machine, where it is a downloaded one.

        Raises:
            ValueError: a file is not there and cannot be downloaded.
        """
        return

    @abstractmethod
    def read(self, *, allow_code_change: bool = False) -> Transitions:
        """Read the dataset as it was recorded, without preprocessing.

        Args:
            allow_code_change: whether a recording that other code began may go on.

        Raises:
            ValueError: it is damaged, holds bad values, or cannot be recorded.
            FileNotFoundError: there is no such dataset.
        """

    def sections(self) -> dict[str, tuple[Mapping[str, Any], type[Any]]]:
        """Sections inside this one, by key, each with the schema that its values are checked against."""
        return {}

    def errors(self) -> list[str]:
        """A sentence for each thing that is wrong with values which are of the right types and in their ranges."""
        errors, clip = raised(lambda: normalized_score(0, self.ref_min, self.ref_max)), self.reward_clip
        if clip is not None and not (len(clip) == 2 and all(map(math.isfinite, clip)) and clip[0] < clip[1]):
            errors.append(f"reward_clip={list(clip)}; allowed: null, or two finite numbers, the lower one first")
        if self.holdout == 1:
            errors.append("holdout=1 leaves nothing to learn from; allowed: 0 to less than 1")
        return errors + (self._errors_in_env() if self.env is not None else self._errors_without_env())

    def _errors_in_env(self) -> list[str]:
        keys = ("num_actions", "action_low", "action_high")
        return [
            f"{key}={value} is of a dataset without environment, and {self.env} says which actions there are; give null"
            for key in keys
            if (value := getattr(self, key)) is not None
        ]

    def _errors_without_env(self) -> list[str]:
        errors = [
            f"{key}={value} is a return in an environment, and env=null plays in none; give null"
            for key in ("ref_min", "ref_max")
            if (value := getattr(self, key)) is not None
        ]
        for key in ("action_low", "action_high"):
            value = getattr(self, key)
            numbers = value if isinstance(value, list) else [] if value is None else [value]
            if value == [] or not all(is_number(number, float) and abs(number) <= LARGEST for number in numbers):
                errors.append(f"{key}={value}; allowed: null, a finite number, or a list of them, one a dimension")
        return errors

    def spaces(self, transitions: Transitions) -> tuple[gym.Space[Any], gym.Space[Any]]:
        """The observation and the action space of a dataset without environment; see `recorded_spaces`."""
        return recorded_spaces(transitions, num_actions=self.num_actions, low=self.action_low, high=self.action_high)

    def observation_errors(self, space: gym.Space[Any]) -> list[str]:
        """A sentence where observations cannot be preprocessed as the keys say."""
        if not self.normalize_obs or (isinstance(space, gym.spaces.Box) and len(space.shape) == 1):
            return []
        return [
            f"dataset.normalize_obs=true is for observations of one axis, not {space};"
            " give dataset.normalize_obs=false: networks on images scale bytes themselves"
        ]

    @property
    def recording(self) -> dict[str, Any]:
        """The keys that decide what `read` returns: those of the kind, `format` and `env`."""
        others = {spec.name for spec in fields(DatasetConfig)} - {"format", "env"}
        return {key: value for key, value in asdict(self).items() if key not in others}

    @property
    def judged(self) -> dict[str, Any]:
        """The keys that decide on which episodes policies are judged: those held out, or all."""
        seed = self.holdout_seed if self.holdout else None
        return {**self.recording, "holdout": self.holdout, "holdout_seed": seed}

    @property
    def growth(self) -> Growth | None:
        """How the dataset grows while it is learned from; None where all rows are there from the beginning."""
        return None

    def account(self, transitions: Transitions) -> dict[str, Any]:
        """How the dataset came about, where that is known.

        Args:
            transitions: what `read` returned.
        """
        return {}


def raised(call: Callable[[], object]) -> list[str]:
    """The message of the error that a call raises for its values; none where it raises none."""
    try:
        call()
    except (TypeError, ValueError) as error:
        return [str(error)]
    return []


def text_of(section: Mapping[str, Any], key: str) -> str | None:
    """The text under a key of a section `dataset`, or None; raises ValueError for a value of another type."""
    value = section.get(key)
    if not isinstance(value, str | None):
        raise ValueError(f"dataset.{key}={value} is no text")
    return value


def required_text(section: Mapping[str, Any], key: str, example: str) -> str:
    """The text under a key; raises ValueError with an example where there is none, or a value of another type."""
    value = text_of(section, key)
    if value is None:
        raise ValueError(f"dataset.{key} has no value; give one: dataset.{key}={example}")
    return value
