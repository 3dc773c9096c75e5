"""The contestants of each case."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.benchmark.cases import Case
from experiments.benchmark.peers.arena import Contestant

PACKAGE = "experiments.benchmark.peers"
COMPILED = "compile=always"
MEMBERS_ON_CUDA = 32

NOTES = {
    "ours": "the population engine, compiled (`compile=always`), minibatches gathered from its own buffer on the "
    "device, metrics read each 100 updates; bf16 is `precision=bf16`. Settings of a run's process are included: "
    "numbers below 1e-38 are zero, and freed memory is kept",
    "tianshou": "`update(buffer=..., sample_size=...)` of `BCQ` and `DiscreteBCQ` on its `ReplayBuffer`, losses read "
    "at each update. The target of its continuous BCQ leaves the target perturbation network out, which is less "
    "work. On images both heads share the convolutions",
    "d3rlpy": "`update(dataset.sample_transition_batch(...))` of `BCQ` and `DiscreteBCQ` on its `MDPDataset`, losses "
    "read at each update. `compile_graph` has an effect on CUDA only; there it also sets TF32 products. On images its "
    "heads share the hidden layer of 512 too, which is less work",
    "authors' form": "discrete BCQ as its authors published it, written anew in eager torch: every forward pass runs "
    "both streams, images go in undivided, minibatches are rows of numpy arrays",
}


def work(case: Case, data: Path, contestant: Contestant, *overrides: str) -> dict[str, Any]:
    """The fields of a contestant's `Work`.

    Args:
        case: to be timed.
        data: file of its transitions.
        contestant: that does the work.
        overrides: of the configuration, for all contestants.
    """
    return {
        "config": case.config(*overrides, *contestant.overrides),
        "data": str(data),
        "num_actions": case.num_actions,
        "options": contestant.options,
    }


def command(module: str, python: str) -> tuple[str, ...]:
    """The command that starts a contestant's process."""
    return (python, "-m", f"{PACKAGE}.{module}")


def peer(name: str, python: str) -> Contestant:
    """tianshou or d3rlpy, unchanged."""
    options = {"compile_graph": False} if name == "d3rlpy" else {}
    return Contestant(name, command(f"{name}_worker", python), is_peer=True, options=options)


def compiled_d3rlpy(python: str) -> Contestant:
    """d3rlpy with `compile_graph`, which has an effect on CUDA only."""
    return replace(peer("d3rlpy", python), name="d3rlpy, compiled", options={"compile_graph": True})


def authors() -> Contestant:
    """The published form; it needs torch only."""
    return Contestant("authors' form", command("authors", sys.executable), is_peer=True)


def ours(members: int, precision: str) -> Contestant:
    """The population engine."""
    what = [f"{members} members"] * (members > 1) + [precision] * (precision != "fp32")
    return Contestant(
        ", ".join(["ours", *what]),
        command("ours", sys.executable),
        is_peer=False,
        members=members,
        precision=precision,
        overrides=(COMPILED, f"precision={precision}"),
        options={"members": members},
    )


def contestants(case: Case, device: str, peers_python: str) -> list[Contestant]:
    """All contestants that can run a case on a device.

    Args:
        case: to be timed.
        device: as torch names it.
        peers_python: the interpreter that has tianshou and d3rlpy.
    """
    is_continuous, is_cuda = case.overrides[0] == "algorithm=bcq", device != "cpu"
    is_large = is_continuous or "network=nature_cnn" in case.overrides  # enough for the units that multiply in bf16
    sizes = [1, MEMBERS_ON_CUDA] if is_continuous and is_cuda else [1]
    found = [ours(members, precision) for precision in ("fp32", "bf16")[: 1 + is_large] for members in sizes]
    found += [peer("tianshou", peers_python), peer("d3rlpy", peers_python)]
    if is_cuda:
        found.append(compiled_d3rlpy(peers_python))
    return found if is_continuous else [*found, authors()]
