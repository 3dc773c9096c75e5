"""A part of a population: the members that one call updates, with all that is theirs."""

import warnings
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from bcq_exp.engine.stacked_adam import StackedAdam
from bcq_exp.engine.streams import Streams
from bcq_exp.engine.update import Given, Pattern, State, Update
from bcq_exp.policies import Policy


class Step(Protocol):
    """Makes an update of some members, at once or at `flush`."""

    def __call__(self, pattern: Pattern, state: State, given: Given) -> None:
        """Update the members whose state it is."""

    def flush(self) -> None:
        """Make the updates that wait."""


class Part:
    """Neighbouring members that are updated together. Parts share the data alone, so none waits for another.

    Args:
        members: which of the population's.
        policies: theirs.
        state: theirs, views of the population's tensors.
        streams: theirs.
        optimizer: of all members.
        metrics_of: names of the metrics of each stage.
    """

    def __init__(
        self,
        members: slice,
        policies: Sequence[Policy],
        state: State,
        streams: Streams,
        optimizer: StackedAdam,
        metrics_of: Sequence[Sequence[str]],
    ) -> None:
        self.members, self.policies, self.state, self.streams = members, policies, state, streams
        self.optimizer, self.corrections, self.metrics_of = optimizer, optimizer.corrections(members), metrics_of
        self.algorithm, self.num_updates = policies[0].algorithm, policies[0].num_updates
        self.counts = {name: 0 for names in metrics_of for name in names}  # updates that measured each metric
        self.schedulers = [policy.lr_scheduler for policy in policies if policy.lr_scheduler is not None]

    def advance(
        self, num_updates: int, step: Step, update: Update, is_over: Callable[[], bool] = lambda: False
    ) -> None:
        """Make `num_updates` updates, or fewer where `is_over` after one of them; does not wait for the device.

        Args:
            num_updates: at least 1.
            step: makes one, but for the targets that are copied whole.
            update: copies these.
            is_over: asked after each update.
        """
        with torch.no_grad():
            for _ in range(num_updates):
                self._advance_once(step, update)
                if is_over():
                    break
            step.flush()

    def _advance_once(self, step: Step, update: Update) -> None:
        (steps, soft), hard = self._pattern()
        corrections = []
        for index, is_on in enumerate(steps):
            if is_on:
                corrections.append(self.corrections[index].step())
                for name in self.metrics_of[index]:
                    self.counts[name] += 1
        step((steps, soft), self.state, Given(*self.streams.at(self.num_updates), corrections))
        if hard:  # rare, and not worth a graph of its own
            step.flush()
            for name in hard:
                update.synchronise(name, self.state)
        self.num_updates += 1
        if self.schedulers:
            with warnings.catch_warnings():  # torch cannot know that this engine steps in its optimizers' place
                warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
                for scheduler in self.schedulers:
                    scheduler.step()
            self.optimizer.read_rates(self.members)

    def _pattern(self) -> tuple[Pattern, list[str]]:
        """The pattern of the next update, and the targets that are copied whole after it."""
        steps = tuple(stage.is_active(self.num_updates) for stage in self.algorithm.stages)
        due = {name: target for name, target in self.algorithm.targets.items() if target.is_due(self.num_updates)}
        soft = tuple(name for name, target in due.items() if target.rate is not None)
        return (steps, soft), [name for name in due if name not in soft]

    def publish(self) -> None:
        """Write the counts of updates and steps to where a policy that is saved or used alone finds them."""
        self.optimizer.publish(self.members, self.corrections)
        for policy in self.policies:
            policy.num_updates = self.num_updates
