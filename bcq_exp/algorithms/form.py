"""The form of an algorithm: data around pure losses.

A loss knows no parameter, no optimizer and no random generator. Networks come in as callables (a module, or a
functional call bound to stacked weights), noise and hyperparameters as tensors; a loss and metrics go out. So the same
function trains a lone policy and, under `vmap`, a whole population.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from bcq_exp.data import ReplayBuffer

UNSEEN = 0.05  # of the weight of the future, above which it is said that a target is copied too rarely

Nets = Mapping[str, Callable[..., Any]]
Tensors = Mapping[str, Tensor]
Loss = Callable[[Nets, Nets, Tensors, Tensors, Tensors], tuple[Tensor, Tensors]]
"""(nets, targets, batch, noise, hp) -> (0-d loss, 0-d metrics).

`batch` has the columns of the dataset with leading axis B, `rew` as the window (B, K) and `num_steps` (B,). `mask` and
`mask_next`, (B, A) bool, are there only where the dataset has them: no output of a network for an action that they
exclude may change a loss. `mask_next` may exclude all actions of a terminal state. `hp` are 0-d tensors.
"""
Act = Callable[[Nets, Tensors, Tensors, Tensors], dict[str, Tensor]]
"""(nets, batch, noise, hp) -> `act` in policy units, and what else a forward pass reports."""


@dataclass(frozen=True)
class Draw:
    """A random input of a loss, drawn by whoever calls it.

    Args:
        dist: standard normal, or uniform in [0, 1).
        shape: of one batch row; the drawn tensor is (B, *shape).
        clip: largest magnitude of a normal, or None.
    """

    dist: Literal["normal", "uniform"]
    shape: tuple[int, ...]
    clip: float | None = None

    def sample(self, num_rows: int, generator: torch.Generator) -> Tensor:
        """Numbers (num_rows, *shape) from a stream, on its device."""
        sample = torch.randn if self.dist == "normal" else torch.rand
        drawn = sample((num_rows, *self.shape), generator=generator, device=generator.device)
        return drawn if self.clip is None else drawn.clamp(-self.clip, self.clip)


@dataclass(frozen=True)
class Stage:
    """One gradient step, taken on the weights that the stages before it left.

    Args:
        loss: what is differentiated.
        trains: names of the networks whose optimizers step.
        noise: the loss's random inputs by name.
        every: updates between two steps (TD3's policy delay).
        start, stop: the stage is active in updates [start, stop): warm-up and pretraining.
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
        rate: the hyperparameter of the soft update, target <- rate source + (1 - rate) target; None copies whole.
        every: updates between two synchronisations; 0 keeps no copy: the target is the source itself.
    """

    source: str
    rate: str | None
    every: int

    def is_due(self, update: int) -> bool:
        """Whether the target is synchronised at the end of the given update, counted from 0."""
        return self.every > 0 and (update + 1) % self.every == 0


@dataclass(frozen=True)
class Algorithm:
    """What an engine walks: stages in order, then the targets that are due.

    Args:
        stages: one update.
        targets: slow copies by name; a loss finds them in its second argument.
        act: the policy.
        act_noise: the policy's random inputs by name.
        swept: hyperparameters that losses and policy take as tensors, so that each member may have its own.
        scalar: networks with one value a row; an output (B, 1) of theirs is taken as (B,).
        recurrent: networks that may take a state as second input and return the pair (output, state); a policy reports
            the state of the first.
        num_steps: rewards in a batch's window, K.
        fields: columns of a batch that `ReplayBuffer.window` makes on demand: `act_next`, which brings `has_act_next`.
        prepare: statistics of the dataset, computed once; they join the hyperparameters.
        statistics: names of what `prepare` returns.
    """

    stages: tuple[Stage, ...]
    targets: Mapping[str, Target]
    act: Act
    swept: frozenset[str]
    act_noise: Mapping[str, Draw] = field(default_factory=dict)
    scalar: tuple[str, ...] = ()
    recurrent: tuple[str, ...] = ()
    num_steps: int = 1
    fields: tuple[str, ...] = ()
    prepare: Callable[[ReplayBuffer, Tensors], dict[str, Tensor]] | None = None
    statistics: tuple[str, ...] = ()


def rare_copies(algorithm: Algorithm, hp: Tensors, num_updates: int) -> list[str]:
    """A sentence for the targets that are copied too rarely for the discount.

    Between two copies values learn of the rewards of one more window of steps. What lies behind n steps weighs gamma^n
    of the future: more than `UNSEEN` where n is below 3 / (1 - gamma). Soft copies are made in each update.

    Args:
        algorithm: whose targets are looked at.
        hp: its numbers, of a policy or of all members (P,), whose largest `gamma` counts. Where that is 1 the length of
            the episodes decides, which is not known here: then a target that is never copied is named alone.
        num_updates: of the whole training.
    """
    gamma = float(hp["gamma"].max()) if "gamma" in hp else 0.0
    by_period: dict[int, list[str]] = {}
    for name, target in algorithm.targets.items():
        if target.every and target.rate is None:
            by_period.setdefault(target.every, []).append(name)
    found = []
    for every, names in by_period.items():
        num_copies, num_seen = num_updates // every, math.ceil(num_updates / every) * algorithm.num_steps
        if gamma**num_seen > UNSEEN and (gamma < 1 or num_copies == 0):
            found.append(
                f"target_update_freq={every}: the target of {', '.join(names)} is copied {counted(num_copies, 'time')}"
                f" in {num_updates} updates, so values see {counted(num_seen, 'step')} ahead, and what lies behind"
                f" weighs {gamma**num_seen:.0%} with gamma={gamma:g}; give a smaller target_update_freq or more"
                " num_updates"
            )
    return found


def counted(num: int, what: str) -> str:
    """A number of things in words."""
    return f"{num} {what}" if num == 1 else f"{num} {what}s"


def check_same_program(first: Algorithm, other: Algorithm) -> None:
    """Raise ValueError where two members' algorithms differ in more than the numbers that losses take as tensors."""
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
    """A function's code and what it closes over, so that two made by the same builder can be compared."""
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    return getattr(function, "__code__", function), [_closure(cell) if callable(cell) else cell for cell in cells]
