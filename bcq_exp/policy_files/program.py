"""A policy as a function of tensors, which exporters can trace: observations, masks and noise to actions.

Shape suffixes: B batch, A number of actions.
"""

import contextlib
import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from bcq_exp.algorithms.form import Draw
from bcq_exp.envs.observations import OneHot
from bcq_exp.policies.acting import Acting

OBS, MASK, NOISE = "obs", "mask", "noise_"  # names of inputs; the last is the beginning of those of random ones
ACTION = "action"

MEANINGS = {
    "q_value": "value of each action, discounted, in units of the rewards that were learned from",
    "logits": "the numbers that the actions are ranked by",
    "imitation_logits": "logits of the behaviour's actions, by the imitator",
    "probs": "probability of each action",
}


@dataclass(frozen=True)
class Port:
    """An input or an output of a policy file.

    Args:
        name: in the file.
        shape: of one row; the batch axis comes before it.
        dtype: of numpy.
        meaning: units and range, in words.
        example: a Python expression of an input with one row, in numpy.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    meaning: str
    example: str = ""

    def account(self) -> dict[str, Any]:
        """Its entry in a sidecar."""
        return {"name": self.name, "shape": ["batch", *self.shape], "dtype": self.dtype, "meaning": self.meaning}


class Program(nn.Module):
    """The rule of action of a policy, with its action map, without exploration.

    It holds copies of those networks alone that the rule of action calls.

    Args:
        policy: in evaluation mode, with a known Box of observations.
        has_mask: whether available actions are an input.
        noise_seed: None makes the random inputs of the rule of action inputs here; a number fixes them: each row then
            has those that `policy.seed_acting(noise_seed)` gives to one observation.

    Raises:
        ValueError: the policy is recurrent, or its observations are not one array of known shape.
    """

    def __init__(self, policy: Acting, *, has_mask: bool, noise_seed: int | None) -> None:
        super().__init__()
        space = policy.observation_space
        if not isinstance(space, gym.spaces.Box):
            raise ValueError(f"the policy's observations are {space}; only those of a Box can be exported")
        self.algorithm, self.action_map, self.view = policy.algorithm, policy.action_map, policy.view
        self.action_shape = policy.action_space.shape or ()
        self.dtype = next(iter(policy.hp.values())).dtype if policy.hp else torch.get_default_dtype()
        for name, value in policy.hp.items():
            self.register_buffer(name, value.clone())
        self.is_fixed = noise_seed is not None
        if noise_seed is not None:
            policy.seed_acting(noise_seed)
            for name, value in policy.draw(1).items():
                self.register_buffer(NOISE + name, value)
        self.inputs = inputs_of(policy, space, has_mask=has_mask, has_noise=not self.is_fixed)
        self.nets = policy.nets
        called, outputs = self._tried(self.example())
        self.nets = copy.deepcopy(nn.ModuleDict({name: policy.nets[name] for name in policy.nets if name in called}))
        self.nets.requires_grad_(False)
        self.outputs = [Port(ACTION, self.action_shape, str(outputs[ACTION].numpy().dtype), meaning_of_actions(policy))]
        self.outputs += [
            Port(name, tuple(value.shape[1:]), str(value.numpy().dtype), MEANINGS.get(name, name))
            for name, value in outputs.items()
            if name != ACTION
        ]

    def example(self, num_rows: int = 2) -> tuple[Tensor, ...]:
        """Inputs of the right shapes and types; all actions are available."""
        made = {
            port.name: torch.zeros((num_rows, *port.shape), dtype=getattr(torch, port.dtype)) for port in self.inputs
        }
        return tuple(value | True if name == MASK else value for name, value in made.items())

    @torch.no_grad()
    def _tried(self, inputs: Sequence[Tensor]) -> tuple[set[str], dict[str, Tensor]]:
        """The networks that are called for a batch, and its outputs by name, each tensor once.

        Raises:
            ValueError: a network keeps a state from step to step.
        """
        called, states = set[str](), list[str]()

        def recording(name: str, module: nn.Module) -> Callable[..., Any]:
            net = self.view(name, module)

            def call(*inputs: Tensor) -> Any:
                called.add(name)
                out = net(*inputs)
                states.extend([name] if net.state_next is not None else [])
                return out

            return call

        nets = {name: recording(name, module) for name, module in self.nets.items()}
        outputs = self._outputs(nets, *inputs)
        if states:
            raise ValueError(f"{states[0]} is recurrent: its state would be lost between two calls of the file")
        names = {id(value): name for name, value in outputs.items()}  # one tensor may have two names: the last counts
        return called, {name: value for name, value in outputs.items() if names[id(value)] == name}

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Map the `inputs`, in their order, to the `outputs`."""
        found = self._outputs({name: self.view(name, net) for name, net in self.nets.items()}, *values)
        return tuple(found[port.name] for port in self.outputs)

    def _outputs(self, nets: dict[str, Callable[..., Any]], *values: Tensor) -> dict[str, Tensor]:
        given = dict(zip((port.name for port in self.inputs), values, strict=True))
        obs = given[OBS]
        columns = {OBS: obs.to(self.dtype)} | {name: given[name] for name in (MASK,) if name in given}
        noise = {}
        for name, draw in self.algorithm.act_noise.items():
            noise[name] = (
                getattr(self, NOISE + name).expand(obs.shape[0], *draw.shape) if self.is_fixed else given[NOISE + name]
            )
        hp = {name: getattr(self, name) for name in (*self.algorithm.swept, *self.algorithm.statistics)}
        out = self.algorithm.act(nets, columns, noise, hp)
        action = self.action_map.map_tensor(out["act"].reshape(-1, *self.action_shape))
        return {ACTION: action, **{name: value for name, value in out.items() if name != "act"}}


def traced(program: Program) -> ExportedProgram:
    """The program as a graph, for any number of rows from 1 on."""
    with torch.no_grad(), quiet():
        return torch.export.export(program, program.example(), dynamic_shapes=batch_axes(program.inputs))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what torch's exporters say to those who develop them out of the logs while entered."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def batch_axes(inputs: Sequence[Port]) -> tuple[Any, ...]:
    """What torch's exporters take as `dynamic_shapes`: the first axis of each input has any length."""
    batch = torch.export.Dim("batch")
    return (tuple({0: batch} for _ in inputs),)


def inputs_of(policy: Acting, space: gym.spaces.Box, *, has_mask: bool, has_noise: bool) -> list[Port]:
    """The inputs of a policy's program."""
    is_image = space.dtype == np.uint8 and len(space.shape) > 1
    dtype = "uint8" if is_image else str(torch.get_default_dtype()).removeprefix("torch.")
    units = "bytes from 0 to 255" if is_image else f"in the units of {in_line(space)}"
    if "obs_mean" in policy.algorithm.statistics:
        units += "; standardised inside by the dataset's mean and deviation"
    ports = [Port(OBS, space.shape, dtype, f"observations as recorded, {units}", _zeros(space.shape, dtype))]
    if has_mask:
        num_actions = policy.action_map.act_dim
        meaning = "which actions are available, from the first to the last; at least one a row"
        ports.append(Port(MASK, (num_actions,), "bool", meaning, f"np.ones((1, {num_actions}), bool)"))
    if has_noise:
        ports += [noise_port(name, draw) for name, draw in policy.algorithm.act_noise.items()]
    return ports


def noise_port(name: str, draw: Draw) -> Port:
    """The input of a random number of the rule of action."""
    size, dtype = repr((1, *draw.shape)), str(torch.get_default_dtype()).removeprefix("torch.")
    if draw.dist == "uniform":
        meaning, drawn = "uniform in [0, 1)", f"np.random.default_rng().random({size})"
    else:
        meaning, drawn = "standard normal", f"np.random.default_rng().standard_normal({size})"
    if draw.clip is not None:
        meaning += f", cut to [{-draw.clip:g}, {draw.clip:g}]"
        drawn += f".clip({-draw.clip:g}, {draw.clip:g})"
    return Port(NOISE + name, draw.shape, dtype, f"random numbers, {meaning}", f'{drawn}.astype("{dtype}")')


def meaning_of_actions(policy: Acting) -> str:
    """The units and range of a policy's actions."""
    space = policy.action_space
    if isinstance(space, gym.spaces.Discrete):
        return f"one of the actions {int(space.start)} to {int(space.start + space.n) - 1}"
    return f"in the units of {in_line(space)}"


def _zeros(shape: tuple[int, ...], dtype: str) -> str:
    return f'np.zeros({(1, *shape)!r}, "{dtype}")'


def in_line(space: gym.Space[Any]) -> str:
    """A space in words, on one line."""
    words = f"{space}, one-hot vectors of {space.discrete}" if isinstance(space, OneHot) else str(space)
    return " ".join(words.split())
