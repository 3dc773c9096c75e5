"""Files of other kinds are named, with what was found in them and the way to a file that is read."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from bcq_exp.data import read_transitions
from cases import write_datasets

TABLE = "state,action,reward,done,weight\n1,0,1.0,0,3\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", TABLE.encode(), "a text file with columns state, action, reward, done, weight; needed: observations"),
        (
            "a.csv",
            TABLE.encode(),
            "rename state to observations, action to actions, reward to rewards, done to",
        ),
        ("a.csv", TABLE.encode(), "must be 1 only where the environment terminated, not at time limits"),
        ("a.csv", TABLE.encode(), r"; or name its columns: dataset=table .*or --columns with inspect"),
        ("a.tsv", TABLE.replace(",", "\t").encode(), "a text file with columns state, action"),
        ("a.txt", TABLE.replace(",", ";").encode(), "a text file with columns state, action"),
        ("a.h5", TABLE.encode(), "a text file with columns state, action"),
        ("a.json", b'{"state": [1]}', r"a JSON file; write its columns with numpy\.savez"),
        ("a.jsonl", b'[{"state": 1}]', "a JSON file"),
        ("a.npz", gzip.compress(b"x", mtime=0), "a gzip'd file; unpack it"),
        ("a.parquet", b"PAR1" + bytes(20), "a Parquet file; name its columns: dataset=table"),
        ("a.mat", b"MATLAB 5.0 MAT-file", "a MATLAB file"),
        ("a.pt", b"PK\x03\x04" + bytes(50), r"\.pt files hold pickles, which can run code, and are never read"),
        ("a.pkl", b"c__builtin__\neval\n", r"\.pkl files hold pickles"),
    ],
)
def test_what_a_file_is_and_what_to_do(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: .*{said}") as error:
        read_transitions(tmp_path / name)
    assert "\n" not in str(error.value)


def test_an_array_alone_is_no_dataset(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"a\.npy: an \.npy file, which holds one array; write its columns"):
        read_transitions(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("state", "action", "reward", "done"), "rename state to observations, action to actions, reward to rewards"),
        (
            ("observations", "actions", "rewards", "dones"),
            "missing dataset terminals; .*; rename dones to terminals",
        ),
        (
            ("obs", "act", "rew", "done", "next_obs"),
            "missing dataset terminated; .*done to terminated, next_obs to",
        ),
        (
            ("observations", "actions", "rewards", "terminated", "truncated"),
            "terminated to terminals, truncated to",
        ),
        (("a\nb", "c"), r"unknown layout with keys 'a\\nb', c; needed"),
        ([f"key{i:02}" for i in range(30)], "key19 and 10 more; needed"),
    ],
)
@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_columns_of_other_names_get_the_renames(tmp_path: Path, names: tuple[str, ...], said: str, suffix: str) -> None:
    columns, path = dict.fromkeys(names, np.ones(4)), tmp_path / f"a{suffix}"
    if suffix == ".npz":
        np.savez(path, **columns)
    else:
        write_datasets(path, columns)
    with pytest.raises(ValueError, match=rf"a{suffix}: .*{said}") as error:
        read_transitions(path)
    assert "\n" not in str(error.value)


def test_a_file_is_what_it_holds_whatever_its_suffix(tmp_path: Path) -> None:
    columns = {"obs": np.ones((2, 1)), "act": np.zeros(2, int), "rew": np.ones(2), "terminated": np.ones(2)}
    columns["obs_next"] = columns["obs"]
    np.savez(tmp_path / "a.npz", **columns)
    (tmp_path / "a.npz").rename(tmp_path / "a.h5")
    write_datasets(tmp_path / "b.npz", columns)
    for name in ("a.h5", "b.npz"):
        np.testing.assert_array_equal(read_transitions(tmp_path / name).rew, [1, 1])


def test_masks_of_two_names_are_one_too_many(tmp_path: Path) -> None:
    names = ("observations", "actions", "rewards", "terminals", "timeouts", "action_mask", "infos/action_mask")
    path = write_datasets(tmp_path / "a.h5", dict.fromkeys(names, np.ones(4)))
    with pytest.raises(ValueError, match=r"a\.h5: action_mask and infos/action_mask both hold masks; keep one of them"):
        read_transitions(path)
