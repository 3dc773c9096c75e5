"""Sixteen discrete members, start to end: one command of ours against sixteen processes of a peer, two at a time."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcq_exp.training.datasets import load_parts
from experiments.benchmark.cases import composed, typed
from experiments.benchmark.peers.arena import ROOT, Contestant, ContestantFailed, Worker
from experiments.benchmark.peers.protocol import WARM_UP, save

NUM_MEMBERS = 16
AT_ONCE = 2
OVERRIDES = ("algorithm=discrete_bcq", "algorithm.clip_loss_grad=true", "dataset=cartpole-noisy")
COLUMNS = ("obs", "act", "rew", "terminated", "truncated", "obs_next")


@dataclass(frozen=True)
class SweepRow:
    """A way to train all members.

    Args:
        name: as tables show it.
        seconds: from the first start to the last end; None where it failed.
        num_updates: of each member.
        how: the processes that were run, and whether the time is scaled.
        is_peer: whether ours is compared with it.
        error: why it failed.
    """

    name: str
    seconds: float | None
    num_updates: int
    how: str
    is_peer: bool
    error: str | None = None

    @property
    def ms(self) -> float | None:
        """Milliseconds an update and member."""
        return None if self.seconds is None else 1e3 * self.seconds / self.num_updates / NUM_MEMBERS


def sweep(
    peers: Sequence[Contestant], *, num_updates: int, peer_runs: int, device: str, num_threads: int
) -> list[SweepRow]:
    """Time all, one after the other. The dataset is in the cache beforehand.

    Args:
        peers: that run one process a member.
        num_updates: of each member.
        peer_runs: processes that are run to the end, of the sixteen; the time of more is scaled.
        device: as torch names it.
        num_threads: of ours; a peer's process has one.
    """
    config = composed(*OVERRIDES, f"device={device}")
    cfg = typed(config)
    transitions = load_parts(cfg.dataset).learned
    rows = [of_ours(num_updates, device, num_threads)]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        save(data, {name: getattr(transitions, name) for name in COLUMNS})
        num_actions = int(cfg.action_space.n)  # type: ignore[attr-defined]
        work = {"config": config, "data": str(data), "num_actions": num_actions, "threads": 1}
        rows += [of_peer(each, work, num_updates=num_updates, peer_runs=peer_runs) for each in peers]
    return rows


def of_ours(num_updates: int, device: str, num_threads: int) -> SweepRow:
    """One command with everything that a user gets, compiled anew: evaluation at the end, checkpoints, logs, table."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "bcq_exp.train", "-m", *OVERRIDES, f"seed=range({NUM_MEMBERS})",
            f"num_updates={num_updates}", f"eval_freq={num_updates}", f"checkpoint_freq={num_updates}",
            f"num_threads={num_threads}", f"device={device}", f"hydra.sweep.dir={folder}/sweep",
        ]  # fmt: skip
        env = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": f"{folder}/compiled", "OMP_NUM_THREADS": str(num_threads)}
        start = time.perf_counter()
        ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        seconds = time.perf_counter() - start
    how = f"one command, {num_threads} threads: start, compiling as compile=auto does, training, last evaluation, files"
    if ended.returncode:
        said = [line for line in ended.stderr.splitlines() if line.strip()] or [f"status {ended.returncode}"]
        return SweepRow("ours", None, num_updates, how, is_peer=False, error=said[-1])
    return SweepRow("ours", seconds, num_updates, how, is_peer=False)


def of_peer(contestant: Contestant, work: dict[str, Any], *, num_updates: int, peer_runs: int) -> SweepRow:
    """Processes of one thread, two at a time: start, reading of the data, training; no evaluation, no files."""

    def run(_: int) -> None:
        worker = Worker(contestant.command, num_threads=1)
        try:
            worker.ask({"prepare": {**work, "options": contestant.options}})
            worker.ask({"updates": num_updates - WARM_UP})
        finally:
            worker.close()

    what = f"{peer_runs} runs" + (f", time scaled to {NUM_MEMBERS}" if peer_runs != NUM_MEMBERS else "")
    how = f"{what}, {AT_ONCE} processes of one thread at a time: start, reading, training"
    start = time.perf_counter()
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(run, range(peer_runs)))
    except ContestantFailed as failure:
        return SweepRow(contestant.name, None, num_updates, how, is_peer=True, error=str(failure))
    seconds = (time.perf_counter() - start) * NUM_MEMBERS / peer_runs
    return SweepRow(contestant.name, seconds, num_updates, how, is_peer=True)
