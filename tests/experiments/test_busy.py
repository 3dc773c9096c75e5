"""The benchmark beside others: who works at the same time, what is summed, and the aims; contestants are processes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.benchmark.busy import IDLE, LONE, STATES, SWEEP, Entrant, State, at_work, compete, entrants, table
from experiments.benchmark.cases import CASES
from experiments.benchmark.load import prepare
from experiments.benchmark.peers.arena import Contestant, Worker
from experiments.benchmark.peers.protocol import Work, repeat, timed

# A contestant of 100 updates a second, which writes down each request and breaks at the one that it is told.
FAKE = """
import json, sys
log, breaks = sys.argv[1:]
for number, line in enumerate(sys.stdin):
    (kind,) = request = json.loads(line)
    print(kind, request[kind] if kind == "seconds" else request[kind]["threads"], file=open(log, "a"))
    answers = {"prepare": {"versions": {}}, "seconds": {"updates": 50, "seconds": 0.5}}
    print(json.dumps({"error": "ValueError: broke"} if str(number) == breaks else answers[kind]), flush=True)
"""
TWO = State("two at once", num_runs=2, aims={SWEEP: 0.85})


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def started() -> Iterator[list[Entrant]]:
    """Entrants whose processes are ended after the test."""
    found: list[Entrant] = []
    yield found
    for entrant in found:
        entrant.close()


def fake(log: Path, breaks: str = "never", *, members: int = 1) -> Contestant:
    return Contestant("a", (sys.executable, "-c", FAKE, str(log), breaks), is_peer=True, members=members)


def test_all_processes_of_all_runs_count_and_each_update_counts_its_members(log: Path, started: list[Entrant]) -> None:
    entrant = Entrant(fake(log, members=3), SWEEP, num_processes=2, num_threads=1)
    started.append(entrant)
    entrant.start({}, num_runs=4)
    for state in (IDLE, TWO):
        entrant.measure(state, seconds=1)
    assert entrant.rates == {"idle": [600], "two at once": [1200]}  # 2 and 4 processes, each 100 updates of 3 members
    entrant.close()
    requests = log.read_text().split("\n")
    assert requests.count("prepare 1") == 8
    assert requests.count("seconds 1") == 6


def test_another_process_works_longer_than_the_figure_takes(log: Path) -> None:
    load = Worker(fake(log).command, num_threads=1)
    with at_work(load, seconds=1):
        pass
    load.close()
    (kind, seconds) = log.read_text().split()
    assert kind == "seconds"
    assert float(seconds) > 1


def test_one_that_breaks_drops_out_and_the_others_are_measured(log: Path, started: list[Entrant]) -> None:
    started += [Entrant(fake(log, breaks), LONE) for breaks in ("never", "2", "never")]
    for entrant in started:
        entrant.start({}, num_runs=4)
    load = Worker(fake(log).command, num_threads=1)
    compete(started, {"loop": load, "products": load}, rounds=2, seconds=0.1)
    load.close()
    assert [entrant.error for entrant in started] == [None, "ValueError: broke", None]
    for entrant in (started[0], started[2]):
        assert [len(entrant.rates[state.name]) for state in STATES] == [2] * len(STATES)


def measured(name: str, work: str, *, is_peer: bool, idle: list[float], other: list[float]) -> Entrant:
    entrant = Entrant(Contestant(name, (), is_peer), work)
    entrant.rates = {state.name: other for state in STATES} | {IDLE.name: idle}
    return entrant


def test_a_share_is_of_the_same_round_and_only_ours_has_aims() -> None:
    failed = Entrant(Contestant("d3rlpy", (), is_peer=True), SWEEP, error="broke")
    sweeps = [
        measured("ours", SWEEP, is_peer=False, idle=[100, 1000, 100], other=[60, 500, 70]),
        measured("tianshou", SWEEP, is_peer=True, idle=[10, 10, 10], other=[1, 1, 1]),
        failed,
    ]
    rows = {row[1:3]: row[3:] for row in table(sweeps, "title").rows}
    beside, two = STATES[1].name, STATES[3].name
    assert rows[beside, "ours"] == ("70", "0.60", "0.50 to 0.70", "0.50: met")
    assert rows[two, "ours"] == ("70", "0.60", "0.50 to 0.70", "0.85: missed")
    assert rows[beside, "tianshou"] == ("1", "0.10", "0.10 to 0.10", "-")
    assert rows["idle", "ours"] == ("100", "-", "100 to 1,000 a second", "-")
    assert rows[beside, "d3rlpy"] == ("failed: broke", "-", "-", "-")


def test_ours_is_one_population_with_the_threads_of_a_run_and_a_peers_sweep_fills_the_cores() -> None:
    found = {(each.work, each.contestant.name): each for each in entrants(CASES["discrete-64"], "python", 3)}
    ours, peer = found[SWEEP, "ours"], found[SWEEP, "tianshou"]
    assert (ours.num_processes, ours.num_threads, ours.contestant.options["members"]) == (1, None, 16)
    assert (peer.num_processes, peer.num_threads) == (3, 1)
    assert {found[LONE, name].num_threads for name in ("ours", "tianshou", "d3rlpy", "authors' form")} == {None}


@pytest.mark.parametrize("kind", ["loop", "products"])
def test_the_other_processstarted_when_its_time_is_over(kind: str) -> None:
    prepared = prepare(Work({}, "", 0, {"kind": kind}))
    made = timed(prepared, "cpu", seconds=0.01)
    assert 1 <= made["updates"] < 10_000
    assert made["seconds"] >= 0.01


def test_updates_end_by_number_or_after_the_one_at_which_time_is_over() -> None:
    calls: list[int] = []
    assert repeat(lambda: calls.append(1), 5, lambda: False) == 5
    assert repeat(lambda: calls.append(1), 5, lambda: len(calls) >= 7) == 2
    assert len(calls) == 7


def test_a_caller_who_sets_threads_does_not_set_those_of_contestants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    names = ["OMP_NUM_THREADS", "OMP_WAIT_POLICY"]
    says = f"import json, os; input(); print(json.dumps([os.environ.get(name) for name in {names}]))"
    found = []
    for num_threads in (None, 2):
        worker = Worker((sys.executable, "-c", says), num_threads)
        found.append(worker.ask({}))
        worker.close()
    assert found == [[None, None], ["2", None]]
