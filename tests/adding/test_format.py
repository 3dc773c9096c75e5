"""Additions: a format of files, a kind of dataset with keys of its own, a dataset of a known kind."""

import json
from pathlib import Path

import numpy as np
import pytest

from adding.tree import Tree

SHORT = ("logger=csv", "eval_freq=20", "eval_episodes=1", "log_freq=10", "batch_size=8", "network.hidden_sizes=[8]",
         "hydra.run.dir=run")  # fmt: skip


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Ten episodes of twelve rows; every second one ends at a time limit."""
    rng, step = np.random.default_rng(0), np.arange(120)
    ends, is_cut = step % 12 == 11, step // 12 % 2 == 1
    columns = [rng.uniform(-0.05, 0.05, (120, 4)), step % 2, np.ones(120), ends & ~is_cut, ends & is_cut]
    names = ["observations"] * 4 + ["actions", "rewards", "terminals", "timeouts"]
    path = tmp_path / "table.csv"
    np.savetxt(path, np.column_stack(columns), delimiter=",", header=",".join(names), comments="", fmt="%.6g")
    return path


def updates(tree: Tree, cwd: Path, *arguments: str) -> list[int]:
    """The updates in metrics.csv after a training, which has to succeed."""
    result = tree.give("-m", "bcq_exp.train", *arguments, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return [int(line.split(",")[0]) for line in (cwd / "run" / "metrics.csv").read_text().splitlines()[1:]]


def test_a_format_that_is_told_by_content_is_a_reader_and_a_line(tree: Tree, tmp_path: Path, table: Path) -> None:
    tree.write_documented("bcq_exp/data/formats/csv_table.py")
    readers = "bcq_exp/data/formats/readers.py"
    tree.replace(
        readers,
        "from bcq_exp.data.formats.d3rlpy import",
        "from bcq_exp.data.formats.csv_table import Csv\nfrom bcq_exp.data.formats.d3rlpy import",
    )
    tree.replace(readers, "(AtariReplay(),", "(Csv(), AtariReplay(),")
    assert len(tree.touched) <= 2

    chosen = ("dataset=h5", f"dataset.path={table.name}", "dataset.env=CartPole-v1")
    assert updates(tree, tmp_path, *chosen, *SHORT, "num_updates=20") == [10, 20]
    assert updates(tree, tmp_path, "resume=run", "num_updates=30") == [10, 20, 30]
    inspected = tree.give("-m", "bcq_exp.collect", "inspect", table.name, cwd=tmp_path)
    assert "10: 5 terminated, 5 truncated" in inspected.stdout, inspected.stderr
    assert "CSV" in tree.give("-m", "bcq_exp.collect", "inspect", "--layouts", cwd=tmp_path).stdout


def test_a_kind_with_keys_of_its_own_is_a_class_a_line_and_a_yaml(tree: Tree, tmp_path: Path, table: Path) -> None:
    tree.write_documented("bcq_exp/data/formats/places.py")
    tree.write_documented("conf/dataset/places.yaml")
    registry = "bcq_exp/training/datasets.py"
    tree.replace(
        registry,
        "from bcq_exp.data.schema import",
        "from bcq_exp.data.formats.places import PlacesDatasetConfig\nfrom bcq_exp.data.schema import",
    )
    tree.replace(registry, '    "h5": H5', '    "places": PlacesDatasetConfig,\n    "h5": H5')
    assert len(tree.touched) <= 3

    chosen = ("dataset=places", f"dataset.path={table.name}")
    assert updates(tree, tmp_path, *chosen, *SHORT, "num_updates=20") == [10, 20]
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["dataset"]["num_episodes"] == 9
    assert updates(tree, tmp_path, "resume=run", "num_updates=30") == [10, 20, 30]
    for wrong, said in (
        ("dataset.num_rows=0", "dataset.num_rows=0 is outside [1, inf)"),
        ("dataset.delimiter=ab", "dataset: delimiter='ab'; allowed: one character"),
        ("+dataset.delimeter=x", "dataset.delimeter is not a key of PlacesDatasetConfig; did you mean dataset.delim"),
    ):
        refused = tree.give("-m", "bcq_exp.train", *chosen, *SHORT, wrong, cwd=tmp_path)
        assert said in refused.stderr, refused.stderr


def test_a_dataset_of_a_known_kind_is_a_yaml(tree: Tree, tmp_path: Path) -> None:
    rng, ends = np.random.default_rng(0), np.arange(60) % 6 == 5
    columns = {"obs": rng.normal(size=(60, 4)), "act": ends * 1, "rew": np.ones(60), "terminated": ends}
    np.savez(tmp_path / "own.npz", **columns, truncated=np.zeros(60))
    tree.write_documented("conf/dataset/own.yaml")
    assert len(tree.touched) == 1
    assert updates(tree, tmp_path, "dataset=own", *SHORT, "num_updates=20") == [10, 20]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["dataset"] == "own"
