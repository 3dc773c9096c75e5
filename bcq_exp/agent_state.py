"""All that the training of a behaviour agent goes on from, on disk."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bcq_exp.files import replacing

if TYPE_CHECKING:
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

STATE = "training.pt"  # what a training that was killed goes on from
STEPS = ("num_timesteps", "_n_calls")  # counters of environment steps; DQN counts those that its target waits for
COUNTERS = (*STEPS, "_n_updates")
# Columns of a replay buffer, (N, 1, ...).
ROWS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def save(agent: "OffPolicyAlgorithm", path: Path) -> None:
    """Writes all that a training goes on from, while a step is taken that is not yet in its replay buffer.

    Networks, optimizers, the replay buffer, random streams and counters; that step will be another.
    """
    buffer, (_, variables) = agent.replay_buffer, agent._get_torch_save_params()
    assert buffer is not None
    numbers = np.random.get_state(legacy=False)
    assert isinstance(numbers, dict)
    state = {
        "parameters": agent.get_parameters(),
        "variables": {name: getattr(agent, name).detach() for name in variables},
        "counters": {name: getattr(agent, name) - (name in STEPS) for name in COUNTERS if hasattr(agent, name)},
        "rows": {name: torch.from_numpy(getattr(buffer, name)[: buffer.size()]) for name in ROWS},
        "buffer": {"pos": buffer.pos, "full": buffer.full},
        "torch": torch.get_rng_state(),
        "numpy": {**numbers["state"], "key": torch.from_numpy(numbers["state"]["key"].astype(np.int64))},
    }
    with replacing(path) as partial_path:
        torch.save(state, partial_path)


def restore(agent: "OffPolicyAlgorithm", path: Path) -> None:
    """Reads what `save` wrote into an untrained agent; its next step begins an episode.

    Nothing that could execute code is loaded.
    """
    state: dict[str, Any] = torch.load(path, weights_only=True)
    agent.set_parameters(state["parameters"])
    with torch.no_grad():
        for name, value in state["variables"].items():
            getattr(agent, name).copy_(value)
    for name, number in state["counters"].items():
        setattr(agent, name, number)
    buffer = agent.replay_buffer
    assert buffer is not None
    for name, rows in state["rows"].items():
        getattr(buffer, name)[: len(rows)] = rows.numpy()
    buffer.pos, buffer.full = state["buffer"]["pos"], state["buffer"]["full"]
    if buffer.size() and not buffer.dones[buffer.pos - 1]:
        buffer.dones[buffer.pos - 1] = buffer.timeouts[buffer.pos - 1] = 1
    torch.set_rng_state(state["torch"])
    numbers = {**state["numpy"], "key": state["numpy"]["key"].numpy().astype(np.uint32)}
    np.random.set_state({"bit_generator": "MT19937", "state": numbers})
