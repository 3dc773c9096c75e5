"""Trains a behaviour agent: `python -m bcq_exp.collect behaviour=cartpole`; `inspect PATH`, `convert PATH OUT.h5`."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import hydra
import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from bcq_exp import inspection
from bcq_exp.config import CONF_DIR
from bcq_exp.data import behaviour, convert
from bcq_exp.networks.mlp import ACTIVATIONS

# The algorithms of stable-baselines3 that are known here, with the attribute of their policies that acts greedily.
ALGORITHMS = {"DQN": "q_net", "TD3": "actor"}
COMMANDS = {"inspect": inspection.main, "convert": convert.main}  # of datasets; all else is an override


def train(config: DictConfig) -> Any:
    """Trains an agent of stable-baselines3 up to `behaviour.stop_return`; raises ValueError if it cannot."""
    try:
        import stable_baselines3 as sb3
        from stable_baselines3.common import callbacks, noise
        from stable_baselines3.common.env_util import make_vec_env
    except ModuleNotFoundError as error:
        raise ValueError(f"training an agent needs {error.name}: pip install 'bcq_exp[collect]'") from None
    cfg = config.behaviour
    for key, choices in (("algorithm", ALGORITHMS), ("activation", behaviour.ACTIVATIONS)):
        if cfg[key] not in choices:
            raise ValueError(f"behaviour.{key}={cfg[key]!r} is unknown; choose one of {', '.join(choices)}")

    torch.set_num_threads(1)  # so that sums, and with them the weights, do not depend on the number of cores
    network = {"net_arch": list(cfg.hidden_sizes), "activation_fn": ACTIVATIONS[cfg.activation]}
    arguments: dict[str, Any] = {**cfg.arguments, "policy_kwargs": network, "seed": config.seed, "device": "cpu"}
    env = make_vec_env(cfg.env, seed=config.seed)
    if cfg.exploration_std is not None:
        mean = np.zeros(env.action_space.shape or ())
        arguments["action_noise"] = noise.NormalActionNoise(mean, np.full_like(mean, cfg.exploration_std))
    agent = getattr(sb3, cfg.algorithm)("MlpPolicy", env, **arguments)
    stop = callbacks.StopTrainingOnRewardThreshold(np.inf if cfg.stop_return is None else cfg.stop_return)
    eval_env = make_vec_env(cfg.env, cfg.eval_episodes, seed=config.eval_seed)
    evaluation = callbacks.EvalCallback(eval_env, stop, n_eval_episodes=cfg.eval_episodes, eval_freq=cfg.eval_freq)
    agent.learn(cfg.max_steps, evaluation)
    if cfg.stop_return is not None and (best := evaluation.best_mean_reward) < cfg.stop_return:
        raise ValueError(f"behaviour.stop_return={cfg.stop_return} was not reached in max_steps, only {best:.1f}")
    return agent


def write(agent: Any, config: DictConfig, folder: Path, command: str) -> None:
    """Writes a trained agent for `Behaviour.load`, with its greedy return and the command that made it."""
    from stable_baselines3.common import env_util, evaluation

    cfg, space = config.behaviour, agent.action_space
    env = env_util.make_vec_env(cfg.env, config.report_episodes, seed=config.report_seed)
    return_mean, return_std = evaluation.evaluate_policy(agent, env, env.num_envs)
    description = {
        "command": command,
        "algorithm": cfg.algorithm,
        "env": cfg.env,
        "num_steps": agent.num_timesteps,
        "seed": config.seed,
        "return_mean": return_mean,
        "return_std": return_std,
        "return_episodes": env.num_envs,
        "return_seed": config.report_seed,
        "activation": cfg.activation,
        "action_bounds": [space.low.tolist(), space.high.tolist()] if isinstance(space, gym.spaces.Box) else None,
        "versions": {name: version(name) for name in ("stable_baselines3", "torch", "gymnasium", "numpy")},
    }
    modules = getattr(agent.policy, ALGORITHMS[cfg.algorithm]).modules()
    layers = [(m.weight.numpy(force=True), m.bias.numpy(force=True)) for m in modules if isinstance(m, torch.nn.Linear)]
    behaviour.write_behaviour(cfg.name, folder, layers, description)


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="collect")
def run(config: DictConfig) -> None:
    """Trains the configured agent; its weights and description are written to the run directory."""
    job = HydraConfig.get()
    try:
        agent = train(config)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
    write(agent, config, Path(job.runtime.output_dir), " ".join(["python -m bcq_exp.collect", *job.overrides.task]))
    print(f"{config.behaviour.name} is written to {job.runtime.output_dir}")


def main() -> None:
    """Runs one of `COMMANDS`, or trains the agent that the overrides configure."""
    COMMANDS[sys.argv[1]](sys.argv[2:]) if {*sys.argv[1:2]} & COMMANDS.keys() else run()


if __name__ == "__main__":
    main()
