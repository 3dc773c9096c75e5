"""P policies of one shape as one batched program over one copy of the dataset; a single run is a population of one.

Shape suffixes: P members, B batch.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from bcq_exp.algorithms.form import check_same_program
from bcq_exp.data import ReplayBuffer
from bcq_exp.data.growth import Growth
from bcq_exp.engine.compiled import CompiledUpdate
from bcq_exp.engine.stacked_adam import StackedAdam
from bcq_exp.engine.stacking import Stack, stack
from bcq_exp.engine.streams import Streams
from bcq_exp.engine.update import Part, Pattern, Update
from bcq_exp.policies import Policy

# Largest total size of weights that one call updates on a CPU. Milliseconds an update and member on two cores: 16
# discrete members 0.51 in parts of 4 or 8, 0.70 at once; 4 continuous ones 14.8 one by one, 17.3 at once.
CACHED_BYTES = 4 * 2**20


class Population:
    """Trains policies together; each keeps its own weights, numbers, random streams and optimizer state.

    The policies' parameters, targets, numbers and Adam moments become views of the stacked tensors: a policy that is
    evaluated, saved or used alone holds what its member has learned.

    Args:
        policies: of one algorithm and one shape; they may differ in the numbers in their buffers, in learning rate and
            in weight decay.
        buffer: the dataset.
        samplers: each member's stream of minibatch rows, on the buffer's device.
        batch_size: rows of a member's minibatch.
        is_compiled: run the update as one compiled graph for each pattern of active stages.
        precision: of the matrix products in losses; weights, optimizer and the last layer's outputs stay in full.
        growth: of the dataset during training; None where it is whole from the beginning.

    Raises:
        ValueError: the members cannot share one program, or the algorithm cannot use the dataset.
    """

    def __init__(
        self,
        policies: Sequence[Policy],
        buffer: ReplayBuffer,
        samplers: Sequence[torch.Generator],
        *,
        batch_size: int,
        is_compiled: bool,
        precision: str,
        growth: Growth | None,
    ) -> None:
        self.policies, self.buffer = list(policies), buffer
        self.algorithm, self.device = self.policies[0].algorithm, self.policies[0].device
        for policy in self.policies:
            check_same_program(self.algorithm, policy.algorithm)
            policy.prepare(buffer)
        rows = torch.zeros(2, dtype=torch.int64, device=buffer.device)
        window = buffer.window(rows, self.algorithm.num_steps, self.algorithm.fields)
        self.metrics_of = self.policies[0].metric_names(window)
        self.metric_names = list(dict.fromkeys(name for names in self.metrics_of for name in names))
        self.sums = {name: torch.zeros(len(self.policies), device=self.device) for name in self.metric_names}
        self.counts = dict.fromkeys(self.metric_names, 0)
        self.failed_at_P = torch.full((len(self.policies),), -1, device=self.device)
        self.is_compiled, self.precision = is_compiled, precision
        self._adopt()
        self.streams = Streams(
            samplers,
            [policy.learning_noise for policy in self.policies],
            self.algorithm.stages,
            num_rows=len(buffer),
            batch_size=batch_size,
            growth=growth,
        )

    # ------------------------------------------------------------------ what the members hold

    def _adopt(self) -> None:
        """Stack the policies' tensors, leave them views of the stacks, and make the update of these."""
        self.num_updates = self.policies[0].num_updates
        self.nets = Stack([dict(policy.nets.items()) for policy in self.policies])
        self.slow = Stack([dict(policy.targets.items()) for policy in self.policies])
        self.hp = {
            name: stack([getattr(policy, name) for policy in self.policies])
            for name in (*sorted(self.algorithm.swept), *self.algorithm.statistics)
        }
        trained = [self.nets.trained(stage.trains) for stage in self.algorithm.stages]
        owners = {key: self.nets.owner(key) for keys in trained for key in keys}
        self.optimizer = StackedAdam(
            trained,
            {key: [p.nets[name].get_parameter(path) for p in self.policies] for key, (name, path) in owners.items()},
            {key: [policy.optimizers[name] for policy in self.policies] for key, (name, _) in owners.items()},
        )
        size = self._members_at_once()
        self.parts = [self._part(slice(start, start + size)) for start in range(0, len(self.policies), size)]
        self.update = Update(
            self.policies[0],
            self.nets,
            self.slow,
            trained,
            self.buffer,
            is_lone=size == 1,
            precision=self.precision,
        )
        self.compiled = CompiledUpdate(self.update, self.parts, self.device) if self.is_compiled else None
        self._step = self.compiled or self.update

    def _members_at_once(self) -> int:
        """Members that one call updates: all on an accelerator; on a CPU as many as stay in its cache, and one with
        convolutions, which are 15 to 30 % slower together. Parts are of one size, since they share a graph.
        """
        num_members, nets = len(self.policies), self.policies[0].nets
        if self.device.type != "cpu":
            return num_members
        if any(isinstance(module, nn.Conv2d) for module in nets.modules()):
            return 1
        most = CACHED_BYTES // sum(param.nbytes for param in nets.parameters())
        return max(size for size in range(1, num_members + 1) if num_members % size == 0 and size <= max(1, most))

    def _part(self, members: slice) -> Part:
        groups = (self.nets.tensors, self.slow.tensors, self.hp, self.sums)
        weights, slow, hp, sums = ({key: tensor[members] for key, tensor in group.items()} for group in groups)
        clock = torch.tensor(self.num_updates, device=self.device)
        return Part(members, weights, slow, hp, sums, self.failed_at_P[members], clock, self.optimizer.part(members))

    @property
    def compile_seconds(self) -> float:
        """Seconds that compiling has taken."""
        return self.compiled.seconds if self.compiled else 0.0

    # ------------------------------------------------------------------ many updates

    def advance(self, num_updates: int, is_over: Callable[[], bool] = lambda: False) -> None:
        """Make `num_updates` updates, or fewer where `is_over` after one of them; does not wait for the device."""
        for _ in range(num_updates):
            self._advance_once()
            if is_over():
                break
        self.optimizer.publish()
        for policy in self.policies:
            policy.num_updates = self.num_updates

    def _advance_once(self) -> None:
        """Update each part of the members, then step the schedules of their rates."""
        rows_PB, noise = self.streams.at(self.num_updates)
        (steps, soft), hard = self._pattern()
        for index, is_on in enumerate(steps):
            if is_on:
                self.optimizer.begin(index)
                for name in self.metrics_of[index]:
                    self.counts[name] += 1
        with torch.no_grad():
            for part in self.parts:
                drawn = [{name: noise_PB[part.members] for name, noise_PB in group.items()} for group in noise]
                self._step((steps, soft), part, rows_PB[part.members], drawn)
                for name in hard:  # rare, and not worth a graph of its own
                    self.update.synchronise(name, part)
        self.num_updates += 1
        schedulers = [policy.lr_scheduler for policy in self.policies if policy.lr_scheduler is not None]
        if schedulers:
            with warnings.catch_warnings():  # torch cannot know that this engine steps in its optimizers' place
                warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
                for scheduler in schedulers:
                    scheduler.step()
            self.optimizer.read_rates()

    def _pattern(self) -> tuple[Pattern, list[str]]:
        """The pattern of the next update, and the targets that are copied whole after it."""
        steps = tuple(stage.is_active(self.num_updates) for stage in self.algorithm.stages)
        due = {name: target for name, target in self.algorithm.targets.items() if target.is_due(self.num_updates)}
        soft = tuple(name for name, target in due.items() if target.rate is not None)
        return (steps, soft), [name for name in due if name not in soft]

    def read_metrics(self) -> list[dict[str, float]]:
        """The mean of each metric over the updates that measured it since the last call, for each member."""
        measured = [name for name, count in self.counts.items() if count]
        means = [(self.sums[name] / self.counts[name]).tolist() for name in measured]
        for name in measured:
            self.sums[name].zero_()
            self.counts[name] = 0
        return [dict(zip(measured, values, strict=True)) for values in zip(*means, strict=True)]

    def failures(self) -> list[int | None]:
        """The first update, counted from 0, whose loss was not finite, for each member; waits for the device."""
        return [None if failed_at < 0 else failed_at for failed_at in self.failed_at_P.tolist()]

    # ------------------------------------------------------------------ state

    def state(self, member: int) -> dict[str, Any]:
        """Everything that a member's training resumes from, and its metrics that have not been read."""
        return {
            "policy": self.policies[member].training_state(),
            "streams": self.streams.state(member, self.num_updates),
            "sums": {name: sums_P[member] for name, sums_P in self.sums.items()},
            "counts": dict(self.counts),
            "failed_at": int(self.failed_at_P[member]),
        }

    def load_state(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Resume from each member's saved `state`.

        Raises:
            ValueError: the states are of different updates.
        """
        for member, (policy, state) in enumerate(zip(self.policies, states, strict=True)):
            policy.load_training_state(state["policy"])
            for name, sums_P in self.sums.items():
                sums_P[member] = state["sums"][name]
            self.failed_at_P[member] = state["failed_at"]
        if len({policy.num_updates for policy in self.policies}) > 1:
            raise ValueError("the members' states are of different updates")
        self.counts = dict(states[0]["counts"])
        self.streams.load_state([state["streams"] for state in states])
        self._adopt()
