"""Behaviour agents whose weights ship with the package, and the noise that makes demonstrations of them imperfect."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Protocol, Self

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.numpy import load, save

from bcq_exp.io.files import write_bytes, write_json
from bcq_exp.networks.nature_cnn import CONVOLUTIONS

Array = NDArray[Any]
Layer = tuple[Array, Array]  # weight (out, in), of a convolution (out, in, K, K), and bias (out,), all float32

SHIPPED: Traversable = files("bcq_exp") / "behaviours" / "shipped"
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh}


@dataclass(frozen=True, eq=False)
class Behaviour:
    """A multilayer perceptron that acts greedily, on images behind the convolutions of doi:10.1038/nature14236.

    Discrete actions are the argmax of the outputs; continuous ones are their tanh, stretched to the action bounds.

    Args:
        name: of the agent.
        env: Gymnasium id of the environment that it was trained in.
        layers: from the observation to the outputs.
        activation: between layers, a key of `ACTIVATIONS`.
        bounds: lowest and highest continuous action, (2, A) float32; None for discrete actions.
        sha256: of the weights' file.
    """

    name: str
    env: str
    layers: Sequence[Layer]
    activation: str
    bounds: Array | None
    sha256: str

    @classmethod
    def load(cls, name: str, folder: Traversable = SHIPPED) -> Self:
        """Loads `{name}.safetensors` and the description `{name}.json` beside it.

        Args:
            name: of an agent in `folder`, or a path with a slash, without an ending: `outputs/collect/hopper/mine`.
            folder: of the agents that ship.

        Raises:
            ValueError: there is no such agent, or the weights do not match the description's sha256.
        """
        if "/" in name:
            folder, name = Path(name).parent, Path(name).name
        try:
            weights = (folder / f"{name}.safetensors").read_bytes()
            description = json.loads((folder / f"{name}.json").read_text())
        except FileNotFoundError:
            known = sorted(file.name.removesuffix(".json") for file in SHIPPED.iterdir() if file.name.endswith(".json"))
            raise ValueError(
                f"behaviour={name!r} is unknown in {folder}; choose one of {', '.join(known)}, or the path of another"
            ) from None
        except ValueError as error:
            raise ValueError(f"{folder / name}.json is damaged ({error}); train the agent again") from None
        if (sha256 := hashlib.sha256(weights).hexdigest()) != description["sha256"]:
            raise ValueError(
                f"{folder / name}.safetensors: sha256 is {sha256}, {name}.json says {description['sha256']}; "
                "install the package anew"
            )
        tensors = load(weights)
        bounds = description["action_bounds"]
        return cls(
            name=name,
            env=description["env"],
            layers=[(tensors[f"layers.{i}.weight"], tensors[f"layers.{i}.bias"]) for i in range(len(tensors) // 2)],
            activation=description["activation"],
            bounds=None if bounds is None else np.asarray(bounds, np.float32),
            sha256=sha256,
        )

    def act(self, obs: Array) -> Array:
        """Greedy actions, (B,) int64 or (B, A) float32 in the environment's units, for observations (B, *S)."""
        x: Array = obs.astype(np.float32)
        if x.ndim == 4:
            x = self._convolved(x / 255)
        layers = [layer for layer in self.layers if layer[0].ndim == 2]
        for weight, bias in layers[:-1]:
            x = ACTIVATIONS[self.activation](x @ weight.T + bias)
        weight, bias = layers[-1]
        x = x @ weight.T + bias
        if self.bounds is None:
            return np.asarray(x.argmax(axis=1))
        low, high = self.bounds
        return np.asarray(low + (np.tanh(x) + 1) / 2 * (high - low))

    def _convolved(self, images: Array) -> Array:
        """The outputs (B, F) of the convolutions for images (B, C, H, W)."""
        x, convolutions = torch.from_numpy(images), [layer for layer in self.layers if layer[0].ndim == 4]
        for (weight, bias), (_, _, stride) in zip(convolutions, CONVOLUTIONS, strict=True):
            x = F.conv2d(x, torch.from_numpy(weight), torch.from_numpy(bias), stride).relu()
        return x.flatten(1).numpy()


def write_behaviour(name: str, folder: Path, layers: Sequence[Layer], description: Mapping[str, Any]) -> None:
    """Writes an agent for `Behaviour.load`; the layers' sizes and the weights' sha256 are added to the description."""
    tensors = {f"layers.{i}.weight": weight for i, (weight, _) in enumerate(layers)}
    tensors |= {f"layers.{i}.bias": bias for i, (_, bias) in enumerate(layers)}
    weights = save(tensors)
    sizes = [layers[0][0].shape[1], *(len(bias) for _, bias in layers)]
    written = {**description, "layer_sizes": sizes, "sha256": hashlib.sha256(weights).hexdigest()}
    write_bytes(folder / f"{name}.safetensors", weights)
    write_json(folder / f"{name}.json", written)  # last: its presence says that the agent is complete


class Noise(Protocol):
    """Turns an agent's greedy actions into those of an imperfect demonstration."""

    def begin(self, space: gym.Space[Any], rng: np.random.Generator) -> Callable[[Array], Array]:
        """Begins an episode: returns a function from its greedy actions to the actions that are taken.

        Raises:
            ValueError: the noise does not suit the action space.
        """


@dataclass(frozen=True)
class EpisodeEpsilon:
    """Epsilon-greedy discrete actions, epsilon being drawn for each episode (arXiv:1910.01708).

    Args:
        probability: that an episode's epsilon is `low`, in [0, 1].
        low: probability of a uniformly random action, in [0, 1].
        high: the same in the other episodes, in [0, 1].
    """

    probability: float
    low: float
    high: float

    def __post_init__(self) -> None:
        for key in ("probability", "low", "high"):
            _check_number(key, getattr(self, key), 1)

    def begin(self, space: gym.Space[Any], rng: np.random.Generator) -> Callable[[Array], Array]:
        """See `Noise.begin`."""
        if not isinstance(space, gym.spaces.Discrete):
            raise ValueError(f"noise=episode_epsilon is for discrete actions; the environment's are {space}")
        epsilon = self.low if rng.random() < self.probability else self.high
        return lambda act: np.asarray(rng.integers(space.n)) if rng.random() < epsilon else act


@dataclass(frozen=True)
class RandomOrGaussian:
    """Continuous actions that are uniformly random now and then, else Gaussian around the agent's (arXiv:1812.02900).

    Args:
        random_probability: of a uniformly random action in each step, in [0, 1].
        std: deviation of the noise on the other actions, where the action bounds are -1 and 1; at least 0.
    """

    random_probability: float
    std: float

    def __post_init__(self) -> None:
        _check_number("random_probability", self.random_probability, 1)
        _check_number("std", self.std, math.inf)

    def begin(self, space: gym.Space[Any], rng: np.random.Generator) -> Callable[[Array], Array]:
        """See `Noise.begin`."""
        if not isinstance(space, gym.spaces.Box) or not space.is_bounded():
            raise ValueError(
                f"noise=random_or_gaussian is for bounded continuous actions; the environment's are {space}"
            )
        low, high = space.low, space.high
        std = self.std * (high - low) / 2

        def perturb(act: Array) -> Array:
            if rng.random() < self.random_probability:
                return rng.uniform(low, high).astype(np.float32)
            return np.clip(rng.normal(act, std), low, high).astype(np.float32)

        return perturb


@dataclass(frozen=True)
class NoNoise:
    """The agent's own actions."""

    def begin(self, space: gym.Space[Any], rng: np.random.Generator) -> Callable[[Array], Array]:
        """See `Noise.begin`."""
        return lambda act: act


NOISES: dict[str, type[EpisodeEpsilon] | type[RandomOrGaussian] | type[NoNoise]] = {
    "none": NoNoise,
    "episode_epsilon": EpisodeEpsilon,
    "random_or_gaussian": RandomOrGaussian,
}


def make_noise(name: str, **numbers: float) -> Noise:
    """Makes the noise called `name`, a key of `NOISES`, of its numbers.

    Raises:
        ValueError: the name is unknown, or a number is missing, unknown or out of its range.
    """
    if name not in NOISES:
        raise ValueError(f"noise.name={name!r} is unknown; choose one of {', '.join(NOISES)}")
    expected = [field.name for field in fields(NOISES[name])]
    if sorted(numbers) != sorted(expected):
        raise ValueError(f"noise={name} has the numbers {', '.join(numbers)}; needed: {', '.join(expected)}")
    return NOISES[name](**numbers)


def _check_number(key: str, value: float, high: float) -> None:
    if not 0 <= value <= high:
        raise ValueError(f"noise.{key}={value}; allowed: [0, {high:g}]")
