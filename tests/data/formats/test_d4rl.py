import hashlib
import http.server
import logging
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bcq_exp.data import read_transitions
from bcq_exp.data.formats import d4rl
from bcq_exp.data.formats.d4rl import catalogue, load_d4rl, read_d4rl
from bcq_exp.training.datasets import load_parts
from cases import checked, read_cut, write_datasets

FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def content(**changed: Any) -> dict[str, Any]:
    """Episodes: terminal (rows 0 to 2), time limit (3 to 5), one terminal at its time limit (6, 7), cut (8, 9)."""
    columns = {
        "observations": np.arange(20, dtype=np.float32).reshape(10, 2),
        "actions": np.linspace(-1, 1, 10, dtype=np.float32)[:, None],
        "rewards": 2.0 ** np.arange(10, dtype=np.float32),
        "terminals": np.array([0, 0, 1, 0, 0, 0, 0, 1, 0, 0], np.bool_),
        "timeouts": np.array([0, 0, 0, 0, 0, 1, 0, 1, 0, 0], np.bool_),
        "next_observations": np.full((10, 2), np.nan),
        "infos/qpos": np.full((10, 3), np.nan),
        "metadata/algorithm": np.bytes_("SAC"),
    }
    return columns | changed


def write(path: Path, **changed: Any) -> Path:
    return write_datasets(path, content(**changed))


def read(path: Path, *, terminate_on_end: bool = False, max_episode_steps: int | None = None) -> Any:
    return read_d4rl(path, terminate_on_end=terminate_on_end, max_episode_steps=max_episode_steps)


def by_the_rules(path: Path, *, terminate_on_end: bool, max_episode_steps: int | None) -> dict[str, list[Any]]:
    """The rules once more, row by row, as a walk with a counter."""
    with h5py.File(path) as file:
        raw = {key: file[key][()] for key in file if isinstance(file[key], h5py.Dataset)}
    found: dict[str, list[Any]] = {key: [] for key in ("rows", "obs", "act", "rew", "obs_next", "act_next")}
    found |= {"terminated": [], "cut": []}
    counter = 0
    for i in range(len(raw["rewards"]) - 1):
        is_last = raw["timeouts"][i] if "timeouts" in raw else counter == max_episode_steps - 1
        if is_last and not terminate_on_end:
            counter = 0
            if found["rows"] and found["rows"][-1] == i - 1 and not found["terminated"][-1]:
                found["cut"][-1] = True
            continue
        has_ended = raw["terminals"][i] or is_last
        counter = 1 if has_ended else counter + 1
        found["rows"].append(i)
        found["obs"].append(raw["observations"][i].astype(np.float32))
        found["act"].append(raw["actions"][i].astype(np.float32))
        found["rew"].append(np.float32(raw["rewards"][i]))
        found["obs_next"].append(raw["observations"][i + 1].astype(np.float32))
        found["act_next"].append(raw["actions"][i if has_ended else i + 1].astype(np.float32))
        found["terminated"].append(bool(has_ended))
        found["cut"].append(False)
    if found["rows"] and found["rows"][-1] == len(raw["rewards"]) - 2 and not found["terminated"][-1]:
        found["cut"][-1] = True
    found["truncated"] = found.pop("cut")
    return found


def test_rows_of_a_small_file(tmp_path: Path) -> None:
    found = read(write(tmp_path / "data.hdf5"))
    np.testing.assert_array_equal(found.rows, [0, 1, 2, 3, 4, 6, 8])
    np.testing.assert_array_equal(found.obs[:, 0], [0, 2, 4, 6, 8, 12, 16])
    np.testing.assert_array_equal(found.obs_next[:, 0], [2, 4, 6, 8, 10, 14, 18])
    np.testing.assert_array_equal(found.rew, [1, 2, 4, 8, 16, 64, 256])
    np.testing.assert_array_equal(found.terminated, [0, 0, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(found.truncated, [0, 0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(found.episode_returns, [7, 56, 192, 768])
    np.testing.assert_array_equal(found.act_next, content()["actions"][[1, 2, 2, 4, 5, 7, 9]])


def test_terminate_on_end_keeps_time_limits_as_terminal_rows(tmp_path: Path) -> None:
    found = read(write(tmp_path / "data.hdf5"), terminate_on_end=True)
    np.testing.assert_array_equal(found.rows, range(9))
    np.testing.assert_array_equal(found.terminated, [0, 0, 1, 0, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(found.truncated, [0, 0, 0, 0, 0, 0, 0, 0, 1])


def test_count_of_rows_begins_with_one_behind_a_kept_row(tmp_path: Path) -> None:
    """Time limit 4: the terminal row 1 leaves room for rows 2 to 4, of which the last is dropped; then rows 5 to 8."""
    terminals = np.array([0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    found = read(write(tmp_path / "data.hdf5", timeouts=None, terminals=terminals), max_episode_steps=4)
    np.testing.assert_array_equal(found.rows, [0, 1, 2, 3, 5, 6, 7])
    np.testing.assert_array_equal(found.truncated, [0, 0, 0, 1, 0, 0, 1])


@FUZZ
@given(data=st.data())
def test_any_flags_read_as_row_by_row(tmp_path: Path, data: st.DataObject) -> None:
    num_rows = data.draw(st.integers(2, 30))
    flags = st.lists(st.sampled_from([0, 0, 0, 1]), min_size=num_rows, max_size=num_rows)
    rng = np.random.default_rng(num_rows)
    path = write(
        tmp_path / "data.hdf5",
        observations=rng.normal(size=(num_rows, 3)),
        actions=rng.normal(size=(num_rows, 2)),
        rewards=rng.normal(size=data.draw(st.sampled_from([(num_rows,), (num_rows, 1)]))),
        terminals=np.array(data.draw(flags)),
        timeouts=np.array(data.draw(flags), np.bool_) if data.draw(st.booleans()) else None,
    )
    rules = {"terminate_on_end": data.draw(st.booleans()), "max_episode_steps": data.draw(st.integers(2, 6))}
    expected = by_the_rules(path, **rules)
    if not expected["rows"]:
        with pytest.raises(ValueError, match=r"data\.hdf5: timeouts leave no row"):
            read(path, **rules)
        return
    found = read(path, **rules)
    for key, column in expected.items():
        np.testing.assert_array_equal(getattr(found, key), np.array(column).reshape(getattr(found, key).shape))
    assert (found.terminated | found.truncated)[-1]
    # No transition that is bootstrapped from ends elsewhere than in the next row of its own episode.
    goes_on = ~(found.terminated | found.truncated)
    np.testing.assert_array_equal(np.append(np.diff(found.rows), 0)[goes_on], 1)


def test_rows_are_those_of_the_package(tmp_path: Path) -> None:
    package = pytest.importorskip("d4rl", reason="the package d4rl is not installed")
    path = write(tmp_path / "data.hdf5")
    with h5py.File(path) as file:
        raw = {key: file[key][()] for key in ("observations", "actions", "rewards", "terminals", "timeouts")}
    for terminate_on_end in (False, True):
        theirs = package.qlearning_dataset(None, dataset=raw, terminate_on_end=terminate_on_end)
        ours = read(path, terminate_on_end=terminate_on_end)
        np.testing.assert_array_equal(ours.obs, theirs["observations"])
        np.testing.assert_array_equal(ours.act, theirs["actions"])
        np.testing.assert_array_equal(ours.rew, theirs["rewards"])
        np.testing.assert_array_equal(ours.obs_next, theirs["next_observations"])
        at_limit = raw["timeouts"][ours.rows]
        np.testing.assert_array_equal(ours.terminated & ~at_limit, theirs["terminals"] & ~at_limit)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rewards": None}, "missing dataset rewards; found: actions, infos, metadata, next_observations"),
        ({"timeouts": None}, "missing dataset timeouts.*dataset.max_episode_steps"),
        ({"rewards": np.ones(9)}, "rewards ends before row 9, observations has 10 rows"),
        ({"rewards": np.where(np.arange(10) == 5, np.nan, 0)}, "rewards row 5 is nan"),
        ({"observations": np.where(np.eye(10, 2, -3), np.inf, 0)}, "observations row 3 is inf"),
        ({"actions": np.full((10, 1), "x", "S1")}, "actions has dtype"),
        ({"terminals": np.full(10, 2)}, "terminals row 0 is 2; allowed: 0 or 1"),
        ({"timeouts": np.arange(10)}, "timeouts row 2 is 2; allowed: 0 or 1"),
        ({"timeouts": np.ones((10, 2))}, r"timeouts has shape \(10, 2\)"),
        ({"timeouts": np.ones(10)}, "timeouts leave no row of 10"),
    ],
)
def test_fault_names_file_key_and_row(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"data\.hdf5: .*{message}"):
        read(write(tmp_path / "data.hdf5", **changed))


@FUZZ
@given(
    key=st.sampled_from(["observations", "actions", "rewards", "terminals", "timeouts"]),
    shape=st.lists(st.sampled_from([0, 1, 2, 10]), max_size=3),
    dtype=st.sampled_from(["f2", "f8", "i1", "u8", "?", "c8", "S2"]),
    value=st.sampled_from([0, 1, 2]),
)
def test_any_array_in_place_of_a_column_is_refused_or_read(
    tmp_path: Path, key: str, shape: list[int], dtype: str, value: int
) -> None:
    path = write(tmp_path / "data.hdf5", **{key: np.full(shape, value).astype(dtype)})
    try:
        found = read(path)
    except ValueError as error:
        message = str(error)
    else:
        assert shape[0] == 10
        assert found.obs_next.shape == found.obs.shape
        return
    assert message.startswith(f"{path}: ")
    assert key in message


@FUZZ
@given(data=st.data())
def test_file_cut_anywhere_is_refused_or_right(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "whole.hdf5"
    if not path.exists():
        write(path)
    found = read_cut(path, read, data)
    if found is not None:
        np.testing.assert_array_equal(found.episode_returns, [7, 56, 192, 768])


def test_a_file_of_ones_own_keeps_more_than_d4rls_rule_does(tmp_path: Path) -> None:
    """Its next observations are used, on every row; without them a row at a time limit that is terminal stays."""
    actions = np.arange(10, dtype=np.int32)[:, None]
    path = write(tmp_path / "data.h5", actions=actions, next_observations=None)
    np.testing.assert_array_equal(read(path).act, [0, 1, 2, 3, 4, 6, 8])
    found = read_transitions(path)
    np.testing.assert_array_equal(found.act, [0, 1, 2, 3, 4, 6, 7, 8])
    np.testing.assert_array_equal(found.terminated, [0, 0, 1, 0, 0, 0, 1, 0])
    found = read_transitions(write(tmp_path / "next.h5", next_observations=np.full((10, 2), 7.0)))
    np.testing.assert_array_equal(found.obs_next, np.full((10, 2), 7))
    np.testing.assert_array_equal(found.truncated, [0, 0, 0, 0, 0, 1, 0, 0, 0, 1])


def test_table_has_a_file_of_its_own_for_each_name() -> None:
    table = catalogue()
    assert len({Path(known.file).name for known in table.values()}) == len(table) == 155
    assert table["hopper-medium-v2"] == (
        "Hopper-v5",
        -20.272305,
        3234.3,
        1000,
        "gym_mujoco_v2/hopper_medium-v2.hdf5",
    )
    # The one name of v0 whose file is called otherwise.
    assert table["walker2d-medium-replay-v0"].file == "gym_mujoco/walker_mixed.hdf5"
    assert all((known.ref_min is None) == (known.ref_max is None) for known in table.values())
    assert all(known.ref_min < known.ref_max for known in table.values() if known.ref_min is not None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """D4RL's folder, and a base address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(d4rl, "BASE_URL", f"http://127.0.0.1:{port}/")
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "d4rl"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "d4rl").mkdir()
    return tmp_path / "d4rl"


def load(dataset_id: str = "hopper-medium-v2", path: str | None = None) -> Any:
    return load_d4rl(dataset_id, path, terminate_on_end=False, max_episode_steps=None)


def test_medium_expert_is_put_together_from_its_parts(folder: Path) -> None:
    rewards = np.full(10, 3.0)
    write(folder / "hopper_medium-v2.hdf5")
    write(folder / "hopper_expert-v2.hdf5", rewards=rewards)
    found = load("hopper-medium-expert-v2")
    np.testing.assert_array_equal(found.rows, [0, 1, 2, 3, 4, 6, 8, 10, 11, 12, 13, 14, 16, 18])
    np.testing.assert_array_equal(found.rew, [1, 2, 4, 8, 16, 64, 256, *[3] * 7])
    np.testing.assert_array_equal(found.truncated, [0, 0, 0, 0, 1, 1, 1] * 2)
    np.testing.assert_array_equal(found.episode_returns, [7, 56, 192, 768, 9, 9, 6, 6])
    write(folder / "hopper_medium_expert-v2.hdf5", rewards=rewards)
    np.testing.assert_array_equal(load("hopper-medium-expert-v2").rew, [3] * 7)
    write(folder / "walker2d_medium-v2.hdf5")
    write(folder / "walker2d_expert-v2.hdf5", observations=np.ones((10, 5)))
    with pytest.raises(ValueError, match="differ between the files"):
        load("walker2d-medium-expert-v2")


def test_time_limit_of_a_file_without_timeouts_is_that_of_its_name(folder: Path) -> None:
    num_rows = 1500
    zeros = {"observations": np.zeros((num_rows, 2)), "actions": np.zeros((num_rows, 1)), "rewards": np.zeros(num_rows)}
    write(folder / "hopper_medium-v2.hdf5", **zeros, terminals=np.zeros(num_rows), timeouts=None)
    found = load()
    np.testing.assert_array_equal(found.rows[found.truncated], [998, 1498])
    shutil.move(folder / "hopper_medium-v2.hdf5", folder / "pen-human-v1.hdf5")
    with pytest.raises(ValueError, match=r"pen-human-v1\.hdf5: missing dataset timeouts"):
        load("pen-human-v1")


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves bytes; breaks the connection where it is told to."""

    content = b""
    breaks_after: int | None = None
    ranges: list[str | None]

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.ranges.append(asked)
        if not self.path.endswith("gym_mujoco_v2/hopper_medium-v2.hdf5"):
            self.send_error(404)
            return
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if asked and begin >= len(self.content):
            self.send_error(416)
            return
        body = self.content[begin:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.breaks_after])

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Handler]]:
    content = write(tmp_path / "served.hdf5").read_bytes()
    handler = type("Served", (Handler,), {"content": content, "ranges": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        monkeypatch.setattr(d4rl, "BASE_URL", f"http://127.0.0.1:{running.server_port}/")
        yield handler
        running.shutdown()
        thread.join()


def test_download_is_kept_with_its_hash(folder: Path, server: type[Handler]) -> None:
    np.testing.assert_array_equal(load().episode_returns, [7, 56, 192, 768])
    path = folder / "hopper_medium-v2.hdf5"
    digest = hashlib.sha256(server.content).hexdigest()
    assert path.read_bytes() == server.content
    assert path.with_name(f"{path.name}.sha256").read_text() == f"{digest}  {path.name}\n"
    load()
    assert server.ranges == [None]
    with h5py.File(path, "r+") as file:
        file["rewards"][0] = 5
    with pytest.raises(ValueError, match=r"hopper_medium-v2\.hdf5: not as it was downloaded"):
        load()


def test_broken_connection_is_gone_on_with(
    folder: Path, server: type[Handler], caplog: pytest.LogCaptureFixture
) -> None:
    third = len(server.content) // 3 + 1
    server.breaks_after = third
    with caplog.at_level(logging.WARNING):
        load()
    assert server.ranges == [None, f"bytes={third}-", f"bytes={2 * third}-"]
    assert (folder / "hopper_medium-v2.hdf5").read_bytes() == server.content
    assert len(caplog.records) == 2


def test_part_of_an_earlier_call_is_gone_on_with(folder: Path, server: type[Handler]) -> None:
    part = folder / "hopper_medium-v2.hdf5.part"
    part.write_bytes(server.content[:100])
    server.breaks_after = 0
    with pytest.raises(ValueError, match="connection ends"):
        load()
    assert part.read_bytes() == server.content[:100]
    server.breaks_after = None
    load()
    assert server.ranges == ["bytes=100-", "bytes=100-"]
    assert not part.exists()


def test_part_that_is_no_part_of_the_file_is_begun_anew(folder: Path, server: type[Handler]) -> None:
    (folder / "hopper_medium-v2.hdf5.part").write_bytes(bytes(len(server.content) + 1))
    load()
    assert (folder / "hopper_medium-v2.hdf5").read_bytes() == server.content
    assert server.ranges == [f"bytes={len(server.content) + 1}-", None]


def test_what_cannot_be_downloaded_is_named_with_its_address_and_its_place(folder: Path, server: type[Handler]) -> None:
    with pytest.raises(ValueError, match="404") as error:
        load("hopper-expert-v2")
    assert f"{d4rl.BASE_URL}gym_mujoco_v2/hopper_expert-v2.hdf5" in str(error.value)
    assert f"put it at {folder / 'hopper_expert-v2.hdf5'}" in str(error.value)
    assert not list(folder.glob("*.part"))


def test_without_a_network_the_file_is_named_with_its_address_and_its_place(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"hopper_medium-v2\.hdf5 is not in .*refused") as error:
        load()
    assert f"{d4rl.BASE_URL}gym_mujoco_v2/hopper_medium-v2.hdf5" in str(error.value)
    assert f"put it at {folder / 'hopper_medium-v2.hdf5'}" in str(error.value)
    with pytest.raises(FileNotFoundError, match="absent"):
        load(path=str(folder / "absent.hdf5"))


def test_configuration_takes_references_from_the_table(tmp_path: Path) -> None:
    path = write(tmp_path / "data.hdf5")
    choice = ("algorithm=bcq", "dataset=d4rl", "dataset.env=Pendulum-v1", f"dataset.path={path}")
    cfg = checked(*choice, "dataset.id=walker2d-medium-v2").dataset
    assert (cfg.name, cfg.env, cfg.ref_min, cfg.ref_max) == ("walker2d-medium-v2", "Pendulum-v1", 1.629008, 4592.3)
    assert len(load_parts(cfg).learned) == 7
    longer = checked(*choice, "dataset.id=walker2d-medium-v2", "dataset.terminate_on_end=true", "dataset.ref_min=0")
    assert (len(load_parts(longer.dataset).learned), longer.dataset.ref_min) == (9, 0)
    assert checked(*choice, "dataset.id=carla-town-full-v0").dataset.ref_max is None


@pytest.mark.parametrize(
    "typed", [["dataset.id=antmaze-umaze-v2"], ["dataset.id=hopper-medium-v2", "dataset.env=none"]]
)
def test_without_an_environment_spaces_are_those_of_the_data(tmp_path: Path, typed: list[str]) -> None:
    path = write(tmp_path / "data.hdf5")
    cfg = checked("algorithm=bcq", "dataset=d4rl", f"dataset.path={path}", *typed)
    assert (cfg.dataset.env, cfg.dataset.ref_min, cfg.dataset.ref_max) == (None, None, None)
    data = cfg.dataset.read()
    assert data.act_next is not None  # the recording's last action is that of no transition
    np.testing.assert_array_equal(cfg.action_space.high, np.maximum(data.act.max(0), data.act_next.max(0)))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset.id=hopper-medium-v9"], r"dataset\.id=hopper-medium-v9 is no dataset of D4RL; .*hopper-medium-v2"),
        (["dataset.id=pen-human-v1", "dataset.env=Pendulum-v1", "dataset.max_episode_steps=1"], "max_episode_steps=1"),
        (["dataset.env=Pendulum-v1"], r"dataset\.id has no value"),
    ],
)
def test_configuration_is_refused_before_any_work(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked("algorithm=bcq", "dataset=d4rl", *overrides)
