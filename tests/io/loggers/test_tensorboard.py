"""What TensorBoard shows of a run, read back from its event files by TensorBoard itself."""

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bcq_exp.io.loggers.tensorboard import TensorBoardLogger
from cases import checked
from event_files import accumulated, scalars

needs_tensorboard = pytest.mark.skipif(find_spec("tensorboard") is None, reason="an extra")
CONFIG = {"algorithm": {"name": "bcq", "lmbda": 0.75, "is_double": True}, "hidden": [400, 300], "seed": 3, "clip": None}


def test_without_the_package_the_configuration_is_refused_and_the_extra_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bcq_exp.io.loggers.tensorboard.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"logger=tensorboard needs tensorboard: pip install 'bcq_exp\[tensorboard\]'"):
        checked("logger=tensorboard")


@needs_tensorboard
def test_metrics_are_scalars_over_updates_in_the_file_as_soon_as_they_are_logged(tmp_path: Path):
    logger = TensorBoardLogger(tmp_path, CONFIG)
    logger.log(500, {"train/critic_loss": 0.5})
    logger.log(1000, {"train/critic_loss": math.inf})
    logger.log(1000, {"eval/return": -180.5})
    expected = {"train/critic_loss": [(500, 0.5), (1000, math.inf)], "eval/return": [(1000, -180.5)]}
    assert scalars(tmp_path) == expected  # before it has finished
    logger.finish({"final_return": -180.5})
    assert scalars(tmp_path) == expected


@needs_tensorboard
def test_the_configuration_is_a_text_and_the_runs_hyperparameters(tmp_path: Path):
    from tensorboard.plugins.hparams import plugin_data_pb2 as plugin

    logger = TensorBoardLogger(tmp_path, CONFIG)
    begun = accumulated(tmp_path)
    (text,) = begun.Tensors("config/text_summary")
    assert "algorithm:\n  name: bcq\n  lmbda: 0.75\n" in text.tensor_proto.string_val[0].decode()

    def kept(accumulator: Any) -> dict[str, Any]:
        content = accumulator.PluginTagToContent("hparams")
        return {tag: plugin.HParamsPluginData.FromString(each) for tag, each in content.items()}

    start = kept(begun)["_hparams_/session_start_info"].session_start_info.hparams
    assert {name: value.number_value or value.string_value for name, value in start.items()} == {
        "algorithm.name": "bcq", "algorithm.lmbda": 0.75, "algorithm.is_double": 1.0, "hidden": "[400, 300]",
        "seed": 3.0,
    }  # fmt: skip
    metrics = kept(begun)["_hparams_/experiment"].experiment.metric_infos
    assert [metric.name.tag for metric in metrics] == ["eval/return", "eval/normalized_score", "eval/estimate"]
    assert "_hparams_/session_end_info" not in kept(begun)
    logger.finish({})
    assert "_hparams_/session_end_info" in kept(accumulated(tmp_path))


@needs_tensorboard
def test_rows_of_a_resumed_run_are_shown_once_and_those_after_the_checkpoint_not_at_all(tmp_path: Path):
    killed = TensorBoardLogger(tmp_path, CONFIG)
    for update in (10, 20, 30, 40):
        killed.log(update, {"loss": float(update)})
    resumed = TensorBoardLogger(tmp_path, CONFIG)  # from the checkpoint of update 20
    for update in (10, 20, 25):
        resumed.log(update, {"loss": update / 2})
    resumed.finish({})
    assert scalars(tmp_path) == {"loss": [(10, 5.0), (20, 10.0), (25, 12.5)]}
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 2
