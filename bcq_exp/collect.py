"""Trains behaviour agents, `behaviour=NAME`; makes datasets, `dataset=NAME`; `inspect PATH`, `convert PATH OUT.h5`."""

import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Column, Table

from bcq_exp import agents, inspection
from bcq_exp.config import CONF_DIR, checked_dataset
from bcq_exp.data import convert
from bcq_exp.endings import in_one_line
from bcq_exp.experiment import read_dataset
from bcq_exp.files import read_json

COMMANDS = {"inspect": inspection.main, "convert": convert.main}  # of files; all else is an override


def make_dataset(config: DictConfig) -> None:
    """Makes the configured dataset, where the cache has it not, and says where it lies and what it is."""
    transitions = read_dataset(checked_dataset(config))
    returns = transitions.episode_returns
    account = Path(transitions.source).with_suffix(".json")
    facts: dict[str, Any] = read_json(account) if account.exists() else {}
    facts |= {"num_transitions": len(transitions), "num_episodes": len(returns), "return_mean": returns.mean()}
    table = Table("", Column(transitions.source, overflow="fold"), title=config.dataset.name)
    for key, value in facts.items():
        table.add_row(key, f"{value:.6g}" if isinstance(value, float) else str(value))
    Console().print(table)


def train_agents(config: DictConfig) -> None:
    """Trains the configured agents; their weights and descriptions are written to the run directory."""
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    section: Any = OmegaConf.to_container(config.behaviour, resolve=True)
    cfg = agents.BehaviourConfig(**section)
    seeds = agents.Seeds(**{key: config[key] for key in ("seed", "eval_seed", "report_seed", "report_episodes")})
    agents.train(cfg, seeds, folder, " ".join(["python -m bcq_exp.collect", *job.overrides.task]))
    print(f"{', '.join(cfg.agents)}: written to {folder}")


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="collect")
def run(config: DictConfig) -> None:
    """Does what the overrides ask for."""
    chosen = HydraConfig.get().runtime.choices
    try:
        if (chosen["dataset"] is None) == (chosen["behaviour"] is None):
            raise ValueError("give either behaviour=NAME, to train agents, or dataset=NAME, to make a dataset")
        with in_one_line():
            (make_dataset if chosen["behaviour"] is None else train_agents)(config)
    except (TypeError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None


def main() -> None:
    """Runs one of `COMMANDS`, or what the overrides ask for."""
    if {*sys.argv[1:2]} & COMMANDS.keys():
        with in_one_line():
            COMMANDS[sys.argv[1]](sys.argv[2:])
    else:
        run()


if __name__ == "__main__":
    main()
