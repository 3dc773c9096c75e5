"""P policies of one shape as one batched program over one copy of the dataset; a single run is a population of one.

Shape suffixes: P members, B batch.
"""

import itertools
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap
from torch.utils._pytree import tree_leaves, tree_map

from bcq_exp.algorithms.form import Stage, check_same_program
from bcq_exp.data import ReplayBuffer
from bcq_exp.data.buffer import window
from bcq_exp.data.growth import Growth
from bcq_exp.engine.stacked_adam import StackedAdam
from bcq_exp.engine.stacking import Stack, expand, stack
from bcq_exp.engine.streams import Streams
from bcq_exp.policies import Policy

Tensors = dict[str, Tensor]

# Of weights that a CPU updates at once. Milliseconds an update and member, two cores: 16 discrete members 0.51 in parts
# of 4 or 8, 0.70 at once; 4 continuous ones 14.8 one by one, 17.3 at once.
CACHED_BYTES = 4 * 2**20

_programs = itertools.count()


@dataclass(frozen=True)
class Part:
    """Neighbouring members that one call of the program updates: their slices of all that it reads and writes.

    `failed_at_P` holds the first update whose loss was not finite, or -1; `clock` the number of updates made.
    """

    members: slice
    weights: Tensors
    slow: Tensors
    hp: Tensors
    sums: Tensors
    failed_at_P: Tensor
    clock: Tensor
    optimizer: StackedAdam


class Population:
    """Trains policies together; each keeps its own weights, numbers, random streams and optimizer state.

    The policies' parameters, targets, numbers and Adam moments become views of the stacked tensors: a policy that is
    evaluated, saved or used alone holds what its member has learned.

    Args:
        policies: of one algorithm and one shape; what may differ are the numbers in their buffers, their learning
            rates and their weight decay.
        buffer: the dataset.
        samplers: each member's stream of minibatch rows, on the buffer's device.
        batch_size: rows of a member's minibatch.
        is_compiled: run the update as one compiled graph for each pattern of active stages.
        precision: of the matrix products in losses; weights, optimizer and the last layer's outputs stay in full.
        growth: of the dataset while it is learned from; None: it is there from the beginning.

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
        self.columns, self.steps_to_end = buffer.columns(), buffer.steps_to_end
        self.wanted = self.algorithm.num_steps, self.algorithm.fields
        rows = torch.zeros(2, dtype=torch.int64, device=buffer.device)
        self.metrics_of = self.policies[0].metric_names(buffer.window(rows, *self.wanted))
        self.metric_names = list(dict.fromkeys(name for names in self.metrics_of for name in names))
        self.sums = {name: torch.zeros(len(self.policies), device=self.device) for name in self.metric_names}
        self.counts = dict.fromkeys(self.metric_names, 0)
        self.failed_at_P = torch.full((len(self.policies),), -1, device=self.device)
        self.part_size = self._members_at_once()
        self._adopt()
        self.precision = precision
        losses = [self._member_loss(stage) for stage in self.algorithm.stages]
        self._gradients = [self._batched(grad_and_value(loss, has_aux=True)) for loss in losses]
        self._step: Callable[..., None] = self._compile() if is_compiled else self._update
        self.is_compiled, self.compile_seconds, self.program = is_compiled, 0.0, next(_programs)
        self._compiled: set[tuple[Any, ...]] = set()
        self.streams = Streams(
            samplers,
            [policy.learning_noise for policy in self.policies],
            self.algorithm.stages,
            num_rows=len(buffer),
            batch_size=batch_size,
            growth=growth,
        )

    # ------------------------------------------------------------------ what the members hold

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

    def _adopt(self) -> None:
        """Stack what the policies hold, and leave them views of it."""
        self.num_updates = self.policies[0].num_updates
        self.nets = Stack([dict(policy.nets.items()) for policy in self.policies])
        self.slow = Stack([dict(policy.targets.items()) for policy in self.policies])
        self.hp = {
            name: stack([getattr(policy, name) for policy in self.policies])
            for name in (*sorted(self.algorithm.swept), *self.algorithm.statistics)
        }
        self.trained = [self.nets.trained(stage.trains) for stage in self.algorithm.stages]
        owners = {key: self.nets.owner(key) for keys in self.trained for key in keys}
        self.optimizer = StackedAdam(
            self.trained,
            {key: [p.nets[name].get_parameter(path) for p in self.policies] for key, (name, path) in owners.items()},
            {key: [policy.optimizers[name] for policy in self.policies] for key, (name, _) in owners.items()},
        )
        starts = range(0, len(self.policies), self.part_size)
        self.parts = [self._part(slice(start, start + self.part_size)) for start in starts]
        owned = [(vars(part), vars(part.optimizer)) for part in self.parts]
        for tensor in tree_leaves(owned):
            if isinstance(tensor, Tensor):
                torch._dynamo.mark_static_address(tensor)  # CUDA graphs write into what never moves

    def _part(self, members: slice) -> Part:
        groups = (self.nets.tensors, self.slow.tensors, self.hp, self.sums)
        weights, slow, hp, sums = ({key: tensor[members] for key, tensor in group.items()} for group in groups)
        clock = torch.tensor(self.num_updates, device=self.device)
        return Part(members, weights, slow, hp, sums, self.failed_at_P[members], clock, self.optimizer.part(members))

    # ------------------------------------------------------------------ one update

    def _compile(self) -> Callable[..., None]:
        """The update as a graph for each pattern."""
        from bcq_exp.engine.graphs import compiler_options  # the compiler itself: a second that others need not wait

        torch.compiler.reset()  # graphs of an earlier population count towards the limit of this one's
        return torch.compile(self._update, fullgraph=True, dynamic=False, options=compiler_options(self.device))

    def _batched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A function of one member as a function of a part; a lone member is called as it is."""
        if self.part_size > 1:
            return vmap(call)
        return lambda *trees: tree_map(lambda x: x.unsqueeze(0), call(*tree_map(lambda x: x[0], trees)))

    def _member_loss(self, stage: Stage) -> Callable[..., tuple[Tensor, Any]]:
        policy = self.policies[0]

        def loss(trained: Tensors, held: Tensors, slow: Tensors, batch: Tensors, noise: Tensors, hp: Tensors) -> Any:
            nets = self.nets.bind({**held, **trained})
            copies = self.slow.bind(slow)
            sources = {name: copies.get(name, nets[t.source]) for name, t in self.algorithm.targets.items()}
            online, target = (
                {name: policy.view(name, net) for name, net in group.items()} for group in (nets, sources)
            )
            with self._products():
                return stage.loss(online, target, batch, noise, hp)

        return loss

    def _products(self) -> Any:
        """What matrix products are made in."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def _update(
        self, pattern: tuple[int, tuple[bool, ...], tuple[str, ...]], part: Part, rows_PB: Tensor, noise: list[Tensors]
    ) -> None:
        """One update of a part, in place: the stages that are on, then the soft targets that are due."""
        program, on, soft = pattern
        assert program == self.program  # read, so that the compiler tells populations apart by it
        batch = self._batch(rows_PB)
        for index, is_on in enumerate(on):
            if not is_on:
                continue
            keys = self.trained[index]
            held = {key: tensor for key, tensor in part.weights.items() if key not in keys}
            grads, (loss_P, metrics) = self._gradients[index](
                {key: part.weights[key] for key in keys}, held, part.slow, batch, noise[index], part.hp
            )
            for name, value_P in metrics.items():
                part.sums[name].add_(value_P)
            failed_P = (part.failed_at_P < 0) & ~loss_P.isfinite()
            part.failed_at_P.copy_(torch.where(failed_P, part.clock, part.failed_at_P))
            part.optimizer.step(index, part.weights, grads)
        for name in soft:
            self._synchronise(name, part)
        part.clock.add_(1)

    def _batch(self, rows_PB: Tensor) -> Tensors:
        batch = window(self.columns, self.steps_to_end, rows_PB.flatten(), *self.wanted)
        for name in ("obs", "obs_next"):
            batch[name] = batch[name].to(self.columns["rew"].dtype)  # bytes are floats from here on
        return {name: column.view(*rows_PB.shape, *column.shape[1:]) for name, column in batch.items()}

    def _synchronise(self, name: str, part: Part) -> None:
        target = self.algorithm.targets[name]
        for path, key in self.slow.keys[name].items():
            slow, fast_key = part.slow[key], self.nets.keys[target.source][path]
            fast = part.weights[fast_key]
            is_hard = target.rate is None or fast_key not in self.nets.params
            slow.copy_(fast if is_hard else slow.lerp(fast, expand(part.hp[str(target.rate)], slow)))

    # ------------------------------------------------------------------ many updates

    def advance(self, num_updates: int, is_over: Callable[[], bool] = lambda: False) -> None:
        """Make that many updates without waiting for the device, or fewer where `is_over` after one of them."""
        schedulers = [policy.lr_scheduler for policy in self.policies if policy.lr_scheduler is not None]
        for _ in range(num_updates):
            rows_PB, noise = self.streams.at(self.num_updates)
            on = tuple(stage.is_active(self.num_updates) for stage in self.algorithm.stages)
            due = [name for name, target in self.algorithm.targets.items() if target.is_due(self.num_updates)]
            soft = tuple(name for name in due if self.algorithm.targets[name].rate is not None)
            for index, is_on in enumerate(on):
                if is_on:
                    self.optimizer.begin(index)
                    for name in self.metrics_of[index]:
                        self.counts[name] += 1
            with torch.no_grad():
                for part in self.parts:
                    drawn = [{name: noise_PB[part.members] for name, noise_PB in of.items()} for of in noise]
                    self._timed_step((self.program, on, soft), part, rows_PB[part.members], drawn)
                    for name in due:
                        if name not in soft:  # rare, and not worth a graph of its own
                            self._synchronise(name, part)
            self.num_updates += 1
            if schedulers:
                with warnings.catch_warnings():  # torch cannot know that this engine steps in its optimizers' place
                    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
                    for scheduler in schedulers:
                        scheduler.step()
                self.optimizer.read_rates()
            if is_over():
                break
        self.optimizer.publish()
        for policy in self.policies:
            policy.num_updates = self.num_updates

    def _timed_step(self, pattern: tuple[Any, ...], *args: Any) -> None:
        """One update of a part; the first of each pattern, which compiles it, is timed apart."""
        if not self.is_compiled or pattern in self._compiled:
            self._step(pattern, *args)
            return
        start = time.perf_counter()
        self._step(pattern, *args)
        self.compile_seconds += time.perf_counter() - start
        self._compiled.add(pattern)

    def read_metrics(self) -> list[dict[str, float]]:
        """For each member the mean of each metric over the updates since the last call that measured it."""
        measured = [name for name, count in self.counts.items() if count]
        means = [(self.sums[name] / self.counts[name]).tolist() for name in measured]
        for name in measured:
            self.sums[name].zero_()
            self.counts[name] = 0
        return [dict(zip(measured, values, strict=True)) for values in zip(*means, strict=True)]

    def failures(self) -> list[int | None]:
        """For each member the first update, counted from 0, whose loss was not finite; waits for the device."""
        return [None if failed_at < 0 else failed_at for failed_at in self.failed_at_P.tolist()]

    # ------------------------------------------------------------------ state

    def state(self, member: int) -> dict[str, Any]:
        """All that decides how a member's learning goes on, and what is measured but not read."""
        return {
            "policy": self.policies[member].training_state(),
            "streams": self.streams.state(member, self.num_updates),
            "sums": {name: sums_P[member] for name, sums_P in self.sums.items()},
            "counts": dict(self.counts),
            "failed_at": int(self.failed_at_P[member]),
        }

    def load_state(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Take each member's saved `state` back; all must have made the same number of updates.

        Raises:
            ValueError: they have not.
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
