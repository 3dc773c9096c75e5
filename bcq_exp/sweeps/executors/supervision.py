"""Supervision of groups in processes of their own: starts them, watches them, and reports those that die.

A process gets two plain words: the path of its group's manifest, and the GPU that it may see. Whether a group has ended
is read from its runs' directories.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Protocol

from bcq_exp.io.progress import Board
from bcq_exp.sweeps.group import Group

PERIOD = 0.5  # seconds between two looks at the processes


class StartedGroup(Protocol):
    """A group that was started."""

    def state(self) -> str | None:
        """The state of its process in a word; None when it has ended."""

    def where(self) -> str:
        """The place of the process's output, besides its group's log."""

    def cancel(self) -> None:
        """Have the process end when its group is saved; returns at once."""


Start = Callable[[Sequence[Group], Sequence[str]], Sequence[StartedGroup]]
"""Starts groups, each with the GPU that it shall see, or an empty word."""


def supervise(groups: Sequence[Group], start: Start, num_places: int, gpus: Sequence[str]) -> list[str]:
    """Start each group when a place is free, and watch them until the last process has ended.

    Args:
        groups: with their manifests written, none of them ended.
        start: starts some of them.
        num_places: how many at a time.
        gpus: dealt to the places in turn.

    Returns:
        A line for each group that died, with the place of its output.
    """
    waiting = deque(range(len(groups)))
    tasks: dict[int, tuple[int, StartedGroup]] = {}  # by place: the group's number, and its process
    states, died = ["waiting"] * len(groups), list[str]()
    with Board() as board:
        try:
            while waiting or tasks:
                free = [place for place in range(num_places) if place not in tasks][: len(waiting)]
                numbers = [waiting.popleft() for _ in free]
                if numbers:
                    started = start([groups[n] for n in numbers], [gpus[place % len(gpus)] for place in free])
                    tasks |= dict(zip(free, zip(numbers, started, strict=True), strict=True))
                for place, (number, task) in list(tasks.items()):
                    states[number] = task.state() or "ended"
                    if states[number] == "ended":
                        del tasks[place]
                        if not groups[number].has_ended():
                            states[number] = "died"
                            died.append(f"group {number + 1}: see {groups[number].log_path} and {task.where()}")
                if waiting and len(tasks) < num_places:
                    continue
                board.show(facts(states))
                if tasks:
                    time.sleep(PERIOD)
        except BaseException:
            for _, task in tasks.values():
                task.cancel()
            while running := sum(task.state() is not None for _, task in tasks.values()):
                board.show(f"{running} groups are saved, then they end; a second signal leaves them to it")
                time.sleep(PERIOD)
            raise
    return died


def facts(states: Sequence[str]) -> str:
    """A line: the number of groups that have ended, and the state of each; neighbours in one state share an entry."""
    parts, first = [], 1
    for state, same in groupby(states):
        last = first + len(list(same)) - 1
        parts.append(f"{first}-{last} {state}" if last > first else f"{first} {state}")
        first = last + 1
    return f"{states.count('ended')} of {len(states)} groups ended | {', '.join(parts)}"
