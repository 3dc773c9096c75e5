"""What a kind of dataset says of itself, beyond what its reader does."""

from pathlib import Path

import pytest

from bcq_exp.data.growth import Growth
from bcq_exp.io.source import CONF_DIR
from bcq_exp.training.datasets import DATASETS
from cases import checked

H5 = ("dataset=h5", "dataset.path=/x", "dataset.env=CartPole-v1")


def test_a_recording_is_told_apart_by_what_is_read_and_not_by_preprocessing() -> None:
    first, processed, longer = (
        checked(*H5, *more).dataset.recording
        for more in ((), ("dataset.fraction=0.5", "dataset.ref_min=0", "dataset.ref_max=9", "dataset.name=y"),
                     ("dataset.max_episode_steps=7",))
    )  # fmt: skip
    assert first == processed == {"format": "h5", "env": "CartPole-v1", "path": "/x", "max_episode_steps": None}
    assert longer == first | {"max_episode_steps": 7}


def test_a_dataset_grows_where_its_keys_say_so() -> None:
    pytest.importorskip("stable_baselines3")
    assert checked("dataset=cartpole-noisy").dataset.growth is None
    concurrent = "dataset=pendulum-concurrent", "algorithm=bcq"
    assert checked(*concurrent, "dataset.rows_per_update=0.5").dataset.growth == Growth(
        checked(*concurrent).dataset.rows_at_start, 0.5
    )


def test_sections_inside_a_dataset_are_checked_by_their_own_schema() -> None:
    with pytest.raises(ValueError, match=r"dataset\.training\.eval_frek is not a key of BehaviourConfig"):
        checked("dataset=pendulum-final-buffer", "algorithm=bcq", "+dataset.training.eval_frek=1")
    with pytest.raises(ValueError, match=r"dataset: behaviour\.eval_freq=0 is outside"):
        checked("dataset=pendulum-final-buffer", "algorithm=bcq", "dataset.training.eval_freq=0")


@pytest.mark.parametrize("kind", DATASETS)
def test_each_kind_is_registered_by_the_name_that_its_files_have(kind: str) -> None:
    files = [path for group in ("dataset", "protocol") for path in (Path(CONF_DIR) / group).glob("*.yaml")]
    assert any(f"format: {kind}\n" in path.read_text() for path in files)
