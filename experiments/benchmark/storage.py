"""Sampling from each storage, and the anonymous memory it takes: `python -m experiments.benchmark.storage`.

Each row of the table is measured in a process of its own. Images are (4, 84, 84) bytes: `stacks` keeps each observation
and each next one whole, `frames` keeps each frame once; `vectors` are like Hopper's observations. Memory is anonymous
memory of the whole process (`RssAnon`), which the kernel cannot drop; the package alone takes about 0.16 GiB.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bcq_exp.data import ReplayBuffer, Transitions
from bcq_exp.data.frames import FrameStacks
from bcq_exp.data.mapping import held_bytes, in_files
from bcq_exp.data.storage import chunks, new_mapped
from experiments.benchmark.cases import CASES, EPISODE_LENGTH
from experiments.benchmark.machine import machine

KINDS = ("vectors", "stacks", "frames")
STORAGES = ("memory", "mmap")
STACK = 4


def transitions(kind: str, num: int) -> Transitions:
    """Make random transitions; images lie in mapped files, as a reader leaves them."""
    if kind == "vectors":
        case = replace(CASES["bcq"], num_rows=num)
        return Transitions.from_columns(closed(case.columns()), kind)
    frames, rng = new_mapped((num + STACK, 84, 84), np.uint8), np.random.default_rng(0)
    for rows in chunks(frames):
        frames[rows] = rng.integers(256, size=frames[rows].shape, dtype=np.uint8)
    newest, ends = np.arange(num) + STACK - 1, np.arange(num) % EPISODE_LENGTH == EPISODE_LENGTH - 1
    made = Transitions(
        obs=FrameStacks(frames, newest, STACK),
        act=rng.integers(6, size=num),
        rew=np.zeros(num, np.float32),
        terminated=np.zeros(num, np.bool_),
        truncated=ends,
        obs_next=FrameStacks(frames, newest + 1, STACK),
        episode_returns=np.zeros(1),
        source=kind,
    )
    if kind == "frames":
        return made
    whole = {}
    for name, stacks in (("obs", made.obs), ("obs_next", made.obs_next)):
        whole[name] = new_mapped(stacks.shape, np.uint8)
        for rows in chunks(whole[name]):
            whole[name][rows] = np.asarray(stacks[rows])
    return replace(made, **whole)


def closed(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """End the last episode of the columns."""
    columns["truncated"][-1] = not columns["terminated"][-1]
    return columns


def anonymous() -> int:
    """Bytes of this process's anonymous memory."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon"))
    return 1024 * int(line.split()[1])


def measure(kind: str, storage: str, num: int, batch_size: int, seconds: float) -> dict[str, float]:
    """Measure one row of the table."""
    torch.set_num_threads(1)
    is_mapped = storage == "mmap"
    data = transitions(kind, num)
    data = in_files(data) if is_mapped else data
    buffer = ReplayBuffer.from_transitions(data, seed=0, stays_mapped=is_mapped)
    num_bytes = held_bytes(data)
    del data
    for start in range(0, num, 1000):  # every page is in memory before the clock starts
        buffer[torch.arange(start, min(start + 1000, num))]
    timings, end = [], time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        buffer.sample(batch_size)
        timings.append(time.perf_counter() - begun)
    return {"bytes": num_bytes, "seconds": float(np.median(timings)), "anonymous": anonymous()}


def main() -> None:
    """Print a row for each kind of data and each storage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transitions", type=int, default=20_000, help="of the dataset")
    parser.add_argument("--batch-size", type=int, default=32, help="transitions that are sampled at once")
    parser.add_argument("--seconds", type=float, default=3.0, help="of measuring, a row")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, help="of data")
    parser.add_argument("--storages", nargs="+", default=list(STORAGES), choices=STORAGES, help="of each")
    parser.add_argument("--row", action="store_true", help="measure the first of each here, and print it as JSON")
    args = parser.parse_args()
    if args.row:
        found = measure(args.kinds[0], args.storages[0], args.transitions, args.batch_size, args.seconds)
        print(json.dumps(found))
        return
    table = Table(title=f"{machine('cpu')}, torch {torch.__version__}, one thread, batches of {args.batch_size}")
    for column in ("data", "storage", "transitions", "GB", "ms a batch", "transitions a second", "anonymous GiB"):
        table.add_column(column, justify="left" if column in ("data", "storage") else "right")
    numbers = [f"--{name}={vars(args)[name.replace('-', '_')]}" for name in ("transitions", "batch-size", "seconds")]
    with tempfile.TemporaryDirectory(dir=Path("outputs")) as folder:
        for kind, storage in ((kind, storage) for kind in args.kinds for storage in args.storages):
            command = [sys.executable, "-m", "experiments.benchmark.storage", "--row", "--kinds", kind, "--storages"]
            env = os.environ | {"BCQ_EXP_CACHE": folder}
            run = subprocess.run([*command, storage, *numbers], env=env, check=True, capture_output=True, text=True)
            row = json.loads(run.stdout)
            table.add_row(kind, storage, f"{args.transitions:,}", f"{row['bytes'] / 1e9:.2f}",
                          f"{row['seconds'] * 1e3:.3f}", f"{args.batch_size / row['seconds']:,.0f}",
                          f"{row['anonymous'] / 2**30:.2f}")  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
