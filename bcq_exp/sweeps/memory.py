"""How many members of a population fit into memory."""

import logging
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bcq_exp.data import Transitions
from bcq_exp.data.mapping import held_bytes, should_map
from bcq_exp.engine.machine import prepare_process
from bcq_exp.training.config import RunConfig
from bcq_exp.training.experiment import make_population

SHARE = 0.8  # of what is free; the rest is for compiling, evaluation and other programs
FACTOR = 2  # bytes that a process takes for one of its tensors': allocators round up and keep; 1.4 to 1.7 measured
ROWS = 1024  # of the data that the update is measured on

log = logging.getLogger(__name__)


class Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The most bytes that tensors made under it hold at one time, whatever their device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = self.most = 0
        self.known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Make the call, and count the memory that its results are the first to have."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
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
    """What a population takes: so many bytes for each member, and so many besides."""

    member: int
    fixed: int

    def largest(self, at_hand: int) -> int:
        """The most members that fit into so many bytes; 1 where not even one does."""
        return max(1, (at_hand - self.fixed) // self.member)


def need(cfg: RunConfig, transitions: Transitions) -> Need:
    """Measure one update of populations of two and of four: half of what the others add is what a member takes.

    Members are updated in parts, and no part of two is larger than one of four: of three there might be one of one.
    What a member takes is all that the engine holds and makes for it: weights, gradients, moments, targets, random
    numbers drawn ahead, and every tensor of a loss until it is freed. The dataset is once in the host's memory, and
    once on the device, unless it stays in files.

    Args:
        cfg: of any member.
        transitions: the dataset.
    """
    prepare_process(cfg.schedule.num_threads)  # this is the first work of its process
    two, four = (FACTOR * _peak(cfg, transitions, num_members) for num_members in (2, 4))
    member = (four - two) // 2
    is_mapped = should_map(cfg.schedule.storage, transitions, cfg.schedule.device)
    data = 0 if is_mapped else held_bytes(transitions)
    copies = 2 if cfg.schedule.device == "cpu" else 1
    return Need(member=member, fixed=two - 2 * member + copies * data)


def _peak(cfg: RunConfig, transitions: Transitions, num_members: int) -> int:
    few = _first(transitions, max(ROWS, cfg.schedule.batch_size))
    eager = replace(cfg, schedule=replace(cfg.schedule, compile="never"))
    with Peak() as peak:
        population = make_population([eager] * num_members, few)
        for stage in population.algorithm.stages:
            population.num_updates = stage.start + stage.every - 1  # the first update in which it steps
            population.advance(1)
    most: int = peak.most
    return most


def _first(transitions: Transitions, num_rows: int) -> Transitions:
    """The first rows, with rewards that differ, so that statistics of a few rows are those of any data."""
    names = ("obs", "act", "rew", "terminated", "truncated", "obs_next", "mask", "mask_next")
    present = {name: column for name in names if (column := getattr(transitions, name)) is not None}
    columns: dict[str, Any] = {name: np.asarray(column[:num_rows]) for name, column in present.items()}
    columns["rew"] = np.arange(len(columns["rew"]), dtype=np.float32)
    return replace(transitions, **columns)


def free_bytes(device: str) -> int:
    """What may be taken of the memory that is free where a device computes."""
    found = torch.device(device)
    is_gpu = found.type == "cuda"
    free: int = torch.cuda.mem_get_info(found)[0] if is_gpu else psutil.virtual_memory().available
    return int(SHARE * free)
