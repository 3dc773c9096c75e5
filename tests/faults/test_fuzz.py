"""Any configuration, dataset or checkpoint is accepted or refused: nothing hangs or executes."""

import os
import sys
from pathlib import Path

import pytest

from experiments.faults import fuzz, fuzz_cases

SEED, COUNT = 0, 100


@pytest.fixture(scope="module", params=["configurations", "datasets", "checkpoints", "records"])
def home(request: pytest.FixtureRequest):
    pytest.importorskip("minari")
    environment = dict(os.environ)
    with fuzz.prepared([request.param]) as folder:
        yield request.param, folder
    os.environ.clear()
    os.environ.update(environment)


def test_a_hundred_cases_of_each_kind(home: tuple[str, Path]):
    kind, folder = home
    found = fuzz.run([(kind, number) for number in range(COUNT)], SEED, folder, num_processes=1)
    assert len(found) == COUNT
    results = [result for result, _ in found.values()]
    assert {case: text for case, (result, text) in found.items() if result == fuzz.FAILED} == {}
    assert min(results.count(fuzz.ACCEPTED), results.count(fuzz.REFUSED)) >= COUNT // 50  # both ways are taken


def hang(rng: fuzz_cases.Rng, folder: Path) -> None:
    """Takes longer than it may."""
    while True:
        pass


def die(rng: fuzz_cases.Rng, folder: Path) -> None:
    """Ends its process."""
    os._exit(7)


def execute(rng: fuzz_cases.Rng, folder: Path) -> None:
    """Imports the canary."""
    __import__(fuzz_cases.MODULE)


def show(rng: fuzz_cases.Rng, folder: Path) -> None:
    """Reads the canary variable."""
    raise ValueError(os.environ[fuzz_cases.VARIABLE])


def crash(rng: fuzz_cases.Rng, folder: Path) -> None:
    """Ends in an error of Python's."""
    raise KeyError("x")


def foreign(rng: fuzz_cases.Rng, folder: Path) -> None:
    """Ends in a ValueError of a library's, which names no file or key."""
    fuzz_cases.np.zeros(3).reshape(2)


def swallow(rng: fuzz_cases.Rng, folder: Path) -> None:
    """Takes more memory than there is for it."""
    bytearray(3 * fuzz.MEMORY)


def accept(rng: fuzz_cases.Rng, folder: Path) -> None:
    """Takes it."""


def test_the_driver_sees_each_wrong_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    steps = [hang, die, execute, show, crash, foreign, swallow, accept]
    monkeypatch.setitem(fuzz_cases.KINDS, "wrong", steps)
    monkeypatch.setenv(fuzz_cases.VARIABLE, fuzz.SECRET)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    fuzz_cases.prepare(tmp_path, [])
    cases = [("wrong", number) for number in range(len(steps))]
    found = fuzz.run(cases, SEED, tmp_path, num_processes=2, limit=2.0)
    said = [found[case] for case in cases]
    assert [result for result, _ in said] == [fuzz.FAILED] * 7 + [fuzz.ACCEPTED]
    words = ["more than 2 seconds", "code 7", "executed", "was read", "KeyError", "reshape", "MemoryError", ""]
    assert [word in text for word, (_, text) in zip(words, said, strict=True)] == [True] * len(steps)
    assert fuzz_cases.MODULE not in sys.modules


def test_a_case_is_the_same_each_time(tmp_path: Path):
    first, again = (fuzz_cases.run_values(fuzz_cases.np.random.default_rng(5)) for _ in range(2))
    assert first == again
    rngs = [fuzz_cases.np.random.default_rng(5) for _ in range(2)]
    assert len({fuzz_cases.damaged(bytes(range(200)), rng) for rng in rngs}) == 1
