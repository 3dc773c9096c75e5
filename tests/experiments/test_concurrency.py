"""Which messages the driver counts as refusals, and how a driver is chosen."""

import sys
from pathlib import Path

import pytest

from experiments.faults import __main__, concurrency
from experiments.faults.processes import Process


def test_a_refusal_is_one_message_with_exit_1(tmp_path: Path) -> None:
    def ended(script: str) -> Process:
        (process,) = concurrency.finished([["-c", script]], tmp_path / "folder")
        return process

    good = ended("raise SystemExit('error: run differs: seed 0, 1')")
    assert concurrency.refused(good, "seed", "0") == []
    assert concurrency.refused(good, "lr") == ["'lr' is not in: run differs: seed 0, 1"]
    assert "exit 0, should be 1" in concurrency.refused(ended("print('error: x')"))[0]
    assert any("a traceback" in line for line in concurrency.refused(ended("raise OSError('error: x')")))
    assert concurrency.ended_well(ended("raise SystemExit(3)")) == ["exit 3: nothing was said"]


def test_the_driver_is_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "main", lambda typed: len(typed))
    monkeypatch.setattr(sys, "argv", ["faults", "concurrency", "--faults", "one-run"])
    assert __main__.main() == 2
    monkeypatch.setattr(sys, "argv", ["faults", "floods"])
    with pytest.raises(SystemExit):
        __main__.main()
