"""The sweep of W&B's own, as its agent runs it."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from bcq_exp.io.files import read_json
from bcq_exp.io.source import CONF_DIR
from bcq_exp.training.evaluating import Playing
from cases import checked
from trained import on_file, train_run
from wandb_server import WandbServer

SWEEP: dict[str, Any] = yaml.safe_load((Path(CONF_DIR).parent / "experiments" / "wandb_sweep.yaml").read_text())


def agents_command(values: dict[str, Any]) -> list[str]:
    """The command that an agent makes for a choice of parameters, put together as in `wandb.wandb_agent`."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    arguments = {"args": {key: {"value": value} for key, value in values.items()}}
    macros = utils.create_sweep_command_args(arguments)
    macros |= {"interpreter": ["python"], "program": [SWEEP["program"]], "env": ["/usr/bin/env"]}
    command: list[str] = []
    for word in utils.create_sweep_command([*SWEEP["command"]]):
        is_macro = word.startswith("${") and word.endswith("}")
        command += macros[word[2:-1]] if is_macro else [word]
    return command


def test_each_choice_of_an_agent_is_a_run():
    parameters = SWEEP["parameters"]
    for values in product(*(parameters[key]["values"] for key in parameters)):
        chosen = dict(zip(parameters, values, strict=True))
        start, words = agents_command(chosen)[:4], agents_command(chosen)[4:]
        assert start == ["/usr/bin/env", "python", "-m", "bcq_exp.train"]
        cfg = checked(*words)
        assert (cfg.algorithm.name, cfg.dataset.name, cfg.logger.name) == ("discrete_bcq", "cartpole-noisy", "wandb")
        assert cfg.algorithm.unlikely_action_threshold == chosen["algorithm.unlikely_action_threshold"]
        assert cfg.schedule.seed == chosen["seed"]


def test_no_parameter_takes_the_place_of_a_section():
    """W&B writes a parameter over the run's configuration under its own name."""
    assert not [key for key in SWEEP["parameters"] if (Path(CONF_DIR) / key).is_dir()]


def test_the_objective_is_logged():
    """W&B looks for it among the logged metrics."""
    assert SWEEP["metric"]["name"] in Playing.names


def test_a_run_has_the_id_that_its_agent_gave(
    wandb_server: WandbServer, tmp_path: Path, discrete_file: Path, monkeypatch: pytest.MonkeyPatch
):
    """W&B's client takes the agent's in any case; what the directory keeps is the same."""
    for name, value in {"SWEEP_ID": "sweep1", "RUN_ID": "agents-run", "PROJECT": "bcq_exp"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    run_dir = train_run(tmp_path / "run", *on_file(discrete_file), "algorithm=dqn", "logger=wandb")
    assert read_json(run_dir / "wandb.json")["run_id"] == "agents-run"
    (run,) = wandb_server.runs.values()
    assert (run.name, run.attributes["sweep"], run.state) == ("agents-run", "sweep1", "finished")
