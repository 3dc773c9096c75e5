"""Presets of published runs: each equals its rows of the table, and trains."""

import copy
import csv
import math
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

import pixels
from bcq_exp.algorithms import REGISTRY
from bcq_exp.data import write_h5
from bcq_exp.io.files import read_json
from bcq_exp.io.source import CONF_DIR
from bcq_exp.training.config import check
from bcq_exp.training.experiment import build
from cases import composed, job
from trained import on_file

TABLE = Path(__file__).parents[2] / "experiments" / "published_settings.csv"
PRESETS = sorted(path.stem for path in (Path(CONF_DIR) / "experiment" / "published").glob("*.yaml"))
Row = dict[str, str]


def read_table() -> list[Row]:
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


ROWS = read_table()
BY_PRESET: dict[str, list[Row]] = defaultdict(list)
for row in ROWS:
    BY_PRESET[row["preset"]].append(row)


@cache
def preset(name: str) -> DictConfig:
    return composed(f"experiment=published/{name}")


@pytest.fixture(scope="module")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "images.h5"
    write_h5(path, pixels.recording(4, is_perfect=False), pixels.ENV, {})
    return path


@pytest.fixture(params=PRESETS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def data(name: str, discrete_file: Path, continuous_file: Path, image_file: Path) -> tuple[str, ...]:
    """The overrides that give the preset a small dataset of the right kind."""
    cfg = preset(name)
    if cfg.network.kind == "nature_cnn":
        return on_file(image_file, pixels.ENV)
    is_discrete = REGISTRY[cfg.algorithm.name].is_discrete
    return on_file(discrete_file) if is_discrete else on_file(continuous_file, "Pendulum-v1")


def test_the_table_names_every_preset_and_no_other():
    assert sorted(name for name in BY_PRESET if name) == PRESETS


def test_every_algorithm_has_rows():
    assert {row["algorithm"] for row in ROWS} == set(REGISTRY)


def test_a_preset_has_the_values_of_its_rows(name: str):
    cfg = preset(name)
    compared = [row for row in BY_PRESET[name] if row["key"] and row["ours"]]
    found = {row["key"]: OmegaConf.select(cfg, row["key"], throw_on_missing=True) for row in compared}
    assert found == {row["key"]: yaml.safe_load(row["ours"]) for row in compared}
    assert {row["algorithm"] for row in BY_PRESET[name]} == {cfg.algorithm.name}


def test_a_preset_is_allowed_with_the_values_of_each_dataset(name: str, data: tuple[str, ...]):
    others: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in BY_PRESET[name]:
        if row["key"] and not row["ours"]:
            others[row["dataset"]][row["key"]] = yaml.safe_load(row["published"])
    assert "" not in others
    cfg = composed(f"experiment=published/{name}", *data)
    check(cfg)
    for values in others.values():
        changed = copy.deepcopy(cfg)
        for key, value in values.items():
            OmegaConf.update(changed, key, value)
        check(changed)


def test_what_differs_from_the_published_value_has_its_reason():
    silent = [row for row in ROWS if (not row["key"] or row["ours"] not in ("", row["published"])) and not row["note"]]
    assert silent == []


def test_every_value_has_its_source():
    without = [row for row in ROWS if row["published"] != "none" and not (row["file"] and len(row["commit"]) == 40)]
    assert without == []


def test_a_key_has_one_value_for_each_preset_and_dataset():
    keys = [(row["preset"], row["key"], row["dataset"]) for row in ROWS if row["key"]]
    assert len(keys) == len(set(keys))


def test_a_preset_trains(name: str, data: tuple[str, ...], tmp_path: Path):
    sizes = {"hidden_sizes": "[8]", "vae_hidden_sizes": "[8]"}
    small = [f"network.{key}={value}" for key, value in sizes.items() if key in preset(name).network]
    short = ("num_updates=50", "eval_freq=50", "log_freq=10", "batch_size=16", "eval_episodes=1", "eval_max_steps=5")
    build([job(tmp_path, f"experiment=published/{name}", *data, *small, *short, "compile=never")]).run()
    assert read_json(tmp_path / "summary.json")["num_updates"] == 50
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    losses = [float(value) for row in rows for key, value in row.items() if key.startswith("train/") and value]
    assert len(rows) >= 5
    assert all(map(math.isfinite, losses))
