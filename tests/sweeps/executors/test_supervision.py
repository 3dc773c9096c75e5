"""The supervision of groups, with processes that are played."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from bcq_exp.io.files import write_json
from bcq_exp.sweeps.executors import supervision
from bcq_exp.sweeps.executors.supervision import facts, supervise
from bcq_exp.sweeps.group import Group
from cases import SUMMARY


def made(sweep_dir: Path, name: str) -> Group:
    return Group(sweep_dir, [name], num_threads=1, device="cpu")


class Played:
    """A process that is looked at so many times, then leaves its summary or dies."""

    def __init__(self, group: Group, looks: int) -> None:
        self.group, self.looks, self.is_cancelled = group, looks, False

    def state(self) -> str | None:
        self.looks -= 1
        if self.looks > 0:
            return "running"
        if self.looks == 0 and "dies" not in self.group.run_dirs[0].name:
            self.group.run_dirs[0].mkdir()
            write_json(self.group.run_dirs[0] / "summary.json", SUMMARY)
        return None

    def where(self) -> str:
        return "the cluster"

    def cancel(self) -> None:
        self.is_cancelled = True


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "PERIOD", 0)


def test_places_are_filled_as_they_come_free_and_each_keeps_its_gpu(tmp_path: Path):
    looks = {"a": 3, "b": 1, "c": 1, "d": 5, "e": 1}
    groups, started = [made(tmp_path, name) for name in looks], []

    def start(some: Sequence[Group], gpus: Sequence[str]) -> list[Played]:
        ended = sum(group.has_ended() for group in groups)
        started.extend((next(iter(group.runs)), gpu, ended) for group, gpu in zip(some, gpus, strict=True))
        return [Played(group, looks[next(iter(group.runs))]) for group in some]

    assert supervise(groups, start, 2, ["4", "7"]) == []
    # b and c run beside a on the second GPU; then d takes that one, and e the one that a has left
    assert started == [("a", "4", 0), ("b", "7", 0), ("c", "7", 1), ("d", "7", 2), ("e", "4", 3)]
    assert all(group.has_ended() for group in groups)


def test_one_that_dies_stops_no_other_and_is_told_with_its_logs(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    groups = [made(tmp_path, name) for name in ("a", "dies", "b")]
    told = supervise(groups, lambda some, _: [Played(group, 2) for group in some], 1, [""])
    assert told == [f"group 2: see {groups[1].log_path} and the cluster"]
    assert [group.has_ended() for group in groups] == [True, False, True]
    assert [record.message for record in caplog.records] == [
        "0 of 3 groups ended | 1 running, 2-3 waiting",
        "1 of 3 groups ended | 1 ended, 2 running, 3 waiting",
        "1 of 3 groups ended | 1 ended, 2 died, 3 running",
        "2 of 3 groups ended | 1 ended, 2 died, 3 ended",
    ]


def test_an_interrupt_ends_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tasks: list[Played] = []

    def start(some: Sequence[Group], gpus: Sequence[str]) -> list[Played]:
        tasks.extend(Played(group, 1 if "a" in group.runs else 99) for group in some)
        return tasks[-len(some) :]

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(supervision.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        supervise([made(tmp_path, name) for name in "abcd"], start, 2, [""])
    assert [(next(iter(task.group.runs)), task.is_cancelled) for task in tasks] == [
        ("a", False),
        ("b", True),
        ("c", True),
    ]


def test_neighbours_that_do_the_same_are_told_together():
    states = ["ended", "ended", "died", "running", "pending", "pending", "waiting"]
    assert facts(states) == "2 of 7 groups ended | 1-2 ended, 3 died, 4 running, 5-6 pending, 7 waiting"
