"""Checkpoints on disk: exact round trips, processes killed while they save, damaged files."""

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import MultiStepLR

from bcq_exp.io.checkpoint import (
    Damaged,
    common_checkpoints,
    keep_checkpoints,
    load_checkpoint,
    newest_states,
    remove_end,
    save_checkpoint,
)


class Training:
    """A small training with every kind of state: module, Adam, schedule, random streams, counter."""

    def __init__(self) -> None:
        self.net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
        self.optim = Adam(self.net.parameters(), lr=1e-2, betas=(0.8, 0.95))
        self.schedule = MultiStepLR(self.optim, milestones=[3, 6, 6], gamma=0.3)
        self.generator = torch.Generator().manual_seed(1)
        self.rng = np.random.default_rng(2)
        self.num_updates = 0

    def update(self) -> float:
        obs = torch.randn(16, 3, generator=self.generator) * self.rng.uniform(0.5, 2.0)
        loss: Tensor = (self.net(obs) - obs.sum(-1, keepdim=True)).square().mean()
        self.optim.zero_grad()
        torch.autograd.backward(loss)
        self.optim.step()
        self.schedule.step()
        self.num_updates += 1
        return loss.item()

    def state_dict(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(),
            "optim": self.optim.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "rng": self.rng.bit_generator.state,
            "num_updates": self.num_updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optim.load_state_dict(state["optim"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        self.rng.bit_generator.state = state["rng"]
        self.num_updates = state["num_updates"]


def assert_same(left: Any, right: Any) -> None:
    """Equal in type and in every bit; a mapping of any kind comes back as a dict."""
    if isinstance(left, Tensor):
        assert isinstance(right, Tensor)
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert left.detach().contiguous().numpy().tobytes() == right.numpy().tobytes()
    elif isinstance(left, dict):
        assert list(left) == list(right)
        assert [type(key) for key in left] == [type(key) for key in right]
        for key, value in left.items():
            assert_same(value, right[key])
    elif isinstance(left, list | tuple):
        assert type(left) is type(right)
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_same(a, b)
    elif isinstance(left, float):
        assert type(right) is float
        assert left.hex() == right.hex()
    else:
        assert type(left) is type(right)
        assert left == right


def test_training_continues_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = Training()
    for _ in range(5):
        first.update()
    path = save_checkpoint(tmp_path, 5, first.state_dict())
    assert path == tmp_path / "checkpoints" / "update_00000005"
    assert sorted(file.name for file in path.iterdir()) == ["state.json", "tensors.safetensors"]
    state = load_checkpoint(path)
    assert_same(first.state_dict(), state)

    torch.manual_seed(77)
    second = Training()
    second.load_state_dict(state)
    assert [first.update() for _ in range(5)] == [second.update() for _ in range(5)]
    assert_same(first.state_dict(), second.state_dict())
    assert first.schedule.get_last_lr() == pytest.approx([1e-2 * 0.3**3])


def test_values_round_trip_exactly(tmp_path: Path) -> None:
    state = {
        "floats": [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, 1.0, math.inf, -math.inf, math.nan],
        "ints": [0, -1, 2**127 + 1, True, False, None],
        "texts": ["", "naïve ☃ \ud800", 'quote" \\ / \n'],
        "nested": {"empty": {}, "list": [], "tuple": (), "pairs": ((1, 2.0), [3, ("x",)])},
        "keys": {0: "int", "0": "str", -5: {1: {2: None}}},
        "tags": {"$tensor": "not one", "$float": "1.0", "$items": [], "$tuple": 1},
        "": {"": 1},
    }
    assert_same(state, load_checkpoint(save_checkpoint(tmp_path, 0, state)))
    counted = load_checkpoint(save_checkpoint(tmp_path, 1, {"milestones": Counter([3, 6, 6])}))
    assert counted == {"milestones": {3: 1, 6: 2}}


def test_tensors_round_trip_exactly(tmp_path: Path) -> None:
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    state = {
        "base": base,
        "same": base,
        "view": base[1],
        "transposed": base.T,
        "strided": base[:, ::2],
        "scalar": torch.tensor(7.0),
        "empty": torch.empty(0, 3),
        "list": [torch.tensor([True, False]), (torch.tensor(2**62),)],
        "parameter": nn.Parameter(torch.tensor([math.nan, math.inf, -0.0], dtype=torch.float64)),
        "optim": {"state": {0: {"step": torch.tensor(3.0)}, 1: {"step": torch.tensor(4.0)}}},
        "generator": torch.Generator().manual_seed(5).get_state(),
    }
    loaded = load_checkpoint(save_checkpoint(tmp_path, 0, state))
    assert_same(state, loaded)
    loaded["base"].zero_()
    assert_same(base[1], loaded["view"])  # no memory is shared after loading
    half = load_checkpoint(save_checkpoint(tmp_path, 1, {"half": torch.tensor([1 / 3], dtype=torch.bfloat16)}))
    assert half["half"].dtype == torch.bfloat16
    assert half["half"].item() == 0.333984375


def test_tensor_names_are_the_joined_keys(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    path = save_checkpoint(tmp_path, 0, {"a": {"w.b": torch.ones(1)}, "b": [{7: torch.zeros(1)}]})
    with safetensors.safe_open(path / "tensors.safetensors", "pt") as file:
        assert sorted(file.keys()) == ["a/w.b", "b/0/7"]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {"b": object()}}, "'a/b' of the state is a object"),
        ({"a": [1, np.zeros(2)]}, "'a/1' of the state is a ndarray"),
        ({"a": {1.5: 0}}, "'a' of the state has the key 1.5"),
        ({"a": {"b": torch.ones(1)}, "a/b": torch.ones(1)}, "two tensors .* name 'a/b'"),
    ],
)
def test_what_cannot_be_stored_is_named_and_nothing_is_written(tmp_path: Path, state: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        save_checkpoint(tmp_path, 0, state)
    assert list(tmp_path.iterdir()) == []


def test_the_last_checkpoints_are_kept(tmp_path: Path) -> None:
    for update in (9, 10, 99_999_999, 100_000_000):
        path = save_checkpoint(tmp_path, update, {"update": update})
        keep_checkpoints(tmp_path, 2, update)
        assert common_checkpoints([tmp_path])[0] == [path]
    assert updates(tmp_path) == [99_999_999, 100_000_000]
    with pytest.raises(ValueError, match="num_checkpoints=0"):
        keep_checkpoints(tmp_path, 0, 1)


def test_what_a_run_that_went_back_has_before_it_does_not_take_the_place_of_what_it_writes(tmp_path: Path) -> None:
    for update in (20, 30, 37):
        save_checkpoint(tmp_path, update, {})
    keep_checkpoints(tmp_path, 1, 30)
    assert updates(tmp_path) == [30, 37]
    save_checkpoint(tmp_path, 40, {})
    keep_checkpoints(tmp_path, 1, 40)
    assert updates(tmp_path) == [40]


def updates(directory: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("update_")) for path in (directory / "checkpoints").iterdir())


def test_an_update_is_saved_again(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, {"value": 1})
    path = save_checkpoint(tmp_path, 5, {"value": 2})
    assert load_checkpoint(path) == {"value": 2}
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["update_00000005"]


def test_what_no_save_has_named_is_no_checkpoint(tmp_path: Path) -> None:
    assert common_checkpoints([tmp_path]) == []
    path = save_checkpoint(tmp_path, 5, {"weight": torch.ones(2)})
    for name in (".partial", "update_00000009.old", "update_x"):
        shutil.copytree(path, path.parent / name)
    (path.parent / "update_00000008").write_text("a file")
    assert common_checkpoints([tmp_path]) == [[path]]


def test_updates_that_all_runs_have_are_common_the_newest_first(tmp_path: Path) -> None:
    for name, saved in {"a": (1, 2, 3, 9), "b": (2, 3, 4, 9), "c": (9, 3, 2)}.items():
        for update in saved:
            save_checkpoint(tmp_path / name, update, {})
    found = common_checkpoints([tmp_path / name for name in "abc"])
    assert [[path.name for path in paths] for paths in found] == [[f"update_{n:08d}"] * 3 for n in (9, 3, 2)]
    assert [path.parents[1].name for path in found[0]] == ["a", "b", "c"]


def test_the_newest_that_is_whole_in_all_runs_is_taken_and_the_damaged_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = [tmp_path / "a", tmp_path / "b"]
    for run in runs:
        for update in (1, 2, 3, 4):
            save_checkpoint(run, update, {"run": run.name, "update": update})
    (runs[0] / "checkpoints" / "update_00000004" / "tensors.safetensors").unlink()
    damage(runs[1] / "checkpoints" / "update_00000003" / "state.json", "flipped")
    paths, states = newest_states(runs)
    assert states == [{"run": "a", "update": 2}, {"run": "b", "update": 2}]
    assert [path.name for path in paths] == ["update_00000002"] * 2
    assert [record.message for record in caplog.records] == [
        f"{runs[0]}/checkpoints/update_00000004/tensors.safetensors is missing; the checkpoint before is used",
        f"{runs[1]}/checkpoints/update_00000003/state.json is truncated or altered; the checkpoint before is used",
    ]
    assert newest_states([tmp_path / "c"]) == ([], [])
    damage(runs[0] / "checkpoints" / "update_00000002" / "state.json", "flipped")
    damage(runs[0] / "checkpoints" / "update_00000001" / "state.json", "flipped")
    with pytest.raises(ValueError, match=r"is missing; .*no checkpoint of \S+/a is whole: restore one, or remove \S+"):
        newest_states(runs)


def test_an_end_that_is_none_any_more_is_kept_only_where_a_longer_run_would_have_its_rows(
    tmp_path: Path,
) -> None:
    for update in (50, 100, 120, 130):
        save_checkpoint(tmp_path, update, {"update": update})
    remove_end(tmp_path, 130, (10, 65))
    assert next(path.name for (path,) in common_checkpoints([tmp_path])) == "update_00000130"
    remove_end(tmp_path, 130, (10, 60))
    assert next(path.name for (path,) in common_checkpoints([tmp_path])) == "update_00000120"
    with pytest.raises(ValueError, match="no checkpoint before update 50 is kept; begin anew in another directory"):
        remove_end(tmp_path, 50, (20, 50))
    assert len(common_checkpoints([tmp_path])) == 3


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
        return
    if how == "empty":
        data = bytearray()
    elif how == "truncated":
        data = data[:-2]
    elif how == "flipped":
        data[-3] ^= 1
    else:
        data += b"0"
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "flipped", "longer"])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, name: str, how: str) -> None:
    path = save_checkpoint(tmp_path, 1, {"weight": torch.ones(5), "num_updates": 12345})
    damage(path / name, how)
    with pytest.raises(Damaged, match=f"update_00000001/{name} is (missing|truncated or altered)$") as raised:
        load_checkpoint(path)
    assert "\n" not in str(raised.value)


def test_an_altered_value_is_detected(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, {"num_updates": 12345, "lr": 0.001})
    text = (path / "state.json").read_text()
    (path / "state.json").write_text(text.replace("12345", "12346"))
    with pytest.raises(Damaged, match=r"state\.json"):
        load_checkpoint(path)


@pytest.mark.parametrize("depth", [900, 100_000])
def test_a_state_that_is_nested_deeply_is_a_damaged_one(tmp_path: Path, depth: int) -> None:
    path = save_checkpoint(tmp_path, 1, {})
    content = json.loads((path / "state.json").read_text())
    text = json.dumps(content | {"state": "STATE"}).replace('"STATE"', "[" * depth + "]" * depth)
    (path / "state.json").write_text(text)
    with pytest.raises(Damaged, match=r"state\.json is truncated or altered"):
        load_checkpoint(path)


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, {})
    content = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(content | {"version": 1}))
    with pytest.raises(ValueError, match=r"state\.json: format version 1, but this release reads 2 only: go on with"):
        load_checkpoint(path)


def test_loading_leaves_the_saved_state_alone(tmp_path: Path) -> None:
    state = {"weight": torch.ones(3), "betas": (0.9, 0.99)}
    before = deepcopy(state)
    path = save_checkpoint(tmp_path, 1, state)
    assert isinstance(state["weight"], Tensor)
    state["weight"].zero_()
    assert_same(before, load_checkpoint(path, device="cpu"))


KILLED = """
import itertools, os, random, signal, sys, time
from pathlib import Path
import torch
from bcq_exp.io.checkpoint import common_checkpoints, keep_checkpoints, load_checkpoint, save_checkpoint

torch.set_num_threads(1)

def state(update):
    return {"update": update, "weight": torch.full((20_000,), float(update)), "optim": {0: torch.tensor(update)}}

def save(directory, update):
    save_checkpoint(directory, update, state(update))
    keep_checkpoints(directory, 2, update)

def save_all(directory, first):
    for update in range(first, first + 4):
        save(directory, update)
    save(directory, update)

def updates_that_load(directory):
    found = common_checkpoints([directory])
    if not found:
        return 0
    (latest,) = found[0]
    loaded = load_checkpoint(latest)
    update = loaded["update"]
    assert latest.name == f"update_{update:08d}"
    assert torch.equal(loaded["weight"], state(update)["weight"]) and loaded["optim"][0].item() == update
    return update

def die_at_file_operation(directory, nth):
    operations = itertools.count(1)
    def count(event, args):
        if (event == "open" or event.startswith(("os.", "shutil."))) and next(operations) == nth:
            os._exit(9)
    sys.addaudithook(count)
    save_all(directory, 1)

def file_operations(root):
    for nth in itertools.count(1):
        directory = root / str(nth)
        pid = os.fork()
        if pid == 0:
            die_at_file_operation(directory, nth)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        yield updates_that_load(directory)
        save_all(directory, 5)  # what the killed process left is no obstacle
        assert updates_that_load(directory) == 8
        assert sorted(os.listdir(directory / "checkpoints")) == ["update_00000007", "update_00000008"]
        if status == 0:
            return
        assert status == 9

def random_moments(directory):
    save(directory, 1)
    for delay in random.Random(0).choices(range(1, 40), k=25):
        first = updates_that_load(directory) + 1
        pid = os.fork()
        if pid == 0:
            for update in itertools.count(first):
                save(directory, update)
        time.sleep(delay / 1000)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        reached = updates_that_load(directory)
        assert reached >= first - 1
        yield reached

root = Path(sys.argv[1])
print(*file_operations(root / "operations"))
print(*random_moments(root / "moments"))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_process_leaves_checkpoints_that_load(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script, tmp_path], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    operations, moments = ([int(update) for update in line.split()] for line in done.stdout.splitlines())
    # Killed at its first file operation nothing is saved, later on one checkpoint after the other. Only while the
    # last one, saved a second time, takes its own place is the one before it the latest; the next start names it again.
    assert operations[0] == 0
    assert set(operations) == {0, 1, 2, 3, 4}
    assert operations[-1] == 4
    first_pass = operations[: operations.index(4)]
    assert first_pass == sorted(first_pass)
    assert moments == sorted(moments)
    assert moments[0] >= 1


@pytest.mark.parametrize("text", ["[" * 100_000, '{"version": ' + "[" * 100_000, "{}", "[]", "3", ""])
def test_a_state_that_is_nested_without_end_or_empty_is_named(tmp_path: Path, text: str):
    path = save_checkpoint(tmp_path, 1, {"a": torch.zeros(2)})
    (path / "state.json").write_text(text)
    with pytest.raises(ValueError, match="truncated or altered"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "tree", [{"a": {"$tensor": "absent"}}, {"$items": 3}, {"$float": "x"}, {"$items": [[[], 1]]}, [1]]
)
def test_a_nesting_that_says_nothing_is_named_though_its_sums_are_right(tmp_path: Path, tree: object):
    path = save_checkpoint(tmp_path, 1, {"a": torch.zeros(2)})
    content = json.loads((path / "state.json").read_text())
    content |= {"state": tree, "state_sha256": hashlib.sha256(json.dumps(tree).encode()).hexdigest()}
    (path / "state.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="truncated or altered"):
        load_checkpoint(path)


def test_tensors_that_are_none_are_named_though_their_sum_is_right(tmp_path: Path):
    path = save_checkpoint(tmp_path, 1, {"a": torch.zeros(2)})
    (path / "tensors.safetensors").write_bytes(b"\x00" * 40)
    content = json.loads((path / "state.json").read_text())
    content["tensors_sha256"] = hashlib.sha256(b"\x00" * 40).hexdigest()
    (path / "state.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="truncated or altered"):
        load_checkpoint(path)
