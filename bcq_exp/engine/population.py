"""P policies of one shape as one batched program over one copy of the dataset; a single run is a population of one.

Shape suffixes: P members, B batch.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bcq_exp.algorithms.form import check_same_program
from bcq_exp.data import ReplayBuffer
from bcq_exp.data.growth import Growth
from bcq_exp.engine.launches import LaunchedUpdate, cuda_graphs
from bcq_exp.engine.machine import use_precision
from bcq_exp.engine.part import Part, Step
from bcq_exp.engine.stacked_adam import StackedAdam
from bcq_exp.engine.stacking import Stack, stack
from bcq_exp.engine.streams import Streams
from bcq_exp.engine.update import State, Update
from bcq_exp.engine.workers import Workers
from bcq_exp.policies import Policy

if TYPE_CHECKING:
    from bcq_exp.engine.compiled import CompiledUpdate

# Largest total size of weights that one compiled call updates on a CPU, in one thread. Milliseconds an update and
# member: of 256-256 (0.53 MB a member) 1.20 one by one, 1.13 by two, 1.29 by four; of 64-64 (36 kB) 0.22 one by one,
# 0.14 by four.
SMALL_BYTES = 2**19
FEWEST_PARTS = 4  # so that there is work for the cores
# The same where the update is not compiled: 2.0 by four and 3.9 one by one, of 256-256.
EAGER_BYTES = 4 * 2**20


def compiled_update(update: Update, device: torch.device) -> "CompiledUpdate":
    """The update as a compiled program; torch's compiler, which takes a second to import, is imported here alone."""
    from bcq_exp.engine.compiled import CompiledUpdate

    return CompiledUpdate(update, device)


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
        num_threads: cores of the CPU that updates may use.
        updates_per_launch: of a compiled population on a GPU.

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
        num_threads: int,
        updates_per_launch: int,
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
        self.failed_at_P = torch.full((len(self.policies),), -1, device=self.device)
        self.is_compiled, self.precision, self.num_threads = is_compiled, precision, num_threads
        self.samplers, self.batch_size, self.growth = list(samplers), batch_size, growth
        self.updates_per_launch = updates_per_launch
        self.stopped: set[int] = set()
        self._adopt()

    # ------------------------------------------------------------------ what the members hold

    def _adopt(self) -> None:
        """Stack the policies' tensors, leave them views of the stacks, and make the update of these."""
        self.nets = Stack([dict(policy.nets.items()) for policy in self.policies])
        self.slow = Stack([dict(policy.targets.items()) for policy in self.policies])
        self.hp = {
            name: stack([getattr(policy, name) for policy in self.policies])
            for name in (*sorted(self.algorithm.swept), *self.algorithm.statistics)
        }
        trained = [self.nets.trained(stage.trains) for stage in self.algorithm.stages]
        owners = {key: self.nets.owner(key) for keys in trained for key in keys}
        optimizer = StackedAdam(
            trained,
            {key: [p.nets[name].get_parameter(path) for p in self.policies] for key, (name, path) in owners.items()},
            {key: [policy.optimizers[name] for policy in self.policies] for key, (name, _) in owners.items()},
        )
        size = self._members_at_once()
        self.update = Update(
            self.policies[0],
            self.nets,
            self.slow,
            trained,
            optimizer,
            self.buffer,
            is_lone=size == 1,
            precision=self.precision,
        )
        starts = range(0, len(self.policies), size)
        self.parts = [self._part(slice(start, start + size), optimizer) for start in starts]
        self.compiled = compiled_update(self.update, self.device) if self.is_compiled else None
        self.step: Step = self.compiled or self.update
        if self.compiled and self.device.type == "cuda":
            self.step = LaunchedUpdate(self.compiled, self.updates_per_launch, cuda_graphs())
        # Without compiling, Python and the modules that it calls would be in the threads' way.
        self.workers = Workers(min(self.num_threads, len(self.parts)) if self.is_compiled else 1)

    def _members_at_once(self) -> int:
        """Members that one call updates: all on an accelerator. On a CPU a number that follows from the networks and
        the number of members alone, never from cores or load, so that results do not either. Parts are of one size,
        since they share a graph.
        """
        num_members, nets = len(self.policies), self.policies[0].nets
        if self.device.type != "cpu":
            return num_members
        if any(isinstance(module, nn.Conv2d) for module in nets.modules()):
            return 1  # 15 to 30 % slower together
        num_bytes = sum(param.nbytes for param in nets.parameters())
        most = EAGER_BYTES // num_bytes
        if self.is_compiled:
            most = min(SMALL_BYTES // num_bytes, num_members // FEWEST_PARTS)
        return max(size for size in range(1, num_members + 1) if num_members % size == 0 and size <= max(1, most))

    def _part(self, members: slice, optimizer: StackedAdam) -> Part:
        groups = (self.nets.tensors, self.slow.tensors, self.hp, self.sums)
        weights, slow, hp, sums = ({key: tensor[members] for key, tensor in group.items()} for group in groups)
        clock = torch.tensor(self.policies[members.start].num_updates, device=self.device)
        state = State(weights, slow, hp, sums, self.failed_at_P[members], clock, optimizer.moments.of(members))
        streams = Streams(
            self.samplers[members],
            [policy.learning_noise for policy in self.policies[members]],
            self.algorithm.stages,
            num_rows=len(self.buffer),
            batch_size=self.batch_size,
            growth=self.growth,
        )
        return Part(members, self.policies[members], state, streams, optimizer, self.metrics_of)

    @property
    def num_updates(self) -> int:
        """Updates that the members have made; of a part that is ahead while others are on their way."""
        return max(part.num_updates for part in self.parts)

    @property
    def compile_seconds(self) -> float:
        """Seconds that compiling has taken."""
        return self.compiled.seconds if self.compiled else 0.0

    # ------------------------------------------------------------------ many updates

    def advance(self, num_updates: int, is_over: Callable[[], bool] = lambda: False) -> None:
        """Make `num_updates` updates, or fewer where `is_over` after one of them; does not wait for the device."""
        use_precision(self.precision, self.device)
        moving = [part for part in self.parts if self._is_moving(part)]
        if moving:
            self.workers.advance(moving, num_updates, self.step, self.update, is_over)
        for part in moving:
            part.publish()

    def stop(self, members: Collection[int]) -> None:
        """Update these members no more. A part is left out when all of its members have stopped."""
        self.stopped |= set(members)

    def _is_moving(self, part: Part) -> bool:
        return not self.stopped.issuperset(range(len(self.policies))[part.members])

    def read_metrics(self) -> list[dict[str, float]]:
        """The mean of each metric over the updates that measured it since the last call, for each member."""
        read: list[dict[str, float]] = []
        for part in self.parts:
            measured = [name for name, count in part.counts.items() if count]
            means = [(part.state.sums[name] / part.counts[name]).tolist() for name in measured]
            for name in measured:
                part.state.sums[name].zero_()
                part.counts[name] = 0
            if measured:
                read += [dict(zip(measured, values, strict=True)) for values in zip(*means, strict=True)]
            else:
                read += [{} for _ in part.policies]
        return read

    def failures(self) -> list[int | None]:
        """The first update, counted from 0, whose loss was not finite, for each member; waits for the device."""
        return [None if failed_at < 0 else failed_at for failed_at in self.failed_at_P.tolist()]

    # ------------------------------------------------------------------ state

    def state(self, member: int) -> dict[str, Any]:
        """Everything that a member's training resumes from, and its metrics that have not been read."""
        part = next(part for part in self.parts if part.members.start <= member < part.members.stop)
        return {
            "policy": self.policies[member].training_state(),
            "streams": part.streams.state(member - part.members.start, part.num_updates),
            "sums": {name: sums_P[member] for name, sums_P in self.sums.items()},
            "counts": dict(part.counts),
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
        if len({policy.num_updates for member, policy in enumerate(self.policies) if member not in self.stopped}) > 1:
            raise ValueError("the members' states are of different updates")
        self._adopt()
        for part in self.parts:
            part.counts = dict(states[part.members.start]["counts"])
            part.streams.load_state([state["streams"] for state in states[part.members]])
