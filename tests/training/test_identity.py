from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from bcq_exp.data.frames import FrameStacks
from bcq_exp.io.differences import flatten
from bcq_exp.training.identity import FREE, Identity, dataset_digest, is_free
from cases import composed, random_walk


def resolved(*typed: str) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(
        composed("dataset=h5", "dataset.path=a.h5", "dataset.env=E", "logger=wandb", *typed), resolve=True
    )
    return found


def identity(*typed: str, is_compiled: bool = False, dataset_sha256: str = "d" * 64) -> Identity:
    return Identity.of(resolved(*typed), is_compiled=is_compiled, dataset_sha256=dataset_sha256)


def differences(before: Identity, now: Identity, *, allow_code_change: bool = False) -> list[str]:
    return before.differences(now, allow_code_change=allow_code_change)


def other(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case list():
            return [*value, 1]
        case _:
            return "x"


KEYS = sorted(flatten(resolved()))


def test_the_free_keys_are_these_and_each_is_a_key():
    assert sorted(key for key in KEYS if is_free(key)) == [
        "allow_code_change", "allow_modules", "checkpoint_freq", "dataset.path", "logger.artifacts", "logger.entity",
        "logger.group", "logger.job_type", "logger.mode", "logger.name", "logger.project", "logger.tags",
        "num_checkpoints", "num_threads", "resume", "storage", "updates_per_launch",
    ]  # fmt: skip
    assert set(KEYS) >= FREE


@pytest.mark.parametrize("key", [key for key in KEYS if key != "compile"])
def test_each_key_but_the_free_ones_makes_another_run(key: str):
    cfg = OmegaConf.create(resolved())
    before = Identity.of(OmegaConf.to_container(cfg), is_compiled=False, dataset_sha256="")
    old = OmegaConf.select(cfg, key)
    OmegaConf.update(cfg, key, other(OmegaConf.to_container(old) if OmegaConf.is_config(old) else old))
    now = Identity.of(OmegaConf.to_container(cfg), is_compiled=False, dataset_sha256="")
    found = differences(before, now)
    if is_free(key) or key == "num_updates":
        assert found == []
    else:
        assert found == [f"{key}: {before.config[key]} before, {now.config[key]} now"]


def test_another_algorithm_differs_in_all_that_it_has_and_lacks():
    lines = differences(identity(), identity("algorithm=dqn"))
    assert "algorithm.name: discrete_bcq before, dqn now" in lines
    assert "algorithm.unlikely_action_threshold: 0.3 before, not set now" in lines


def test_what_compiling_comes_to_counts_and_not_how_it_was_asked_for():
    assert differences(identity("compile=auto"), identity("compile=never")) == []
    assert differences(identity(), identity(is_compiled=True)) == ["compile: False before, True now"]


def test_a_device_is_another_where_its_kind_is():
    assert differences(identity("device=cuda:0"), identity("device=cuda:1")) == []
    assert differences(identity("device=cuda:0"), identity("device=cpu")) == ["device: cuda before, cpu now"]


def test_a_run_may_go_on_for_longer_but_not_where_its_rates_depend_on_the_end():
    longer = "num_updates=20000"
    assert differences(identity(), identity(longer)) == []
    assert differences(identity(longer), identity()) == ["num_updates: 20000 before, 10000 now"]
    decayed = "optimizer.lr_decay=cosine"
    assert differences(identity(decayed), identity(decayed, longer)) == [
        "num_updates: 10000 before, 20000 now; optimizer.lr_decay=cosine would have been slower"
    ]
    iql = ("algorithm=iql", "algorithm.optimizers.policy.lr_decay=cosine")
    assert differences(identity(*iql), identity(*iql, longer)) == [
        "num_updates: 10000 before, 20000 now; algorithm.optimizers.policy.lr_decay=cosine would have been slower"
    ]


def test_other_code_is_a_difference_that_may_be_allowed_and_other_data_is_one_that_may_not():
    before = replace(identity(), source_sha256="c" * 64)
    now = identity(dataset_sha256="e" * 64)
    data = "the data has changed: sha256 dddddddddddd before, eeeeeeeeeeee now"
    assert differences(before, now, allow_code_change=True) == [data]
    code, found = differences(before, now)
    assert found == data
    assert code.startswith("the code has changed: cccccccccccc before, ")
    assert code.endswith("; allow_code_change=true goes on all the same")


def test_what_is_kept_is_read_as_it_was(tmp_path: Path):
    made = identity("optimizer.lr=3e-4", "network.hidden_sizes=[8,8]")
    assert Identity.kept(made.account(), tmp_path) == made


@pytest.mark.parametrize(
    "manifest", [{}, {"source_sha256": "a", "dataset": {"sha256": "b"}}, {"config": 1}, {"config": {}, "dataset": []}]
)
def test_a_manifest_that_does_not_say_what_its_run_is_is_refused_by_name(manifest: dict):
    with pytest.raises(ValueError, match=r"run/manifest\.json does not say what its run is.*begin anew"):
        Identity.kept(manifest, Path("run/manifest.json"))


def test_the_dataset_is_known_by_every_value_that_is_learned_from():
    mask = np.ones((40, 2), np.bool_)
    data = replace(random_walk(2, is_discrete=True), mask=mask, mask_next=mask.copy(), act_next=np.ones((40, 1)))
    assert dataset_digest(data) == dataset_digest(replace(data, source="elsewhere"))
    for name in ("obs", "act", "rew", "terminated", "truncated", "obs_next", "mask", "mask_next", "act_next"):
        column = getattr(data, name).copy()
        column.flat[-1] = 1 - column.flat[-1] if column.dtype != bool else not column.flat[-1]
        assert dataset_digest(replace(data, **{name: column})) != dataset_digest(data), name
    assert dataset_digest(replace(data, mask=None, mask_next=None)) != dataset_digest(data)


def test_stacks_are_known_by_their_frames_and_their_places():
    frames = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)
    data = random_walk(2, is_discrete=True)
    places = np.tile([2, 3, 4, 5], 10)
    stacked = replace(data, obs=FrameStacks(frames, places, 2), obs_next=FrameStacks(frames, places[::-1], 2))
    assert dataset_digest(stacked) != dataset_digest(replace(stacked, obs_next=stacked.obs))
    assert dataset_digest(stacked) != dataset_digest(replace(stacked, obs=FrameStacks(frames + 1, places, 2)))
    assert dataset_digest(stacked) == dataset_digest(replace(stacked, source="elsewhere"))
