"""One update of some members of a population: gradients for all of them at once, an Adam step, targets.

Shape suffixes: P members, B batch.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from bcq_exp.algorithms.form import Stage, Tensors
from bcq_exp.data import ReplayBuffer
from bcq_exp.data.buffer import window
from bcq_exp.engine.stacked_adam import Moments, StackedAdam
from bcq_exp.engine.stacking import Stack, expand
from bcq_exp.policies import Policy

Pattern = tuple[tuple[bool, ...], tuple[str, ...]]
"""Whether each stage steps in an update, and the soft targets that are due at its end."""


class Data(NamedTuple):
    """The dataset's columns by name, and the steps from each row to its episode's end, (N,)."""

    columns: dict[str, Any]
    steps_to_end: Tensor


class State(NamedTuple):
    """Everything that an update of some members reads and writes.

    Attributes:
        weights: stacked parameters and buffers of their networks.
        slow: those of their target networks.
        hp: their hyperparameters and statistics of the dataset, (P,) or (P, ...).
        sums: of their metrics since they were last read, (P,).
        failed_at_P: the first update whose loss was not finite, or -1.
        clock: the number of updates made, 0-d.
        moments: of their Adam.
    """

    weights: Tensors
    slow: Tensors
    hp: Tensors
    sums: Tensors
    failed_at_P: Tensor
    clock: Tensor
    moments: Moments


class Given(NamedTuple):
    """What is new in each update.

    Attributes:
        rows_PB: minibatches.
        noise: of each stage, (P, B, ...) by name.
        corrections: of Adam, (number, 2), of each stage that steps.
    """

    rows_PB: Tensor
    noise: Sequence[Tensors]
    corrections: Sequence[Tensor]

    def tensors(self) -> list[Tensor]:
        """All of them, in one order for each pattern."""
        return [self.rows_PB, *(tensor for group in self.noise for tensor in group.values()), *self.corrections]


class Update:
    """The update of some members, in place: each stage that steps, then the soft targets that are due.

    Args:
        policy: any member. The losses, and how they see networks, are the same for all.
        nets: the members' networks.
        slow: their target networks.
        trained: keys of the parameters that each stage trains.
        optimizer: of these.
        buffer: the dataset.
        is_lone: whether a call updates one member.
        precision: of the matrix products in losses, fp32 or bf16.
    """

    def __init__(
        self,
        policy: Policy,
        nets: Stack,
        slow: Stack,
        trained: Sequence[Sequence[str]],
        optimizer: StackedAdam,
        buffer: ReplayBuffer,
        *,
        is_lone: bool,
        precision: str,
    ) -> None:
        self.policy, self.algorithm, self.precision = policy, policy.algorithm, precision
        self.nets, self.slow, self.trained, self.optimizer = nets, slow, trained, optimizer
        self.data = Data(buffer.columns(), buffer.steps_to_end)
        batched = _for_a_lone_member if is_lone else vmap
        losses = [self._loss_of_a_member(stage) for stage in self.algorithm.stages]
        self.gradients = [batched(grad_and_value(loss, has_aux=True)) for loss in losses]

    def __call__(self, pattern: Pattern, state: State, given: Given) -> None:
        """Update the members whose state it is."""
        steps, soft = pattern
        batch, corrections = self.batch(given.rows_PB), iter(given.corrections)
        for index, is_on in enumerate(steps):
            if is_on:
                self._step(index, state, batch, given.noise[index], next(corrections))
        for name in soft:
            self.synchronise(name, state)
        state.clock.add_(1)

    def flush(self) -> None:
        """Nothing: each call updates at once."""

    def _step(self, index: int, state: State, batch: Tensors, noise: Tensors, corrections: Tensor) -> None:
        """Take a stage's gradient step, and note its metrics and losses that are not finite."""
        keys = self.trained[index]
        held = {key: tensor for key, tensor in state.weights.items() if key not in keys}
        grads, (loss_P, metrics) = self.gradients[index](
            {key: state.weights[key] for key in keys}, held, state.slow, batch, noise, state.hp
        )
        for name, value_P in metrics.items():
            state.sums[name].add_(value_P)
        failed_P = (state.failed_at_P < 0) & ~loss_P.isfinite()
        state.failed_at_P.copy_(torch.where(failed_P, state.clock, state.failed_at_P))
        self.optimizer.step(index, state.weights, grads, state.moments, corrections)

    def _loss_of_a_member(self, stage: Stage) -> Callable[..., tuple[Tensor, Any]]:
        """A stage's loss as a function of one member's tensors, those that it trains first."""
        policy, targets = self.policy, self.algorithm.targets

        def loss(trained: Tensors, held: Tensors, slow: Tensors, batch: Tensors, noise: Tensors, hp: Tensors) -> Any:
            nets = self.nets.bind({**held, **trained})
            copies = self.slow.bind(slow)
            sources = {name: copies.get(name, nets[target.source]) for name, target in targets.items()}
            online, target = (
                {name: policy.view(name, net) for name, net in group.items()} for group in (nets, sources)
            )
            with self._products():
                return stage.loss(online, target, batch, noise, hp)

        return loss

    def _products(self) -> AbstractContextManager[Any]:
        """The precision in which matrix products are computed."""
        is_bf16 = self.precision == "bf16"
        return torch.autocast(self.policy.device.type, torch.bfloat16) if is_bf16 else nullcontext()

    def batch(self, rows_PB: Tensor) -> Tensors:
        """The dataset's columns at the given rows, (P, B, ...) by name; images become floats."""
        wanted = self.algorithm.num_steps, self.algorithm.fields
        batch = window(*self.data, rows_PB.flatten(), *wanted)
        for name in ("obs", "obs_next"):
            batch[name] = batch[name].to(self.data.columns["rew"].dtype)
        return {name: column.view(*rows_PB.shape, *column.shape[1:]) for name, column in batch.items()}

    def synchronise(self, name: str, state: State) -> None:
        """Move a target towards its source, or copy it; buffers, which no optimizer trains, are copied always."""
        target = self.algorithm.targets[name]
        for path, key in self.slow.keys[name].items():
            slow, fast_key = state.slow[key], self.nets.keys[target.source][path]
            fast = state.weights[fast_key]
            is_hard = target.rate is None or fast_key not in self.nets.params
            slow.copy_(fast if is_hard else slow.lerp(fast, expand(state.hp[str(target.rate)], slow)))


def _for_a_lone_member(gradient: Callable[..., Any]) -> Callable[..., Any]:
    """The same as `vmap(gradient)` for one member, without its cost: the leading axis is removed and put back."""

    def call(*inputs: Tensors) -> tuple[Tensors, tuple[Tensor, Tensors]]:
        grads, (loss, metrics) = gradient(*({name: x[0] for name, x in tensors.items()} for tensors in inputs))
        return _with_axis(grads), (loss.unsqueeze(0), _with_axis(metrics))

    return call


def _with_axis(tensors: Mapping[str, Tensor]) -> Tensors:
    return {name: tensor.unsqueeze(0) for name, tensor in tensors.items()}
