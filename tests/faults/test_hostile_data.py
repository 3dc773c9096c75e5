"""A dataset file executes nothing, reads no other file and takes no more memory than its bytes hold."""

import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest

from bcq_exp.data import read_transitions
from bcq_exp.data.formats.minari import read_facts

HUGE = (10**9, 4)  # 32 GB of float64
SECRET = 1234.5


class Bomb:
    """An object that leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def columns(**changed: Any) -> dict[str, Any]:
    made = {
        "observations": np.zeros((6, 4)),
        "actions": np.arange(6) % 2,
        "rewards": np.ones(6),
        "terminals": np.ones(6),
        "timeouts": np.zeros(6),
    }
    return made | changed


def header(shape: tuple[int, ...], descr: Any = "<f8") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


def saved(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def archive(path: Path, **members: bytes) -> Path:
    """An archive of numbers, but for the members that are given as they stand in the file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for key, array in columns().items():
            file.writestr(f"{key}.npy", members.get(key, saved(array)))
    return path


def replay(folder: Path, **members: bytes) -> Path:
    """A checkpoint of Atari frames, but for the files that are given as they stand."""
    names = {"observation": np.zeros((40, 8, 8), np.uint8), "action": np.zeros(40, np.int32)}
    names |= {"reward": np.zeros(40, np.float32), "terminal": np.zeros(40, np.uint8)}
    for name, array in names.items():
        content = gzip.compress(saved(array))
        (folder / f"$store$_{name}_ckpt.0.gz").write_bytes(members.get(name, content))
    (folder / "add_count_ckpt.0.gz").write_bytes(gzip.compress(saved(np.array(40))))
    return folder


def hdf5(path: Path, change: Callable[[h5py.File], None]) -> Path:
    with h5py.File(path, "w") as file:
        file.update(columns())
        change(file)
    return path


def instead(key: str, make: Callable[[h5py.File], Any]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[key]
        made = make(file)
        if made is not None:
            file[key] = made

    return change


def outside(folder: Path) -> Path:
    """A file that was not given, of numbers and as raw bytes."""
    with h5py.File(folder / "outside.h5", "w") as file:
        file["secret"] = np.full((6, 4), SECRET)
    (folder / "outside.bin").write_bytes(np.full(24, SECRET).tobytes())
    return folder


def virtual(folder: Path) -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout((6, 4), np.float64)
    layout[:] = h5py.VirtualSource(str(outside(folder) / "outside.h5"), "secret", (6, 4))
    return layout


def declared(file: h5py.File, **kwargs: Any) -> None:
    file.create_dataset("observations", HUGE, np.float64, **kwargs)


def fake_gzip_of_pickle(mark: Path) -> bytes:
    return gzip.compress(pickle.dumps(Bomb(mark)))


# What is written into an empty folder, given a mark that would be left; and what the refusal says.
FILES: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "npz: objects": (
        lambda folder, mark: archive(folder / "a.npz", rewards=saved(np.array([Bomb(mark)] * 6))),
        "array of objects",
    ),
    "npz: a pickle as a member": (
        lambda folder, mark: archive(folder / "a.npz", rewards=pickle.dumps(Bomb(mark))),
        "at the key rewards",
    ),
    "npz: objects in fields": (
        lambda folder, mark: archive(folder / "a.npz", rewards=header((6,), [("a", "|O")]) + pickle.dumps(Bomb(mark))),
        "array of objects",
    ),
    "npz: a huge shape": (
        lambda folder, mark: archive(folder / "a.npz", observations=header(HUGE) + bytes(192)),
        "declares 32,000,000,000 bytes",
    ),
    "npz: a shape beyond 64 bits": (
        lambda folder, mark: archive(folder / "a.npz", observations=header((2**40, 2**40)) + bytes(192)),
        "declares 9,671,406,556,917,033,397,649,408 bytes",
    ),
    "npz: a negative shape": (
        lambda folder, mark: archive(folder / "a.npz", observations=header((-6, -4)) + bytes(192)),
        r"shape \(-6, -4\)",
    ),
    "h5: a huge shape": (
        lambda folder, mark: hdf5(folder / "a.h5", instead("observations", lambda file: declared(file, chunks=True))),
        r"observations: its header declares 32\.0 GB",
    ),
    "h5: a huge shape, packed": (
        lambda folder, mark: hdf5(
            folder / "a.h5", instead("observations", lambda file: declared(file, chunks=(10**6, 4), compression="gzip"))
        ),
        r"observations: its header declares 32\.0 GB",
    ),
    "h5: a huge shape, never written": (
        lambda folder, mark: hdf5(folder / "a.h5", instead("observations", declared)),
        r"observations: its header declares 32\.0 GB",
    ),
    "h5: huge chunks": (
        lambda folder, mark: hdf5(
            folder / "a.h5",
            instead(
                "observations",
                lambda file: (
                    file.create_dataset("observations", (6, 4), "f8", chunks=(10**8, 4), maxshape=(None, 4)) and None
                ),
            ),
        ),
        r"observations: its header declares 3\.2 GB",
    ),
    "h5: an external link": (
        lambda folder, mark: hdf5(
            folder / "a.h5",
            instead("observations", lambda _: h5py.ExternalLink(str(outside(folder) / "outside.h5"), "secret")),
        ),
        "observations is a link",
    ),
    "h5: a link to an external link": (
        lambda folder, mark: hdf5(
            folder / "a.h5",
            instead(
                "observations",
                lambda file: (
                    file.update({"x": h5py.ExternalLink(str(outside(folder) / "outside.h5"), "/")})
                    or h5py.SoftLink("/x/secret")
                ),
            ),
        ),
        "observations is a link",
    ),
    "h5: external storage": (
        lambda folder, mark: hdf5(
            folder / "a.h5",
            instead(
                "observations",
                lambda file: (
                    file.create_dataset(
                        "observations", (6, 4), "f8", external=[(str(outside(folder) / "outside.bin"), 0, 192)]
                    )
                    and None
                ),
            ),
        ),
        "observations lies in other files",
    ),
    "h5: a virtual dataset": (
        lambda folder, mark: hdf5(
            folder / "a.h5",
            instead("observations", lambda file: file.create_virtual_dataset("observations", virtual(folder)) and None),
        ),
        "observations lies in other files",
    ),
    "h5: objects": (
        lambda folder, mark: hdf5(
            folder / "a.h5", instead("rewards", lambda _: np.array([pickle.dumps(Bomb(mark)).hex()] * 6, object))
        ),
        "rewards has dtype object",
    ),
    "atari: objects": (
        lambda folder, mark: replay(folder, reward=gzip.compress(saved(np.array([Bomb(mark)] * 40)))),
        "array of objects",
    ),
    "atari: objects as frames": (
        lambda folder, mark: replay(folder, observation=gzip.compress(saved(np.array([Bomb(mark)] * 40)))),
        "array of objects",
    ),
    "atari: a pickle": (
        lambda folder, mark: replay(folder, action=fake_gzip_of_pickle(mark)),
        r"action_ckpt\.0\.gz: not a readable",
    ),
    "atari: a huge shape": (
        lambda folder, mark: replay(folder, action=gzip.compress(header(HUGE) + bytes(192))),
        r"action_ckpt\.0\.gz: .*declares 32\.0 GB",
    ),
    "atari: huge frames": (
        lambda folder, mark: replay(folder, observation=gzip.compress(header((40, 10**5, 10**5), "|u1") + bytes(192))),
        r"observation_ckpt\.0\.gz: .*declares 400\.0 GB",
    ),
}


def measured(path: Path) -> tuple[str, float]:
    """The message of a process that reads a file, and the peak growth of its memory in MB."""
    script = """
        import resource, sys
        from bcq_exp.data import read_transitions
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        before = peak()
        try:
            read_transitions(sys.argv[1])
        except ValueError as error:
            print(peak() - before, error)
    """
    program = "\n".join(line[8:] for line in script.splitlines())
    run = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
    grown, _, said = run.stdout.partition(" ")
    return said, float(grown)


@pytest.mark.parametrize("kind", FILES)
def test_each_hostile_file_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path / "cache"))
    folder, mark = tmp_path / "data", tmp_path / "mark"
    folder.mkdir()
    write, said = FILES[kind]
    path = write(folder, mark)
    with pytest.raises(ValueError, match=rf"^{path}.*{said}") as error:
        read_transitions(path)
    assert "\n" not in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    "suffix", [".npz", ".npy", ".h5", ".hdf5", ".gz", ".pkl", ".pickle", ".pt", ".csv", ".json", ""]
)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_under_any_name_is_never_run(tmp_path: Path, suffix: str, protocol: int) -> None:
    path, mark = tmp_path / f"data{suffix}", tmp_path / "mark"
    path.write_bytes(pickle.dumps(Bomb(mark), protocol))
    with pytest.raises(ValueError, match=rf"^{path}: "):
        read_transitions(path)
    assert not mark.exists()


@pytest.mark.parametrize("kind", [kind for kind in FILES if "huge" in kind])
def test_a_declared_size_takes_no_memory(tmp_path: Path, kind: str) -> None:
    write, _ = FILES[kind]
    said, grown = measured(write(tmp_path, tmp_path / "mark"))
    assert "declares" in said
    assert grown < 50


def test_a_directory_of_an_archive_that_lies_about_sizes_is_refused(tmp_path: Path) -> None:
    """The central directory says 8 GB of a member that holds 192 bytes behind its header."""
    path = archive(tmp_path / "a.npz", observations=header(HUGE) + bytes(192))
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02", 0, content.rindex(b"observations.npy"))
    content[place + 24 : place + 28] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(content)
    said, grown = measured(path)
    assert said.startswith(f"{path}: not a readable .npz archive")
    assert grown < 50


@pytest.fixture
def minari_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of Minari of one episode, which names a module that leaves a mark when it is imported."""
    minari = pytest.importorskip("minari")
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "root"))
    box, flags = gym.spaces.Box(-9, 9, (2,)), np.array([False, False, True])
    steps = {"actions": np.zeros(3, int), "rewards": np.ones(3), "terminations": flags, "truncations": flags & False}
    episode = EpisodeBuffer(id=0, observations=np.zeros((4, 2), np.float32), **steps)
    minari.create_dataset_from_buffers(
        "tests/hostile-v0", [episode], observation_space=box, action_space=gym.spaces.Discrete(2)
    )
    (tmp_path / "canary_module.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'mark')!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "root" / "tests" / "hostile-v0"
    path = folder / "data" / "metadata.json"
    spec = json.loads(gym.spec("CartPole-v1").to_json())
    spec |= {"id": "canary_module:Env-v0", "entry_point": "canary_module:Env"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"env_spec": json.dumps(spec)}))
    return folder


@pytest.mark.filterwarnings("ignore")
def test_metadata_import_no_module(minari_folder: Path, tmp_path: Path) -> None:
    assert read_facts(minari_folder)["env"] == "canary_module:Env-v0"  # that nobody makes who has not typed it
    assert len(read_transitions(minari_folder)) == 3
    path = minari_folder / "data" / "metadata.json"
    metadata = json.loads(path.read_text())
    del metadata["action_space"]  # Minari itself would make the environment for it
    path.write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match=r"metadata\.json: action_space is missing"):
        read_transitions(minari_folder)
    assert not (tmp_path / "mark").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file, folder: h5py.ExternalLink(str(outside(folder) / "outside.h5"), "secret"), "is a link"),
        (lambda file, folder: file.create_virtual_dataset("v", virtual(folder)), "lies in other files"),
        (lambda file, folder: file.create_dataset("big", HUGE, "f8", chunks=True), r"declares 32\.0 GB"),
    ],
)
def test_minaris_library_is_given_no_such_file(
    minari_folder: Path, tmp_path: Path, change: Callable[[h5py.File, Path], Any], said: str
) -> None:
    with h5py.File(minari_folder / "data" / "main_data.hdf5", "a") as file:
        del file["episode_0/observations"]
        file["episode_0/observations"] = change(file, tmp_path)
    with pytest.raises(ValueError, match=rf"hostile-v0: .*{said}"):
        read_transitions(minari_folder)
