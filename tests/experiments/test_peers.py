"""The benchmark against other libraries: alternation, failures, tables and counts; contestants are real processes."""

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bcq_exp.algorithms import discrete_bcq
from bcq_exp.analysis.grid import Grid
from experiments.benchmark.cases import CASES, flop
from experiments.benchmark.peers.arena import Contestant, Timing, compete
from experiments.benchmark.peers.authors import DiscreteBCQ
from experiments.benchmark.peers.contestants import contestants
from experiments.benchmark.peers.protocol import Work, save
from experiments.benchmark.peers.sweep import SweepRow, of_peer
from experiments.benchmark.peers.tables import floors, report, sweeps, updates

# A contestant of a hundredth of a second an update, which writes down each request and breaks where it is told to.
FAKE = """
import json, sys
name, log, breaks = sys.argv[1:]
for number, line in enumerate(sys.stdin):
    request = json.loads(line)
    (kind,) = request
    print(name, kind, request[kind] if kind == "updates" else "-", file=open(log, "a"))
    if breaks == f"says {number}":
        print(json.dumps({"error": "ValueError: no such size"}), flush=True)
    elif breaks == f"dies {number}":
        print("Traceback", "ImportError: no such module", sep="\\n", file=sys.stderr)
        sys.exit(3)
    elif breaks == f"exits {number}":
        sys.exit(3)
    else:
        print(json.dumps({"seconds": 0.01 * request["updates"]} if kind == "updates" else {}), flush=True)
"""


def fake(name: str, log: Path, breaks: str = "never", *, is_peer: bool = True) -> Contestant:
    return Contestant(name, (sys.executable, "-c", FAKE, name, str(log), breaks), is_peer)


def entered(*found: Contestant) -> list[Timing]:
    return [Timing(contestant, "case", 1) for contestant in found]


def run(timings: list[Timing], rounds: int) -> None:
    compete(timings, lambda contestant: {}, rounds=rounds, seconds=0.5)


def blocks(log: Path) -> list[str]:
    """Who made the blocks, in order; 10 updates are a calibration."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return [name for name, kind, count in lines if kind == "updates" and count != "10"]


def test_contestants_take_turns_and_every_second_round_goes_backwards(tmp_path: Path) -> None:
    timings = entered(*(fake(name, tmp_path / "log") for name in "abc"))
    run(timings, rounds=3)
    rounds = ["".join(blocks(tmp_path / "log")[start : start + 3]) for start in (0, 3, 6)]
    assert rounds in (["abc", "cba", "abc"], ["cba", "abc", "cba"])
    assert [len(timing.seconds) for timing in timings] == [3, 3, 3]


def test_a_block_fills_the_time_that_it_is_given(tmp_path: Path) -> None:
    (timing,) = timings = entered(fake("a", tmp_path / "log"))
    run(timings, rounds=2)
    assert timing.block == 50  # half a second of hundredths
    assert timing.seconds == pytest.approx([0.01, 0.01])


@pytest.mark.parametrize(("number", "begun"), [(0, 0), (1, 0), (5, 2)], ids=["prepared", "calibrated", "timed"])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("says", "ValueError: no such size"),
        ("dies", "ImportError: no such module"),
        ("exits", "its process ended with status 3"),
    ],
)
def test_one_that_breaks_drops_out_with_its_reason_and_the_others_go_on(
    how: str, said: str, number: int, begun: int, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    timings = entered(fake("a", log), fake("b", log, f"{how} {number}"), fake("c", log))
    run(timings, rounds=3)
    assert [timing.error for timing in timings] == [None, said, None]
    assert [len(timing.seconds) for timing in (timings[0], timings[2])] == [3, 3]
    assert len(blocks(log)) == 6 + begun


def test_one_whose_environment_is_not_there_is_a_row_too(tmp_path: Path) -> None:
    missing = Contestant("a", (str(tmp_path / "python"), "-m", "nothing"), is_peer=True)
    timings = entered(missing, fake("b", tmp_path / "log"))
    run(timings, rounds=1)
    assert timings[0].error == f"No such file or directory: {tmp_path / 'python'}"
    assert len(timings[1].seconds) == 1


def timing(name: str, ms: list[float], *, is_peer: bool = True, threads: int = 1, **changed: Any) -> Timing:
    contestant = Contestant(name, (), is_peer, **changed)
    return Timing(contestant, "case", threads, seconds=[each / 1e3 for each in ms])


def test_ratios_are_of_medians_within_a_number_of_threads_and_a_precision() -> None:
    ours = timing("ours", [1.0, 2.0, 9.0], is_peer=False)
    half = timing("ours, bf16", [1.0], is_peer=False, precision="bf16")
    for each, rate in ((ours, 1e12), (half, 4e12)):
        each.facts, each.rates = {"flop": 500_000_000}, [rate]
    failed = timing("d3rlpy", [])
    failed.error = "broke"
    others = [timing("tianshou", [4.0]), failed, timing("authors' form", [6.0]), timing("tianshou", [1.0], threads=2)]
    grid = updates([ours, half, *others])
    assert floors([ours, half]) == {("case", 1, "fp32"): 0.5, ("case", 1, "bf16"): 0.125}
    assert [row[2:] for row in grid.rows] == [
        ("ours", "2", "1 to 9", "2.00", "4.00"),
        ("ours, bf16", "1", "1 to 1", "4.00", "8.00"),
        ("tianshou", "4", "4 to 4", "1.00", "8.00"),
        ("d3rlpy", "failed: broke", "-", "-", "-"),
        ("authors' form", "6", "6 to 6", "0.67", "12.0"),
        ("tianshou", "1", "1 to 1", "1.00", "-"),
    ]


def test_an_update_of_many_members_counts_for_each() -> None:
    assert timing("ours", [64.0], is_peer=False, members=32).ms == [2.0]


def test_a_sweep_counts_all_members_and_a_failure_is_not_the_fastest() -> None:
    rows = [
        SweepRow("ours", 160.0, 20_000, "one command", is_peer=False),
        SweepRow("tianshou", 480.0, 20_000, "runs", is_peer=True),
        SweepRow("d3rlpy", None, 20_000, "runs", is_peer=True, error="broke"),
    ]
    assert [row[:5] for row in sweeps(rows, floor_ms=0.25).rows] == [
        ("ours", "160", "0.5", "3.00", "2.00"),  # 160 s over 320,000 updates
        ("tianshou", "480", "1.5", "1.00", "6.00"),
        ("d3rlpy", "failed: broke", "-", "-", "-"),
    ]


def test_a_peers_sweep_makes_every_run_with_all_updates(tmp_path: Path) -> None:
    log = tmp_path / "log"
    row = of_peer(fake("a", log), {"config": {}, "threads": 1}, num_updates=500, peer_runs=4)
    assert sorted(log.read_text().splitlines()) == sorted(["a prepare -", "a updates 490"] * 4)  # 10 are the warm-up
    assert row.error is None
    assert "4 runs, time scaled to 16" in row.how


def test_a_peers_sweep_that_breaks_is_a_row(tmp_path: Path) -> None:
    row = of_peer(fake("a", tmp_path / "log", "dies 1"), {"config": {}, "threads": 1}, num_updates=500, peer_runs=2)
    assert (row.seconds, row.error) == (None, "ImportError: no such module")


def test_a_bar_in_an_error_does_not_break_the_file() -> None:
    grid = Grid("title", ("a", "b"), [("x | y", "z")])
    versions = {"torch": "1", "d3rlpy": "2"}
    text = report("Speed", [grid], {"ours": "note"}, about="In turn.", machine="box", versions=versions, how="Today.")
    assert "box. d3rlpy 2, torch 1. Today." in text
    assert [line.count("|") for line in text.splitlines() if line.startswith("|")] == [3, 3, 3]


# A layer of m x n costs m n multiplications and as many additions for each row of the batch; its gradient by the
# weights costs the same, that by its input too, which the first layer needs none of.


def test_the_floor_of_two_networks_is_what_one_counts_by_hand() -> None:
    case = CASES["discrete-64"]
    net, first = 4 * 256 + 256 * 256 + 256 * 2, 4 * 256
    forward = 5 * net  # of s': online, target and imitator; of s: Q and imitator
    backward = 2 * (net + net - first)
    assert flop(case.config(), case.columns()) == 2 * 64 * (forward + backward)


def test_the_floor_of_shared_convolutions_counts_them_once_for_both_heads() -> None:
    case = CASES["nature-cnn"]
    first, others = 400 * 32 * 4 * 64, 81 * 64 * 32 * 16 + 49 * 64 * 64 * 9
    trunk, head = first + others, 3136 * 512 + 512 * 6
    forward = (trunk + 2 * head) + (trunk + head) + (trunk + 2 * head)  # of s': online, target; of s
    backward = trunk + others + 4 * head
    columns = {name: column[:200] for name, column in case.columns().items()}
    assert flop(case.config(), columns) == 2 * 32 * (forward + backward)


@pytest.mark.parametrize("name", ["discrete-64", "nature-cnn"])
def test_the_authors_form_makes_the_step_that_our_loss_asks_for(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    config = case.config("batch_size=16")
    columns = {key: column[:200] for key, column in case.columns().items()}
    columns["terminated"] = np.arange(200) % 3 == 0
    save(tmp_path / "data.npz", columns)
    torch.manual_seed(0)
    learner = DiscreteBCQ(Work(config, str(tmp_path / "data.npz"), case.num_actions, {}))
    for parameter in learner.target.parameters():
        parameter.data.mul_(1.1)
    net, hp = copy.deepcopy(learner.net), config["algorithm"]
    np.random.seed(0)
    batch = learner.sample()
    np.random.seed(0)
    learner.update()
    keys = ("is_double", "clip_loss_grad", "num_quantiles", "target_update_freq", "estimation_step")
    settings = {key: hp[key] for key in (*keys, "reward_normalization")}
    (stage,) = discrete_bcq.build(**settings).stages
    loss, _ = stage.loss(
        {"model": lambda obs: net(obs)[0], "imitator": lambda obs: net(obs)[2]},
        {"model": lambda obs: learner.target(obs)[0]},
        {
            **batch,
            "rew": batch["rew"][:, None],
            "terminated": batch["terminated"].bool(),
            "num_steps": torch.ones(16, dtype=torch.int64),
        },
        {},
        {key: torch.tensor(value) for key, value in hp.items() if isinstance(value, float)},
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=config["optimizer"]["lr"])
    loss.backward()
    optimizer.step()
    for found, expected in zip(learner.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_only_cuda_has_compiled_peers_and_many_members() -> None:
    """`compile_graph` does nothing on a CPU: a row of that name there would be a lie."""
    names = {device: [each.name for each in contestants(CASES["bcq"], device, "python")] for device in ("cpu", "cuda")}
    assert names["cpu"] == ["ours", "ours, bf16", "tianshou", "d3rlpy"]
    assert set(names["cuda"]) - set(names["cpu"]) == {"ours, 32 members", "ours, 32 members, bf16", "d3rlpy, compiled"}


def test_bf16_is_timed_where_products_are_large() -> None:
    """Small products wait for memory, not for the units that multiply."""
    images, vectors = (
        [each.name for each in contestants(CASES[case], "cpu", "python")] for case in ("nature-cnn", "discrete-64")
    )
    assert images == ["ours", "ours, bf16", "tianshou", "d3rlpy", "authors' form"]
    assert vectors == ["ours", "tianshou", "d3rlpy", "authors' form"]
