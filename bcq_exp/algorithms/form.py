"""The form of an algorithm: data around pure losses.

A loss is a function of networks, a batch, noise and hyperparameters; it returns the loss and metrics. Networks are
callables (a module, or a functional call bound to stacked weights), all else is tensors. It holds no parameter, no
optimizer and no random generator, so the same function trains a lone policy and, under `vmap`, a whole population.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from bcq_exp.data import ReplayBuffer

UNSEEN = 0.05  # largest share of the discounted weight that may lie beyond the steps that targets have carried back

Nets = Mapping[str, Callable[..., Any]]
"""Networks by name."""
Tensors = Mapping[str, Tensor]
"""Tensors by name: the columns of a batch, noise, hyperparameters, metrics."""
Loss = Callable[[Nets, Nets, Tensors, Tensors, Tensors], tuple[Tensor, Tensors]]
"""(nets, targets, batch, noise, hp) -> (0-d loss, 0-d metrics).

`batch` has the columns of the dataset with leading axis B, `rew` as a window of K steps, (B, K), and `num_steps`, the
rewards in each window, (B,). `mask` and `mask_next`, (B, A) bool, are there only if the dataset has them; a network's
output for an action that they exclude must not change a loss. `mask_next` may exclude all actions of a terminal state.
`hp` has the hyperparameters, 0-d, and the dataset's statistics.
"""
Act = Callable[[Nets, Tensors, Tensors, Tensors], dict[str, Tensor]]
"""(nets, batch, noise, hp) -> `act` in policy units (B,) or (B, A), and other outputs that `forward` returns."""
Diagnose = Callable[[Nets, Tensors, Tensors, Tensors], dict[str, Tensor]]
"""(nets, batch, noise, hp) -> 0-d means over logged rows, by the names of `algorithms/diagnostics.py`.

`batch` has `obs`, `act` and, if the dataset has it, `mask`; where `hp` has `gamma`, `returns`, (B,): the discounted
rewards from each row on.
"""


@dataclass(frozen=True)
class Draw:
    """A random input of a loss; the caller samples it.

    Args:
        dist: standard normal, or uniform in [0, 1).
        shape: of one batch row; the drawn tensor is (B, *shape).
        clip: largest magnitude of a normal, or None.
    """

    dist: Literal["normal", "uniform"]
    shape: tuple[int, ...]
    clip: float | None = None

    def sample(self, num_rows: int, generator: torch.Generator) -> Tensor:
        """Sample (num_rows, *shape) from a random stream, on its device."""
        sample = torch.randn if self.dist == "normal" else torch.rand
        drawn = sample((num_rows, *self.shape), generator=generator, device=generator.device)
        return drawn if self.clip is None else drawn.clamp(-self.clip, self.clip)


@dataclass(frozen=True)
class Stage:
    """One gradient step, taken on the weights that the stages before it left.

    Args:
        loss: the function to differentiate.
        trains: names of the networks whose optimizers step.
        noise: the loss's random inputs by name.
        every: updates from one step to the next (TD3's policy delay).
        start, stop: the stage is active in updates [start, stop), counted from 0: pretraining and warm-up.
    """

    loss: Loss
    trains: tuple[str, ...]
    noise: Mapping[str, Draw] = field(default_factory=dict)
    every: int = 1
    start: int = 0
    stop: int | None = None

    def is_active(self, update: int) -> bool:
        """Whether this stage steps in the given update, counted from 0."""
        is_open = self.start <= update and (self.stop is None or update < self.stop)
        return is_open and (update + 1 - self.start) % self.every == 0


@dataclass(frozen=True)
class Target:
    """A slow copy of a network.

    Args:
        source: name of the network that is copied.
        rate: name of the hyperparameter in target <- rate source + (1 - rate) target; None: a hard copy.
        every: updates from one synchronisation to the next; 0: no copy, the target is the source itself.
    """

    source: str
    rate: str | None
    every: int

    def is_due(self, update: int) -> bool:
        """Whether the target is synchronised at the end of the given update, counted from 0."""
        return self.every > 0 and (update + 1) % self.every == 0


@dataclass(frozen=True)
class Algorithm:
    """An algorithm: one update is its stages in order, then the targets that are due.

    Args:
        stages: of one update.
        targets: slow copies by name; the losses' second argument.
        act: the rule of action.
        swept: names of the hyperparameters; as tensors, they may differ between the members of a population.
        act_noise: random inputs of `act` by name.
        diagnose: what evaluations log of the networks besides returns; None where there is nothing to say.
        diagnose_noise: random inputs of `diagnose` by name; it has those of `act` too.
        scalar: networks with one value a row; their output may be (B, 1), losses get (B,).
        recurrent: networks that may take a state as last input and return the pair (output, state); `forward` returns
            the state of the first.
        num_steps: rewards in a batch's window, K.
        fields: optional columns, which `ReplayBuffer.window` adds: `act_next` adds itself and `has_act_next`.
        prepare: (dataset, hyperparameters) to statistics, computed once; losses get them in `hp`.
        statistics: names of the statistics that `prepare` returns.
    """

    stages: tuple[Stage, ...]
    targets: Mapping[str, Target]
    act: Act
    swept: frozenset[str]
    act_noise: Mapping[str, Draw] = field(default_factory=dict)
    diagnose: Diagnose | None = None
    diagnose_noise: Mapping[str, Draw] = field(default_factory=dict)
    scalar: tuple[str, ...] = ()
    recurrent: tuple[str, ...] = ()
    num_steps: int = 1
    fields: tuple[str, ...] = ()
    prepare: Callable[[ReplayBuffer, Tensors], dict[str, Tensor]] | None = None
    statistics: tuple[str, ...] = ()

    @property
    def num_candidates(self) -> int:
        """Actions of a state among which the rule of action chooses, where it draws them; otherwise 1."""
        return max((math.prod(draw.shape[:-1]) for draw in self.act_noise.values()), default=1)


def slow_copy(source: str, target_update_freq: int | None) -> Target:
    """A target that is copied whole each so many updates, 0: no copy; None: a soft one, by `tau`."""
    if target_update_freq is None:
        return Target(source, rate="tau", every=1)
    return Target(source, rate=None, every=target_update_freq)


def read_numbers(swept: frozenset[str], target_update_freq: int | None) -> frozenset[str]:
    """The swept hyperparameters of an algorithm with a `slow_copy`: `tau` is one where targets are soft alone."""
    return swept if target_update_freq is None else swept - {"tau"}


def rare_copies(algorithm: Algorithm, hp: Tensors, num_updates: int) -> list[str]:
    """A sentence for each period of hard copies that is too long for the discount.

    Each copy carries rewards back by one more window of steps. Rewards beyond n steps have the share gamma^n of the
    discounted weight, which exceeds `UNSEEN` where n is below 3 / (1 - gamma). Soft targets are never too rare.

    Args:
        algorithm: with the targets.
        hp: hyperparameters of a policy, 0-d, or of all members, (P,); the largest `gamma` counts. At gamma=1 the length
            of the episodes decides, which is unknown here: then only a target that is never copied is named.
        num_updates: of the whole training.
    """
    gamma = float(hp["gamma"].max()) if "gamma" in hp else 0.0
    by_period: dict[int, list[str]] = {}
    for name, target in algorithm.targets.items():
        if target.every and target.rate is None:
            by_period.setdefault(target.every, []).append(name)
    sentences = []
    for every, names in by_period.items():
        num_copies, num_seen = num_updates // every, math.ceil(num_updates / every) * algorithm.num_steps
        if gamma**num_seen > UNSEEN and (gamma < 1 or num_copies == 0):
            sentences.append(
                f"target_update_freq={every}: the target of {', '.join(names)} is copied {counted(num_copies, 'time')}"
                f" in {num_updates} updates, so values see {counted(num_seen, 'step')} ahead, and what lies behind"
                f" weighs {gamma**num_seen:.0%} with gamma={gamma:g}; give a smaller target_update_freq or more"
                " num_updates"
            )
    return sentences


def counted(num: int, noun: str) -> str:
    """A number with its noun, in the plural but for 1."""
    return f"{num} {noun}" if num == 1 else f"{num} {noun}s"


def check_same_program(first: Algorithm, other: Algorithm) -> None:
    """Raise ValueError where two members' algorithms differ in more than the values of their hyperparameters."""
    for name in ("targets", "swept", "num_steps", "fields", "statistics", "act_noise"):
        if getattr(first, name) != getattr(other, name):
            raise ValueError(f"members differ in {name}: {getattr(first, name)} and {getattr(other, name)}")
    for ours, theirs in zip(first.stages, other.stages, strict=True):
        schedules = [(stage.trains, stage.noise, stage.every, stage.start, stage.stop) for stage in (ours, theirs)]
        if schedules[0] != schedules[1] or _closure(ours.loss) != _closure(theirs.loss):
            raise ValueError(
                f"members differ in the stage that trains {', '.join(ours.trains)}: split them into groups"
            )


def _closure(function: Callable[..., Any]) -> tuple[Any, ...]:
    """A function's code and the values that it closes over, by which functions of one builder are compared."""
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    return getattr(function, "__code__", function), [_closure(cell) if callable(cell) else cell for cell in cells]
