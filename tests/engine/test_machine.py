import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bcq_exp.engine.machine import (
    COMPILE_FROM,
    checked_precision,
    has_compiler,
    has_onednn,
    num_cores,
    num_threads_of,
    prepare_for,
    prepare_process,
    should_compile,
)


@pytest.fixture
def _compiler_unknown() -> Iterator[None]:
    has_compiler.cache_clear()
    yield
    has_compiler.cache_clear()


def test_a_run_rounds_subnormal_numbers_to_zero():
    tiny = torch.full((8,), 1e-39)
    assert (tiny * 1.0).sum() > 0
    prepare_process(1)
    assert (tiny * 1.0).sum() == 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_run_keeps_memory_that_was_freed():
    """Four tensors of 16 MiB are 16,384 pages, which are not asked for again each time.

    Whether glibc by itself gives them back depends on what lies above them, so here it does for all above 128 KiB.
    """
    program = (
        "import resource, torch\n"
        "from bcq_exp.engine.machine import prepare_process\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(10):\n"
        "        kept = [torch.full((2**22,), 1.0) for _ in range(4)]\n"
        "        del kept\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "faults(); before = faults(); prepare_process(1); faults(); print(before, faults())\n"
    )
    env = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env)
    before, after = map(int, ran.stdout.split())
    assert before > 10 * 4096
    assert after < 400


@pytest.mark.usefixtures("_compiler_unknown")
@pytest.mark.parametrize(
    ("setting", "num_updates", "expected"),
    [
        ("never", 10**9, False),
        ("always", 1, True),
        ("auto", COMPILE_FROM - 1, False),
        ("auto", COMPILE_FROM, True),
    ],
)
def test_when_the_update_is_compiled(monkeypatch: pytest.MonkeyPatch, setting: str, num_updates: int, expected: bool):
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert should_compile(setting, num_updates) == expected


@pytest.mark.usefixtures("_compiler_unknown")
def test_without_a_compiler_the_update_runs_as_it_is_and_a_process_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert not should_compile("always", 10)
    assert not should_compile("auto", COMPILE_FROM)
    assert caplog.text.count("no C++ compiler") == 1


def test_a_processor_without_units_for_bf16_is_said_and_serves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    assert checked_precision("fp32", torch.device("cpu")) == "fp32"
    assert checked_precision("bf16", torch.device("cuda")) == "bf16"
    assert caplog.text == ""
    assert checked_precision("bf16", torch.device("cpu")) == "bf16"
    assert caplog.text.count("no units for it") == 1


def test_where_torch_cannot_say_whether_it_has_units_for_bf16_it_has_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: True)
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace(_is_mkldnn_bf16_supported=lambda: True))
    assert has_onednn(torch.bfloat16)
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    assert not has_onednn(torch.bfloat16)
    assert has_onednn(torch.float32)
    assert not has_onednn(torch.float64)


@pytest.mark.parametrize(
    ("setting", "num_members", "most", "expected"),
    [("auto", 1, 16, 2), ("auto", 1, 1, 1), ("auto", 2, 16, 16), ("auto", 64, 3, 3), (5, 1, 16, 5), (5, 64, 3, 3)],
)
def test_members_that_train_side_by_side_use_all_cores_and_a_lone_one_two(
    setting: int | str, num_members: int, most: int, expected: int
):
    assert num_threads_of(setting, num_members, most) == expected


@pytest.mark.parametrize(("num_members", "cores", "of_torch"), [(1, 2, 2), (16, 8, 2)])
def test_a_population_uses_all_cores_and_torch_as_many_threads_as_for_a_lone_member(
    num_members: int, cores: int, of_torch: int, monkeypatch: pytest.MonkeyPatch
):
    threads: list[int] = []
    monkeypatch.setattr("bcq_exp.engine.machine.num_cores", lambda: 8)
    monkeypatch.setattr("bcq_exp.engine.machine.prepare_process", threads.append)
    assert prepare_for("auto", num_members) == cores
    assert threads == [of_torch]


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("9000000 100000", 8), (None, 8)],
)
def test_cores_are_those_that_the_process_is_bound_to_within_its_quota(
    quota: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
):
    def read_text(path: Path, encoding: str) -> str:
        if quota is None:
            raise FileNotFoundError(path)
        return f"{quota}\n"

    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(Path, "read_text", read_text)
    assert num_cores() == expected
