"""How the threads of a product wait for each other: they spin while cores are free, and sleep while others need them.

Threads of OpenMP that share a product meet at its end, forty times in a small update. GNU's OpenMP (libgomp) has them
spin there, which is quickest as long as each has a core of its own. Where another process has the core of one, all
spin until it gets its turn again: an update takes 7 to 50 times longer. libgomp knows such a state, but by its own
threads only: where there are more of them than cores, they sleep after a short while. So where others keep cores busy,
`Waiting` adds threads that sleep and do nothing else, and takes them away when the cores are free again. Results stay
the same bits: work is shared in the same way.
"""

import ctypes
import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event, Thread

import psutil

PERIOD = 0.25  # seconds between two looks at the cores
# Cores that others may take from ours before we sleep. Updates a second of lone discrete BCQ, two threads on two cores,
# spinning and sleeping: 905 and 520 beside 0.1 of a core, 685 and 600 beside 0.3, 220 and 400 beside 1.
BUSY = 0.5
CALM = 4  # looks without others before we spin again: spinning beside others costs far more than sleeping alone
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_PROC_BIND", "GOMP_CPU_AFFINITY")  # with one, the user has chosen


@dataclass
class Load:
    """CPU time of all processes on our cores, and of this one, in seconds since some moment."""

    at: float
    all: float
    own: float

    @classmethod
    def now(cls, cores: set[int]) -> "Load":
        """The times until now."""
        busy = 0.0
        for core, times in enumerate(psutil.cpu_times(percpu=True)):
            if core in cores:
                busy += times.user + times.system + times.nice + times.irq + times.softirq + times.steal
        return cls(time.monotonic(), busy, time.process_time())

    def others_since(self, before: "Load") -> float:
        """Cores that other processes have used since then, on average."""
        return ((self.all - before.all) - (self.own - before.own)) / (self.at - before.at)


class Waiting(Thread):
    """Watches the cores that this process may use, and has libgomp's threads spin or sleep.

    Args:
        library: libgomp, loaded.
        cores: numbers of the cores.
        num_threads: that compute together.
    """

    def __init__(self, library: ctypes.CDLL, cores: set[int], num_threads: int) -> None:
        super().__init__(name="waiting", daemon=True)
        self.library, self.cores, self.num_threads = library, cores, num_threads
        self.team: Team | None = None
        self.num_calm = 0

    @property
    def is_sleeping(self) -> bool:
        """Whether threads that wait sleep."""
        return self.team is not None

    def run(self) -> None:
        """Look at the cores from time to time, until the process ends."""
        before = Load.now(self.cores)
        while True:
            time.sleep(PERIOD)
            load = Load.now(self.cores)
            self.react(load.others_since(before))
            before = load

    def react(self, others: float) -> None:
        """Sleep or spin from now on, by the cores that others use."""
        is_crowded = others + self.num_threads > len(self.cores) + BUSY
        self.num_calm = 0 if is_crowded else self.num_calm + 1
        if is_crowded and self.team is None:
            self.team = Team(self.library, len(self.cores))
        elif self.num_calm >= CALM and self.team is not None:
            self.team.end()
            self.team = None


class Team:
    """As many threads of libgomp as there are cores; they sleep.

    Args:
        library: libgomp, loaded.
        num_cores: that it knows of.
    """

    def __init__(self, library: ctypes.CDLL, num_cores: int) -> None:
        self.is_over, self.is_there = Event(), Event()
        self.master = Thread(target=self._gather, args=(library, num_cores + 1), name="waiting-team", daemon=True)
        self.master.start()
        self.is_there.wait()

    def _gather(self, library: ctypes.CDLL, num_threads: int) -> None:
        nothing = ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)  # of a null pointer
        library.GOMP_parallel(nothing, None, ctypes.c_uint(num_threads), ctypes.c_uint(0))
        self.is_there.set()
        self.is_over.wait()  # libgomp keeps a team's threads as long as the one that gathered it

    def end(self) -> None:
        """Let the threads go."""
        self.is_over.set()
        self.master.join()


def watch(num_threads: int) -> None:
    """Have threads that compute together sleep where others need their cores, from now on.

    Does nothing where a thread computes alone, OpenMP is not GNU's, or the user has set how threads wait or where.

    Args:
        num_threads: that compute together.
    """
    if num_threads > 1 and (waiting := _waiting()) is not None:
        waiting.num_threads = num_threads


@cache
def _waiting() -> Waiting | None:
    if any(name in os.environ for name in SETTINGS) or (library := libgomp()) is None:
        return None
    waiting = Waiting(library, os.sched_getaffinity(0), 1)
    waiting.start()
    return waiting


def libgomp() -> ctypes.CDLL | None:
    """The library that torch computes with; None where that is another one."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    paths = {line.split(maxsplit=5)[-1] for line in lines if "libgomp" in line}
    ours = [path for path in sorted(paths) if "torch" in path] or sorted(paths)
    library = ctypes.CDLL(ours[0]) if ours else None
    return library if hasattr(library, "GOMP_parallel") else None
