"""Behaviour agents that are trained in a second."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from bcq_exp.behaviours.training import BehaviourConfig, Seeds
from bcq_exp.io.source import CONF_DIR

SEEDS = Seeds(seed=0, eval_seed=1, report_seed=2, report_episodes=3)
TINY: dict[str, Any] = {
    "max_steps": 300,
    "eval_freq": 150,
    "eval_episodes": 2,
    "checkpoint_freq": 1000,
    "hidden_sizes": [16, 8],
}


def tiny(name: str, **changes: Any) -> BehaviourConfig:
    section: Any = OmegaConf.to_container(OmegaConf.load(Path(CONF_DIR, "behaviour", f"{name}.yaml")))
    section["arguments"] |= {"learning_starts": 100, "buffer_size": 400}
    return BehaviourConfig(**{**section, **TINY, "agents": {name: None}, **changes})
