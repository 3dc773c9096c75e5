"""What Hydra does with a command's configuration alone: help and completion, in a tenth of a run's start."""

import signal
from typing import Any

import hydra
from omegaconf import DictConfig

import bcq_exp.command_line.choices  # noqa: F401  its resolver is in the help
from bcq_exp.command_line.answers import in_one_answer
from bcq_exp.io.source import CONF_DIR

# Flags with which Hydra composes and prints, and calls no task.
FLAGS = frozenset({"--help", "-h", "--hydra-help", "--shell-completion", "-sc"})


def compose_only(command: str, config_name: str) -> None:
    """Print what one of `FLAGS` in `sys.argv` asks for.

    Args:
        command: its module's name in `bcq_exp`, by which Hydra names the job.
        config_name: the file in `conf/` that it composes.
    """

    def task(cfg: DictConfig) -> Any:
        raise AssertionError("none of the flags calls it")

    task.__module__ = f"bcq_exp.{command}"
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader that leaves early, as `head` does, ends it quietly
    with in_one_answer(config_name):
        hydra.main(version_base="1.3", config_path=CONF_DIR, config_name=config_name)(task)()
