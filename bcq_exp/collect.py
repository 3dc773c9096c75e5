"""Trains behaviour agents, `behaviour=NAME`; makes datasets, `dataset=NAME`; `inspect`, `convert` and `treatment`."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Column, Table

from bcq_exp.analysis.datasets import convert, inspection
from bcq_exp.behaviours import training as agents
from bcq_exp.behaviours import treatment
from bcq_exp.command_line.answers import in_one_answer
from bcq_exp.io.endings import in_one_line, mistakes_in_one_line
from bcq_exp.io.masking import masked_words
from bcq_exp.io.source import CONF_DIR
from bcq_exp.training.config import checked_training
from bcq_exp.training.datasets import checked_dataset, recorded, with_absolute_paths

# Of files; all else is an override.
COMMANDS = {"inspect": inspection.main, "convert": convert.main, "treatment": treatment.main}


def make_dataset(config: DictConfig) -> None:
    """Make the configured dataset unless the cache has it, and print its path and a summary."""
    dataset = checked_dataset(with_absolute_paths(config, Path.cwd()))
    transitions = recorded(dataset, allow_code_change=config.allow_code_change)
    returns, facts = transitions.episode_returns, dataset.account(transitions)
    facts |= {"num_transitions": len(transitions), "num_episodes": len(returns), "return_mean": returns.mean()}
    table = Table("", Column(transitions.source, overflow="fold"), title=config.dataset.name)
    for key, value in facts.items():
        table.add_row(key, f"{value:.6g}" if isinstance(value, float) else str(value))
    Console().print(table)


def train_agents(config: DictConfig) -> None:
    """Train the configured agents; their weights and descriptions are written to the run directory."""
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    cfg, seeds = checked_training(config)
    command = " ".join(["python -m bcq_exp.collect", *masked_words(job.overrides.task)])
    agents.train(cfg, seeds, folder, command, allow_code_change=config.allow_code_change)
    print(f"{', '.join(cfg.agents)}: written to {folder}")


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="collect")
def run(config: DictConfig) -> None:
    """Train agents or make a dataset, as the overrides ask for."""
    chosen = HydraConfig.get().runtime.choices
    with in_one_line(), mistakes_in_one_line(TypeError):
        if (chosen["dataset"] is None) == (chosen["behaviour"] is None):
            raise ValueError("give either behaviour=NAME, to train agents, or dataset=NAME, to make a dataset")
        (make_dataset if chosen["behaviour"] is None else train_agents)(config)


def main() -> None:
    """Run one of `COMMANDS`, or `run` for anything else."""
    if {*sys.argv[1:2]} & COMMANDS.keys():
        with in_one_line(), mistakes_in_one_line():
            COMMANDS[sys.argv[1]](sys.argv[2:])
    else:
        with in_one_answer("collect"):
            run()


if __name__ == "__main__":
    main()
