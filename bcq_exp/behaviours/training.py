"""Training of behaviour agents, online, by stable-baselines3; a killed training resumes from its checkpoint."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch
from rich import progress
from torch import nn

from bcq_exp.behaviours import agents
from bcq_exp.behaviours.training_state import STATE, Repeatable, claimed, go_on, save
from bcq_exp.envs.environments import make_env, spaces
from bcq_exp.envs.evaluation import EndingEpisodes
from bcq_exp.fields import NAME, NAME_RULE, named, one_of, violations, within
from bcq_exp.io.interruption import watching
from bcq_exp.io.progress import terminal
from bcq_exp.networks.mlp import ACTIVATIONS

if TYPE_CHECKING:
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
    from stable_baselines3.common.vec_env import VecEnv

# The known algorithms of stable-baselines3, each with the greedy parts of its policy.
ALGORITHMS: dict[str, Callable[[Any], list[nn.Module]]] = {
    "DQN": lambda policy: [policy.q_net],
    "DDPG": lambda policy: [policy.actor],
    "TD3": lambda policy: [policy.actor],
    "SAC": lambda policy: [policy.actor.latent_pi, policy.actor.mu],
}
INSTALL = "pip install 'bcq_exp[collect]'"
LAST_SEED = 2**32 - 1  # that numpy's global generator takes, which the agents draw from

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class BehaviourConfig:
    """Keys of `conf/behaviour/*.yaml`.

    Args:
        name: of the training.
        env: see `make_env`.
        algorithm: of stable-baselines3, a key of `ALGORITHMS`.
        hidden_sizes: of all its networks; on images behind the convolutions of doi:10.1038/nature14236.
        activation: between layers.
        exploration_std: of Gaussian noise on the actions, whose bounds are -1 and 1; None leaves exploring to it.
        clip_rewards: whether it learns from the signs of the rewards.
        agents: the agents that are kept, by name: each is that of the first evaluation whose mean return reaches the
            number, or that of the end where it is None. The training ends with the last of them.
        eval_freq: environment steps between two evaluations.
        eval_episodes: greedy episodes of an evaluation.
        checkpoint_freq: environment steps between two checkpoints.
        max_steps: environment steps of the training, at most.
        arguments: of the algorithm, further ones.
    """

    name: str = named()
    env: str
    algorithm: str = one_of(*ALGORITHMS)
    hidden_sizes: list[int] = within(1)
    activation: str = one_of(*agents.ACTIVATIONS)
    exploration_std: float | None
    clip_rewards: bool
    agents: dict[str, float | None]
    eval_freq: int = within(1)
    eval_episodes: int = within(1)
    checkpoint_freq: int = within(1)
    max_steps: int = within(1)
    arguments: dict[str, Any]

    def __post_init__(self) -> None:
        problems = [f"behaviour.{line}" for line in violations(BehaviourConfig, asdict(self))]
        if not self.agents:
            problems.append("behaviour.agents is empty; name an agent and the return at which it is kept")
        if not self.hidden_sizes:
            problems.append("behaviour.hidden_sizes is empty; give a width at least")
        if bad := [agent for agent in self.agents if not NAME.fullmatch(str(agent))]:
            problems.append(f"behaviour.agents: {bad[0]!r} is no name; allowed: {NAME_RULE}")
        if self.arguments.get("tensorboard_log") is not None:
            problems.append("behaviour.arguments.tensorboard_log would write outside of the run's directory; drop it")
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """Seeds of the random streams.

    Args:
        seed: initial weights, minibatches, exploration and the training environment.
        eval_seed: first reset of the evaluations; sub-environment i has eval_seed + i.
        report_seed: of the episodes of the stated return; episode i has report_seed + i.
        report_episodes: number of those.
    """

    seed: int = within(0, LAST_SEED)
    eval_seed: int = within(0, LAST_SEED)
    report_seed: int = within(0, LAST_SEED)
    report_episodes: int = within(1)


def repeatable_env(env_id: str) -> Repeatable:
    """An environment whose episodes can be played again, and whose random stream can be saved."""
    return Repeatable(make_env(env_id))


@contextmanager
def one_thread() -> Iterator[None]:
    """Runs torch on one thread, so that sums, and with them the weights, do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def new_agent(cfg: BehaviourConfig, seed: int) -> "OffPolicyAlgorithm":
    """An untrained agent in its environment.

    Raises:
        ValueError: stable-baselines3 is missing, or the environment is.
    """
    try:
        import stable_baselines3 as sb3
        from stable_baselines3.common import noise
        from stable_baselines3.common.atari_wrappers import ClipRewardEnv
        from stable_baselines3.common.env_util import make_vec_env
    except ModuleNotFoundError as error:
        raise ValueError(f"training an agent needs {error.name}: {INSTALL}") from None
    wide, *others = cfg.hidden_sizes
    is_image = len(spaces(cfg.env)[0].shape or ()) == 3
    network: dict[str, Any] = {"net_arch": list(cfg.hidden_sizes), "activation_fn": ACTIVATIONS[cfg.activation]}
    if is_image:  # the first hidden layer belongs to what follows the convolutions there
        network |= {"net_arch": others, "features_extractor_kwargs": {"features_dim": wide}}
    arguments: dict[str, Any] = {**cfg.arguments, "policy_kwargs": network, "seed": seed, "device": "cpu"}
    wrapper = ClipRewardEnv if cfg.clip_rewards else None
    env = make_vec_env(partial(repeatable_env, cfg.env), seed=seed, wrapper_class=wrapper)
    if cfg.exploration_std is not None:
        mean = np.zeros(env.action_space.shape or ())
        arguments["action_noise"] = noise.NormalActionNoise(mean, np.full_like(mean, cfg.exploration_std))
    agent: OffPolicyAlgorithm = getattr(sb3, cfg.algorithm)("CnnPolicy" if is_image else "MlpPolicy", env, **arguments)
    return agent


@one_thread()
def train(cfg: BehaviourConfig, seeds: Seeds, folder: Path, command: str, *, allow_code_change: bool) -> None:
    """Trains until every agent is written to `folder`, its weights and its description, for `Behaviour.load`.

    Where `folder` has a checkpoint of the same configuration the training resumes from it, to the same agents.

    Raises:
        ValueError: a library is missing, the folder holds another training or one that another process or other code
            began, or an agent's return was never reached.
    """
    agent = new_agent(cfg, seeds.seed)
    from stable_baselines3.common import env_util

    eval_env = env_util.make_vec_env(
        partial(repeatable_env, cfg.env), cfg.eval_episodes, seed=seeds.eval_seed, wrapper_class=_ending(cfg)
    )
    settings = {**asdict(cfg), **asdict(seeds)}
    with claimed(folder, cfg.agents):
        go_on(agent, folder, settings, eval_env, allow_code_change=allow_code_change)
        _train(agent, cfg, seeds, folder, command, eval_env)


def _train(
    agent: "OffPolicyAlgorithm", cfg: BehaviourConfig, seeds: Seeds, folder: Path, command: str, eval_env: "VecEnv"
) -> None:
    from stable_baselines3.common import evaluation

    missing = {name: goal for name, goal in cfg.agents.items() if not (folder / f"{name}.json").exists()}
    best = -np.inf

    def evaluate() -> bool:
        """Writes the agents whose return is reached; returns whether others are missing."""
        nonlocal best
        if agent.num_timesteps % cfg.eval_freq == 0:
            return_, _ = evaluation.evaluate_policy(agent, eval_env, cfg.eval_episodes)
            assert isinstance(return_, float)
            best = max(best, return_)
            log.info("%s: step %d, return %.1f", cfg.name, agent.num_timesteps, return_)
            for name in [name for name, goal in missing.items() if goal is not None and return_ >= goal]:
                write(agent, cfg, seeds, name, folder, command)
                log.info("%s is kept", name)
                del missing[name]
        return bool(missing)

    if missing:
        learn(agent, cfg, folder, evaluate, eval_env)
    eval_env.close()
    for name in [name for name, goal in missing.items() if goal is None]:
        write(agent, cfg, seeds, name, folder, command)
        del missing[name]
    if missing:
        wanted = ", ".join(f"{name}={goal}" for name, goal in missing.items())
        raise ValueError(f"behaviour.agents: {wanted} was not reached in max_steps={cfg.max_steps}, only {best:.1f}")


def _ending(cfg: BehaviourConfig) -> Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]:
    """A wrapper for environments that are played until their episodes end: none may take longer than the training."""
    limit = "behaviour.max_steps, as many as the whole training has"
    return partial(EndingEpisodes, max_steps=cfg.max_steps, limit=limit)


def learn(
    agent: "OffPolicyAlgorithm",
    cfg: BehaviourConfig,
    folder: Path,
    is_wanted: Callable[[], bool],
    eval_env: "VecEnv | None" = None,
) -> None:
    """Train to the last step, or until `is_wanted`, called after each, is false; checkpoints go to the folder.

    Raises:
        Interrupted: a signal has come; the training is saved, between two rollouts.
    """
    from stable_baselines3.common.callbacks import BaseCallback

    class Look(BaseCallback):
        """Shows progress, writes checkpoints."""

        saved = agent.num_timesteps
        is_stopped = False

        def _on_rollout_start(self) -> None:
            self.is_stopped = watch.is_over()
            is_due = agent.num_timesteps // cfg.checkpoint_freq > self.saved // cfg.checkpoint_freq
            if is_due or self.is_stopped:
                save(agent, folder / STATE, eval_env)
                self.saved = agent.num_timesteps

        def _on_step(self) -> bool:
            bar.update(task, completed=self.num_timesteps)
            return not self.is_stopped and is_wanted()

    console, begun = terminal(), agent.num_timesteps
    with (
        watching(lambda: agent.num_timesteps == begun) as watch,
        progress.Progress(console=console, disable=console is None) as bar,
    ):
        task = bar.add_task(f"training {cfg.name}", total=cfg.max_steps, completed=agent.num_timesteps)
        left = cfg.max_steps - agent.num_timesteps
        if left > 0:
            agent.learn(left, Look(), reset_num_timesteps=False)


def write(
    agent: "OffPolicyAlgorithm", cfg: BehaviourConfig, seeds: Seeds, name: str, folder: Path, command: str
) -> None:
    """Writes a trained agent for `Behaviour.load`, with its greedy return and the command that made it."""
    from stable_baselines3.common import env_util, evaluation

    env = env_util.make_vec_env(
        partial(make_env, cfg.env), seeds.report_episodes, seed=seeds.report_seed, wrapper_class=_ending(cfg)
    )
    return_mean, return_std = evaluation.evaluate_policy(agent, env, env.num_envs)
    env.close()
    space = agent.action_space
    description = {
        "command": command,
        "algorithm": cfg.algorithm,
        "env": cfg.env,
        "num_steps": agent.num_timesteps,
        "seed": seeds.seed,
        "return_mean": return_mean,
        "return_std": return_std,
        "return_episodes": env.num_envs,
        "return_seed": seeds.report_seed,
        "activation": cfg.activation,
        "action_bounds": [space.low.tolist(), space.high.tolist()] if isinstance(space, gym.spaces.Box) else None,
        "versions": {name: version(name) for name in ("stable_baselines3", "torch", "gymnasium", "numpy")},
    }
    modules = [module for part in ALGORITHMS[cfg.algorithm](agent.policy) for module in part.modules()]
    weighted: list[Any] = [module for module in modules if isinstance(module, nn.Linear | nn.Conv2d)]
    layers = [(module.weight.numpy(force=True), module.bias.numpy(force=True)) for module in weighted]
    agents.write_behaviour(name, folder, layers, description)
