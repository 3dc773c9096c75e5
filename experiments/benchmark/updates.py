"""Milliseconds an update against the arithmetic floor: `python -m experiments.benchmark.updates` (`make bench`).

Two cases: continuous BCQ at paper size (observations 11, actions 3, batch 100, generative model 750-750, actor and
critics 400-300, 10 sampled actions) and discrete BCQ (observations 4, actions 2, 256-256, batch 64). The floor is the
counted matrix operations of an update over the rate of large matrix products, measured in the same process.
"""

import argparse
import itertools
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from bcq_exp.config import CONF_DIR, check
from bcq_exp.data import Transitions
from bcq_exp.experiment import make_population
from bcq_exp.population import Population

NUM_ROWS = 20_000


@dataclass(frozen=True)
class Case:
    """An update to be timed: what a user would type, and the sizes of the data.

    Args:
        overrides: of the configuration in `conf/`.
        obs_dim: size of an observation.
        action_space: of the environment.
        members: sizes of the populations to be timed.
    """

    overrides: tuple[str, ...]
    obs_dim: int
    action_space: gym.Space[Any]
    members: tuple[int, ...]

    def population(self, num_members: int, setting: str) -> Population:
        """Members that differ in their seeds, on random data; compiled always or never."""
        with initialize_config_dir(CONF_DIR, version_base="1.3"):
            cfg = check(compose("config", overrides=[*self.overrides, f"compile={setting}"]))
        observation_space = gym.spaces.Box(-np.inf, np.inf, (self.obs_dim,))
        rng = np.random.default_rng(0)
        self.action_space.seed(0)
        columns = {
            "obs": rng.normal(size=(NUM_ROWS, self.obs_dim)),
            "act": np.array([self.action_space.sample() for _ in range(NUM_ROWS)]),
            "rew": rng.normal(size=NUM_ROWS),
            "terminated": np.arange(NUM_ROWS) % 200 == 199,
            "truncated": np.zeros(NUM_ROWS, dtype=bool),
            "obs_next": rng.normal(size=(NUM_ROWS, self.obs_dim)),
        }
        schedules = [replace(cfg.schedule, seed=seed) for seed in range(num_members)]
        sized = replace(cfg, observation_space=observation_space, action_space=self.action_space)
        members = [replace(sized, schedule=schedule) for schedule in schedules]
        return make_population(members, Transitions.from_columns(columns, "random data"))


CASES = {
    "continuous BCQ, paper size": Case(
        ("algorithm=bcq", "dataset=pendulum-noisy", "network=bcq_paper", "batch_size=100"),
        11,
        gym.spaces.Box(-1, 1, (3,)),
        (1,),
    ),
    "discrete BCQ, 256-256, batch 64": Case(
        ("algorithm=discrete_bcq", "dataset=cartpole-noisy", "network=mlp", "batch_size=64"),
        4,
        gym.spaces.Discrete(2),
        (1, 8, 16),
    ),
}


def matrix_rate(size: int = 1024, seconds: float = 1.0) -> float:
    """FLOP/s of square matrix products of float32 numbers."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / seconds_a_call(lambda: torch.mm(a, b), seconds)


def seconds_a_call(call: Callable[[], object], seconds: float) -> float:
    """Median over blocks of calls that together fill the given time, after a warm-up."""
    call()
    start = time.perf_counter()
    call()
    block = max(1, int(0.05 / max(time.perf_counter() - start, 1e-9)))
    timings = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(block):
            call()
        timings.append((time.perf_counter() - start) / block)
    return float(np.median(timings))


def cpu_model() -> str:
    """The processor as the kernel names it, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}" if names else platform.machine()


def main() -> None:
    """Print a row for each case, number of members, number of threads, and for the update as it is and compiled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of torch, each measured in turn")
    parser.add_argument("--seconds", type=float, default=5.0, help="of measuring, a row")
    args = parser.parse_args()
    table = Table(title=f"{cpu_model()}, torch {torch.__version__}, fp32")
    columns = ("update", "members", "threads", "compiled in s", "GFLOP", "ms a member", "GFLOP/s",
               "matrix GFLOP/s", "floor ms", "times the floor")  # fmt: skip
    for column in columns:
        table.add_column(column, justify="left" if column == "update" else "right")
    for (name, case), num_threads, setting in itertools.product(CASES.items(), args.threads, ("never", "always")):
        for num_members in case.members:
            torch.set_num_threads(num_threads)
            population = case.population(num_members, setting)
            with FlopCounterMode(display=False) as counter:
                case.population(1, "never").advance(1)
            population.advance(2)
            flop, rate = counter.get_total_flops(), matrix_rate()
            seconds = seconds_a_call(partial(population.advance, 1), args.seconds) / num_members
            compiled = f"{population.compile_seconds:.0f}" if population.is_compiled else "-"
            figures = (flop / 1e9, seconds * 1e3, flop / seconds / 1e9, rate / 1e9, flop / rate * 1e3)
            row = [f"{figure:.3g}" for figure in figures]
            row += [f"{seconds * rate / flop:.1f}"]
            table.add_row(name, str(num_members), str(num_threads), compiled, *row)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
