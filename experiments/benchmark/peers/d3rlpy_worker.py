"""d3rlpy: `sample_transition_batch` of its `MDPDataset`, then the algorithm's `update`, as its own `fit` does."""

from functools import partial

import d3rlpy
from d3rlpy.algos import BCQ, BCQConfig, DiscreteBCQ, DiscreteBCQConfig
from d3rlpy.constants import ActionSpace
from d3rlpy.dataset import MDPDataset
from d3rlpy.models.encoders import EncoderFactory, PixelEncoderFactory, VectorEncoderFactory
from d3rlpy.preprocessing import PixelObservationScaler

from experiments.benchmark.peers.protocol import Prepared, Work, repeat, serve


def continuous(work: Work) -> BCQ:
    """Its BCQ with the paper's networks."""
    hp, network, lr = work.config["algorithm"], work.config["network"], work.config["optimizer"]["lr"]
    hidden = VectorEncoderFactory(network["hidden_sizes"])
    return BCQConfig(
        actor_learning_rate=lr,
        critic_learning_rate=lr,
        imitator_learning_rate=lr,
        actor_encoder_factory=hidden,
        critic_encoder_factory=hidden,
        imitator_encoder_factory=VectorEncoderFactory(network["vae_hidden_sizes"]),
        batch_size=work.config["batch_size"],
        gamma=hp["gamma"],
        tau=hp["tau"],
        lam=hp["lmbda"],
        n_action_samples=hp["num_sampled_action"],
        action_flexibility=hp["phi"],
        compile_graph=work.options["compile_graph"],
    ).create(device(work))


def discrete(work: Work) -> DiscreteBCQ:
    """Its discrete BCQ: two networks on vectors; on images one encoder, its hidden layer shared by both heads."""
    hp, hidden_sizes = work.config["algorithm"], work.config["network"]["hidden_sizes"]
    encoder: EncoderFactory = VectorEncoderFactory(hidden_sizes)
    if work.is_image:
        encoder = PixelEncoderFactory(feature_size=hidden_sizes[0])
    return DiscreteBCQConfig(
        learning_rate=work.config["optimizer"]["lr"],
        encoder_factory=encoder,
        observation_scaler=PixelObservationScaler() if work.is_image else None,
        batch_size=work.config["batch_size"],
        gamma=hp["gamma"],
        action_flexibility=hp["unlikely_action_threshold"],
        beta=hp["imitation_logits_penalty"],
        target_update_interval=hp["target_update_freq"],
        share_encoder=work.is_image,
        compile_graph=work.options["compile_graph"],
    ).create(device(work))


def device(work: Work) -> str:
    """As d3rlpy names it: with a number."""
    return "cuda:0" if work.device == "cuda" else work.device


def prepare(work: Work) -> Prepared:
    """An algorithm on the work's transitions; `compile_graph` has an effect on CUDA only."""
    columns = work.columns()
    dataset = MDPDataset(
        observations=columns["obs"],
        actions=columns["act"],
        rewards=columns["rew"],
        terminals=columns["terminated"].astype("float32"),
        timeouts=columns["truncated"].astype("float32"),
        action_space=ActionSpace.DISCRETE if work.is_discrete else ActionSpace.CONTINUOUS,
        action_size=work.num_actions,
    )
    d3rlpy.seed(0)
    algo = discrete(work) if work.is_discrete else continuous(work)
    algo.build_with_dataset(dataset)

    def update() -> None:
        algo.update(dataset.sample_transition_batch(algo.batch_size))

    return Prepared(partial(repeat, update), ("d3rlpy",), {})


if __name__ == "__main__":
    serve(prepare)
