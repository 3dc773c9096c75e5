"""Every command and every Python block of the README and of `docs/` does what it says.

`make test` checks each command as its program would before it begins. `make test-docs` runs them at a small budget, by
the rules of `documents.py`, page by page and in order, each page in a folder of its own.
"""

import argparse
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from bcq_exp import dashboard
from bcq_exp.analysis.results_file import committed
from bcq_exp.behaviours import treatment
from bcq_exp.policy_files.request import checked_export
from bcq_exp.report import sorted_words, wandb_project
from bcq_exp.selection.request import checked_request
from bcq_exp.sweeps.executors.ray import Ray
from bcq_exp.sweeps.launch import Launch
from bcq_exp.training.config import check, checked, checked_training
from bcq_exp.training.datasets import checked_dataset
from bcq_exp.training.sections import Answers
from documents import (
    PAGES,
    ROOT,
    at_small_budget,
    blocks,
    commands,
    composed_first,
    is_python,
    overrides,
    program,
    with_files,
)
from experiments.reproduce.__main__ import KEYS, chosen
from experiments.reproduce.cells import cells
from experiments.reproduce.protocol import read_protocol
from hydra_plugins.bcq_exp_composition import Composer
from hydra_plugins.bcq_exp_population import OnceSweeper

# Blocks that are no commands, by their beginnings.
TEXTS = ("hours = runs x updates", "def critic_loss(")
# Commands that are checked and not run, by their beginnings, with the reason.
NOT_RUN = {
    "make ": "the targets run for minutes, and the tests themselves",
    "pip install": "an extra: the packages are of the environment that the tests run in",
    "wandb ": "a program of W&B's, which has its own tests",
    "tensorboard ": "a server that does not end",
    "bcq-dashboard ": "needs an account; tests/dashboards has a stand-in for W&B's server",
    "bcq-report wandb=": "needs an account; tests/analysis/test_wandb_results.py has a stand-in",
    "bcq-report outputs/sweeps/threshold wandb=": "the same",
    "python -m bcq_exp.collect behaviour=": "trains agents for an hour",
    "python -m experiments.reproduce table=bcq-figure2": "takes hours; budget=smoke is run",
}
NOT_RUN_WORDS = {
    "hydra.launcher.executor=submitit_slurm": "needs SLURM; tests/sweeps plays one",
    "hydra.launcher.executor=ray": "needs a cluster; tests/sweeps starts Ray where it is installed",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands are given; a log of the simulated treatment is there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")  # as in a checkout
    treatment.main(["log.csv", "--patients", "60"])
    return tmp_path


@pytest.fixture
def files(folder: Path, discrete_file: Path) -> dict[str, Path]:
    """What names in capitals stand for."""
    return {
        "FILE": discrete_file,
        "OUT.h5": folder / "converted.h5",
    }


def all_commands(page: str) -> list[list[str]]:
    """The commands of a page; a block that is neither a command nor Python nor in `TEXTS` has a language."""
    found = []
    for block in blocks(PAGES[page]):
        if not block.language and not is_python(block) and not block.text.startswith(TEXTS):
            found += commands(block)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_understood(
    page: str, folder: Path, files: dict[str, Path], hydra_context: HydraContext, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")  # SLURM's commands
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)  # packages of executors
    monkeypatch.setattr(Ray, "check_options", lambda self: None)
    for words in all_commands(page):
        name, rest = program(words)
        assert name in CHECKS, f"{page}: {' '.join(words)} is a command of no known program"
        CHECKS[name]([with_files(word, files) for word in rest], hydra_context)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_python_runs(page: str, folder: Path):
    for block in blocks(PAGES[page]):
        if is_python(block) and not block.title:  # a file that tests/adding adds
            exec(compile(block.text, page, "exec"), {})


@pytest.mark.docs
@pytest.mark.parametrize("page", [page for page in PAGES if all_commands(page)])
def test_every_command_runs_at_a_small_budget(page: str, folder: Path, files: dict[str, Path]):
    (folder / "log.csv").unlink()
    env = {**os.environ, "BCQ_EXP_CACHE": str(folder.parent / "cache"), "PYTHONPATH": str(ROOT)}
    for words in all_commands(page):
        if reason_not_to_run(words):
            continue
        name, rest = program(words)
        module = name if "." in name else f"bcq_exp.{name}"
        small = at_small_budget(name, rest, folder, files)
        done = subprocess.run(
            [sys.executable, "-m", module, *small], cwd=folder, env=env, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, f"{page}: {' '.join(words)}\nrun as {' '.join(small)}\n{done.stdout}{done.stderr}"


def test_every_reason_not_to_run_a_command_is_that_of_one():
    typed = [" ".join(words) for page in PAGES for words in all_commands(page)]
    unused = [start for start in NOT_RUN if not any(line.startswith(start) for line in typed)]
    assert not unused + [word for word in NOT_RUN_WORDS if not any(word in line for line in typed)]


def reason_not_to_run(words: list[str]) -> str | None:
    """Why a command is checked only."""
    line = " ".join(words)
    reasons = [reason for start, reason in NOT_RUN.items() if line.startswith(start)]
    return next(iter(reasons + [NOT_RUN_WORDS[word] for word in words if word in NOT_RUN_WORDS]), None)


def check_train(words: list[str], context: HydraContext) -> None:
    if "-m" in words:
        check_sweep([word for word in words if word != "-m"], context)
    elif not any(each.key_or_group == "resume" for each in overrides(words)):
        check(composed_first("train", words))


def check_sweep(words: list[str], context: HydraContext) -> None:
    """Each sweep has jobs that can be launched: those of one command differ, and the last one is checked."""
    loader = context.config_loader
    master = loader.load_configuration("config", words, RunMode.MULTIRUN)
    keys = OmegaConf.to_container(master.hydra.launcher)
    Launch(**{key: keys[key] for key in ("executor", "max_members", "num_processes")}, options=keys["options"] or {})
    typed = [each for each in OverridesParser.create(loader).parse_overrides(words) if not each.is_hydra_override()]
    (jobs,) = OnceSweeper.split_arguments(typed, None)
    assert len(set(map(tuple, jobs))) == len(jobs)
    checked(Composer(context, master).compose(jobs[-1], 0).task, Answers(), is_here=True)


def check_collect(words: list[str], context: HydraContext) -> None:
    if words[0] not in ("inspect", "convert", "treatment"):  # these are quick, and run
        cfg = composed_first("collect", words)
        checked_training(cfg) if cfg.get("behaviour") else checked_dataset(cfg)


def check_report(words: list[str], context: HydraContext) -> None:
    directories, typed = sorted_words(words)
    assert directories or wandb_project(typed)
    assert len(committed(typed["results"])) >= len(typed["results"])  # raises where a name is unknown


def check_dashboard(words: list[str], context: HydraContext) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    dashboard.COMMANDS[words[0]].add_arguments(parser)
    options = parser.parse_args(words[1:])
    assert options.directories or options.group


def check_reproduce(words: list[str], context: HydraContext) -> None:
    given = dict(word.split("=", 1) for word in words)
    protocol = read_protocol(given["table"])
    assert given.keys() <= KEYS.keys()
    planned = [*cells(protocol, protocol.budgets[given["budget"]], Path("nowhere"))]
    assert any(chosen(planned, {**KEYS, **given}).values())  # raises where a name is unknown


def check_make(words: list[str], context: HydraContext) -> None:
    assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def check_pip(words: list[str], context: HydraContext) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (named,) = re.findall(r"^bcq_exp\[(.*)\]$", words[-1])
    assert {*named.split(",")} <= extras.keys()


def check_wandb(words: list[str], context: HydraContext) -> None:
    assert words[0] in ("sweep", "leet")
    assert words[0] != "sweep" or (ROOT / words[1]).is_file()


def check_tensorboard(words: list[str], context: HydraContext) -> None:
    assert words == ["--logdir", "outputs"]


CHECKS: dict[str, Callable[[list[str], HydraContext], None]] = {
    "train": check_train,
    "collect": check_collect,
    "evaluate": lambda words, context: checked_request(composed_first("evaluate", words)) and None,
    "export": lambda words, context: checked_export(composed_first("export", words)) and None,
    "report": check_report,
    "dashboard": check_dashboard,
    "experiments.reproduce": check_reproduce,
    "make": check_make,
    "pip": check_pip,
    "wandb": check_wandb,
    "tensorboard": check_tensorboard,
}
