"""Checkpoints of an agent's training; a resumed training equals one that never stopped.

A checkpoint is written between two rollouts of stable-baselines3. The state of an environment cannot be read, so the
open episode is played again: from the random stream that it began with, by the actions in the replay buffer.

stable-baselines3 has no public names for its counters, its last observation and its list of tensors; pyproject.toml
bounds it below the first minor release that has not been tried.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch
from filelock import FileLock, Timeout

from bcq_exp.io.differences import code_difference, difference, differing, flatten, refusal
from bcq_exp.io.files import clear_partials, read_json, replacing, write_json
from bcq_exp.io.source import source_digest

if TYPE_CHECKING:
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
    from stable_baselines3.common.vec_env import VecEnv

ACCOUNT = "training.json"  # the settings of a training, and the digests of the code that ran it
STATE = "training.pt"  # its checkpoint
FORMAT_VERSION = 3
# Counters of environment steps, of calls (DQN copies its target by them) and of updates; DQN's epsilon.
COUNTERS = ("num_timesteps", "_n_calls", "_n_updates", "exploration_rate")
# Columns of a replay buffer, (N, 1, ...).
ROWS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")

log = logging.getLogger(__name__)


@contextmanager
def claimed(folder: Path, agents: Iterable[str]) -> Iterator[None]:
    """Holds the lock of a folder, so that no other process trains there.

    Args:
        folder: of the training.
        agents: names of those that it will keep.

    Raises:
        ValueError: another process trains there, or the folder has agents of another origin.
    """
    others = [name for name in agents if (folder / f"{name}.json").exists()]
    if others and not (folder / ACCOUNT).exists():
        raise ValueError(
            f"{folder} has {', '.join(others)} but no {ACCOUNT}, so no training there has kept them, and nothing is"
            " written over; give another hydra.run.dir=DIR"
        )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "training.lock").acquire(timeout=0):
            yield
    except Timeout:
        raise ValueError(f"another process trains in {folder}; wait for its end") from None


def go_on(
    agent: "OffPolicyAlgorithm",
    folder: Path,
    settings: Mapping[str, Any],
    eval_env: "VecEnv | None" = None,
    *,
    allow_code_change: bool,
) -> None:
    """Resumes the training of a folder, if there is one.

    Raises:
        ValueError: it is another training, or one that other code began.
    """
    path, now = folder / ACCOUNT, json.loads(json.dumps(settings))
    before: dict[str, Any] = {"settings": now, "code": [source_digest()]}
    if path.exists():
        before = read_json(path, f"remove {folder}, and the training begins anew")
    begun, asked, code = flatten(before["settings"]), flatten(now), list(before["code"])
    lines = [difference(key, begun, asked) for key in differing(begun, asked)]
    if code[-1] != source_digest():
        if not allow_code_change:
            lines.append(code_difference(code[-1], source_digest()))
        code.append(source_digest())
    if lines:
        raise refusal({folder: lines}, "give another hydra.run.dir=DIR to begin anew")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"settings": now, "code": code})
    clear_partials(folder)
    if (folder / STATE).exists():
        restore(agent, folder / STATE, eval_env)
        log.info("going on from step %d", agent.num_timesteps)


class Repeatable(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that gives the state of its random stream, now and at the beginning of its episode."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.has_begun = False
        self.began_with: dict[str, Any] = {}  # the stream's state, or a seed

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self.has_begun, self.began_with = True, self.stream() if seed is None else {"seed": seed}
        return super().reset(seed=seed, options=options)

    def stream(self) -> dict[str, Any]:
        """The random stream's state."""
        return dict(self.unwrapped.np_random.bit_generator.state)

    def take_stream(self, state: dict[str, Any]) -> None:
        """Set the state of the random stream."""
        self.unwrapped.np_random.bit_generator.state = state


def save(agent: "OffPolicyAlgorithm", path: Path, eval_env: "VecEnv | None" = None) -> None:
    """Write networks, optimizers, the replay buffer, random streams and counters, between two rollouts.

    Args:
        agent: in a `Repeatable` environment.
        path: the file.
        eval_env: `Repeatable` environments of the evaluations, whose streams are kept too.
    """
    buffer, (_, variables) = agent.replay_buffer, agent._get_torch_save_params()
    assert buffer is not None
    assert agent.env is not None
    numbers = np.random.get_state(legacy=False)
    assert isinstance(numbers, dict)
    has_evaluated = eval_env is not None and all(eval_env.get_attr("has_begun"))
    state = {
        "version": FORMAT_VERSION,
        "parameters": agent.get_parameters(),
        "variables": {name: getattr(agent, name).detach() for name in variables},
        "counters": {name: getattr(agent, name) for name in COUNTERS if hasattr(agent, name)},
        "rows": {name: torch.from_numpy(getattr(buffer, name)[: buffer.size()]) for name in ROWS},
        "buffer": {"pos": buffer.pos, "full": buffer.full},
        "torch": torch.get_rng_state(),
        "numpy": {**numbers["state"], "key": torch.from_numpy(numbers["state"]["key"].astype(np.int64))},
        "gauss": {key: numbers[key] for key in ("has_gauss", "gauss")},  # normal numbers are drawn in pairs
        "actions": dict(agent.action_space.np_random.bit_generator.state),
        "episode": agent.env.get_attr("began_with")[0],
        "evaluations": eval_env.env_method("stream") if eval_env is not None and has_evaluated else None,
    }
    with replacing(path) as partial, partial.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch's own, where the disk is full
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def restore(agent: "OffPolicyAlgorithm", path: Path, eval_env: "VecEnv | None" = None) -> None:
    """Read what `save` wrote into an untrained agent and environments that have not begun.

    Nothing that could execute code is loaded.

    Raises:
        ValueError: the file is damaged or of another release.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError) as error:
        reason = str(error).partition("\n")[0] or "empty"
        raise ValueError(f"{path} is damaged ({reason}); remove {path.parent}, and the training begins anew") from None
    if state.get("version") != FORMAT_VERSION:
        raise ValueError(f"{path}: a training of another release; remove {path.parent} to begin anew")
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
    _open_episode(agent, state["episode"])
    if eval_env is not None and state["evaluations"] is not None:
        eval_env.reset()  # by the seeds of the first evaluation, which wait for the first reset
        for index, stream in enumerate(state["evaluations"]):
            eval_env.env_method("take_stream", stream, indices=index)
    agent.action_space.np_random.bit_generator.state = state["actions"]
    torch.set_rng_state(state["torch"])
    numbers = {**state["numpy"], "key": state["numpy"]["key"].numpy().astype(np.uint32)}
    np.random.set_state({"bit_generator": "MT19937", "state": numbers, **state["gauss"]})


def _open_episode(agent: "OffPolicyAlgorithm", began_with: dict[str, Any]) -> None:
    """Play the open episode again.

    Where it comes out differently, as in emulators with random numbers of their own, its last row is marked as
    truncated, and a new episode begins.
    """
    env, buffer = agent.env, agent.replay_buffer
    assert env is not None
    assert buffer is not None
    if "seed" in began_with:
        env.seed(began_with["seed"])
    else:
        env.reset()  # by the seed of the first episode, which waits for the first reset
        env.env_method("take_stream", began_with)
    obs: Any = env.reset()
    newest_first = ((buffer.pos - 1 - back) % buffer.buffer_size for back in range(buffer.size()))
    rows = [*takewhile(lambda row: not buffer.dones[row, 0], newest_first)][::-1]
    is_same = not rows or np.array_equal(obs, buffer.observations[rows[0]])
    for row in rows if is_same else []:
        act = buffer.actions[row]
        is_box = isinstance(agent.action_space, gym.spaces.Box)
        obs, _, dones, _ = env.step(agent.policy.unscale_action(act) if is_box else act[:, 0])
        if dones[0] or not np.array_equal(obs, buffer.next_observations[row]):
            is_same = False
            break
    if not is_same:
        log.warning("the open episode cannot be played again; it is cut, and a new one begins")
        buffer.dones[rows[-1]] = buffer.timeouts[rows[-1]] = 1
        obs = env.reset()
    agent._last_obs = obs
