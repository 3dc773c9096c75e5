"""The number of members of a population that fit into memory."""

import logging
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bcq_exp.data import Transitions
from bcq_exp.data.mapping import held_bytes, should_map
from bcq_exp.data.transitions import OPTIONAL, REQUIRED
from bcq_exp.engine.machine import prepare_process
from bcq_exp.training.config import RunConfig
from bcq_exp.training.experiment import make_population

SHARE = 0.8  # of free memory; the rest is for compiling, evaluation and other programs
FACTOR = 2  # process bytes per tensor byte: allocators round up and retain; 1.4 to 1.7 measured
MEASURED_ROWS = 1024  # of the dataset, for the measured update

log = logging.getLogger(__name__)


class Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Peak bytes of the tensors that are made while it is entered, on any device.

    torch documents its class under this private name only; the range of torch in pyproject.toml is what was tried.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = self.most = 0
        self.known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Make the call, and count the memory that its results allocate."""
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, list | tuple) else [made]:
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self.known:
            return
        self.known.add(storage)
        num_bytes = storage.nbytes()
        weakref.finalize(storage, self._freed, num_bytes)
        self.held += num_bytes
        self.most = max(self.most, self.held)

    def _freed(self, num_bytes: int) -> None:
        self.held -= num_bytes


@dataclass(frozen=True)
class Need:
    """Bytes that a population needs: `member` for each member, and `fixed`."""

    member: int
    fixed: int

    def largest(self, at_hand: int) -> int:
        """The most members that fit into `at_hand` bytes; 1 where not even one does."""
        return max(1, (at_hand - self.fixed) // self.member)


def need(cfg: RunConfig, transitions: Transitions, num_threads: int) -> Need:
    """Measure populations of two and four members; a member costs half the difference.

    Not two and three: three may be updated one by one, which needs less memory at a time. A member's cost is everything
    that the engine holds and makes for it: weights, gradients, moments, targets, random numbers drawn ahead, and every
    tensor of a loss until it is freed. The dataset is in the host's memory once, and on the device once, unless it
    stays in files.

    Args:
        cfg: of any member.
        transitions: the dataset.
        num_threads: parts of the population that are updated at a time, each with the tensors of its own losses.
    """
    prepare_process(1)  # one thread: threads would wait for each other in updates of so few numbers
    (two, _), (four, passing) = (_peak(cfg, transitions, num_members) for num_members in (2, 4))
    # Of the smallest networks a peak is the dataset's, whatever their number.
    member = max(1, FACTOR * (four - two) // 2)
    is_mapped = should_map(cfg.schedule.storage, transitions, cfg.schedule.device)
    data = 0 if is_mapped else held_bytes(transitions)
    copies = 2 if cfg.schedule.device == "cpu" else 1
    fixed = FACTOR * (two + (num_threads - 1) * passing) - 2 * member
    return Need(member=member, fixed=fixed + copies * data)


def _peak(cfg: RunConfig, transitions: Transitions, num_members: int) -> tuple[int, int]:
    """The most bytes that a population holds, and how many of them an update frees again."""
    few = _first(transitions, max(MEASURED_ROWS, cfg.schedule.batch_size))
    eager = replace(cfg, schedule=replace(cfg.schedule, compile="never", num_threads=1))
    with Peak() as peak:
        population = make_population([eager] * num_members, few)
        for stage in population.algorithm.stages:
            for part in population.parts:
                part.num_updates = stage.start + stage.every - 1  # the first update in which it steps
            population.advance(1)
    return peak.most, peak.most - peak.held


def _first(transitions: Transitions, num_rows: int) -> Transitions:
    """The first rows, with rewards that differ, so that statistics of a few rows are those of any data."""
    present = {name: column for name in REQUIRED + OPTIONAL if (column := getattr(transitions, name)) is not None}
    columns: dict[str, Any] = {name: np.asarray(column[:num_rows]) for name, column in present.items()}
    columns["rew"] = np.arange(len(columns["rew"]), dtype=np.float32)
    return replace(transitions, **columns)


def free_bytes(device: str) -> int:
    """Bytes that may be used of the free memory of a device; a CPU's is the host's."""
    is_gpu = torch.device(device).type == "cuda"
    free: int = torch.cuda.mem_get_info(device)[0] if is_gpu else psutil.virtual_memory().available
    return int(SHARE * free)
