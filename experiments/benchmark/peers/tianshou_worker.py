"""tianshou: `OfflineAlgorithm.update` on its `ReplayBuffer`, which samples too, as its own trainer calls it.

The critics' target of its continuous BCQ leaves the target perturbation network out, so it does less than the paper.
"""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from tianshou.algorithm.algorithm_base import OfflineAlgorithm
from tianshou.algorithm.imitation.bcq import BCQ, BCQPolicy
from tianshou.algorithm.imitation.discrete_bcq import DiscreteBCQ, DiscreteBCQPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import ReplayBuffer
from tianshou.env.atari.atari_network import DQNet, ScaledObsInputActionReprNet
from tianshou.utils.net.common import MLP, Net
from tianshou.utils.net.continuous import VAE, ContinuousCritic, Perturbation
from tianshou.utils.net.discrete import DiscreteActor
from tianshou.utils.torch_utils import policy_within_training_step

from experiments.benchmark.peers.protocol import IsOver, Prepared, Work, repeat, serve


def continuous(work: Work, obs_dim: int) -> BCQ:
    """Its BCQ with the paper's networks, and a second critic of its own."""
    hp, network, act_dim = work.config["algorithm"], work.config["network"], work.num_actions
    hidden, vae_hidden, latent_dim = network["hidden_sizes"], network["vae_hidden_sizes"], 2 * work.num_actions
    # A `Net` returns a pair, of which `Perturbation` takes the first; of an MLP it would take the first row.
    perturbation = Net(state_shape=obs_dim + act_dim, action_shape=act_dim, hidden_sizes=hidden)
    vae = VAE(
        encoder=MLP(input_dim=obs_dim + act_dim, hidden_sizes=vae_hidden),
        decoder=MLP(input_dim=obs_dim + latent_dim, output_dim=act_dim, hidden_sizes=vae_hidden),
        hidden_dim=vae_hidden[-1],
        latent_dim=latent_dim,
        max_action=1.0,
    )
    critics = [
        ContinuousCritic(
            preprocess_net=Net(state_shape=obs_dim, action_shape=act_dim, hidden_sizes=hidden, concat=True)
        ).to(work.device)
        for _ in range(2)
    ]
    policy = BCQPolicy(
        actor_perturbation=Perturbation(preprocess_net=perturbation, max_action=1.0, phi=hp["phi"]).to(work.device),
        action_space=gym.spaces.Box(-1, 1, (act_dim,)),
        critic=critics[0],
        vae=vae.to(work.device),
    )
    adam = AdamOptimizerFactory(lr=work.config["optimizer"]["lr"])
    return BCQ(
        policy=policy,
        actor_perturbation_optim=adam,
        critic_optim=adam,
        vae_optim=adam,
        critic2=critics[1],
        gamma=hp["gamma"],
        tau=hp["tau"],
        lmbda=hp["lmbda"],
        num_sampled_action=hp["num_sampled_action"],
    )


def discrete(work: Work, obs_shape: tuple[int, ...]) -> DiscreteBCQ:
    """Its discrete BCQ: two networks on vectors; on images two heads that share the convolutions."""
    hp, hidden = work.config["algorithm"], work.config["network"]["hidden_sizes"]
    nets: list[Any]
    if work.is_image:
        features = DQNet(*obs_shape, action_shape=work.num_actions, features_only=True)
        trunk = ScaledObsInputActionReprNet(features)
        nets = [
            DiscreteActor(
                preprocess_net=trunk, action_shape=work.num_actions, hidden_sizes=hidden, softmax_output=False
            )
            for _ in range(2)
        ]
    else:
        nets = [Net(state_shape=obs_shape, action_shape=work.num_actions, hidden_sizes=hidden) for _ in range(2)]
    policy = DiscreteBCQPolicy(
        model=nets[0].to(work.device),
        imitator=nets[1].to(work.device),
        target_update_freq=hp["target_update_freq"],
        unlikely_action_threshold=hp["unlikely_action_threshold"],
        action_space=gym.spaces.Discrete(work.num_actions),
    )
    return DiscreteBCQ(
        policy=policy,
        optim=AdamOptimizerFactory(lr=work.config["optimizer"]["lr"]),
        gamma=hp["gamma"],
        target_update_freq=hp["target_update_freq"],
        imitation_logits_penalty=hp["imitation_logits_penalty"],
    )


def prepare(work: Work) -> Prepared:
    """An algorithm on the work's transitions."""
    columns = work.columns()
    obs_shape = columns["obs"].shape[1:]
    buffer = ReplayBuffer.from_data(**columns, done=np.logical_or(columns["terminated"], columns["truncated"]))
    algorithm: OfflineAlgorithm[Any] = discrete(work, obs_shape) if work.is_discrete else continuous(work, *obs_shape)
    algorithm.to(work.device)

    def advance(num_updates: int, is_over: IsOver) -> int:
        update = partial(algorithm.update, buffer=buffer, sample_size=work.config["batch_size"])
        with policy_within_training_step(algorithm.policy):
            return repeat(update, num_updates, is_over)

    return Prepared(advance, ("tianshou",), {})


if __name__ == "__main__":
    serve(prepare)
