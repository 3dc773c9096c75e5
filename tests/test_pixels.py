"""Images from the file to the return of the trained policy."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pixels
from bcq_exp.config import RunConfig
from bcq_exp.data import check_against, read_transitions, write_h5
from bcq_exp.experiment import Job, build, make_population
from bcq_exp.policies import Policy
from bcq_exp.trainer import Trainer
from cases import checked

NUM_EPISODES = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a behaviour that is always right, and of one that acts at random."""
    folder = tmp_path_factory.mktemp("images")
    for name, is_perfect in (("perfect", True), ("random", False)):
        write_h5(folder / f"{name}.h5", pixels.recording(NUM_EPISODES, is_perfect=is_perfect), pixels.ENV, {})
    return folder


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def on_images(path: Path, *overrides: str) -> RunConfig:
    """A small run on a file."""
    fixed = ("network=nature_cnn", "network.hidden_sizes=[16]", "dataset=h5", f"dataset.path={path}", "batch_size=32",
             f"dataset.env={pixels.ENV}", "algorithm.eval_eps=0", "compile=never", "num_threads=1")  # fmt: skip
    return checked(*fixed, *overrides)


def trainer_of(path: Path, run_dir: Path, *overrides: str, seeds: tuple[int, ...] = (0,)) -> Trainer:
    """A run for each seed, trained together."""
    jobs = [Job(on_images(path, *overrides, f"seed={seed}"), run_dir / str(seed), {}, ()) for seed in seeds]
    for job in jobs:
        job.run_dir.mkdir(parents=True, exist_ok=True)
    return build(jobs)


def weights(policy: Policy) -> torch.Tensor:
    return torch.cat([param.detach().flatten() for param in policy.parameters()])


def test_images_are_bytes_in_the_file_and_in_the_buffer(folder: Path) -> None:
    read, recorded = read_transitions(folder / "random.h5"), pixels.recording(NUM_EPISODES, is_perfect=False)
    assert read.obs.dtype == np.uint8
    assert np.array_equal(read.obs, recorded.obs)
    buffer = make_population([on_images(folder / "random.h5")], read).buffer
    assert buffer.obs.dtype == torch.uint8
    assert np.array_equal(buffer.obs.numpy(), recorded.obs)


def test_a_clone_of_a_perfect_behaviour_gets_its_exact_return(folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(folder / "perfect.h5", tmp_path, "algorithm=bc_discrete", "num_updates=150", "eval_freq=150")
    assert trainer.members[0].evaluate().mean < pixels.EPISODE_LENGTH, "a return that is not for free"
    (summary,) = trainer.run()
    assert summary["behaviour_return"] == summary["final_return"] == pixels.EPISODE_LENGTH


@pytest.mark.parametrize("name", ["dqn", "discrete_bcq"])
def test_what_pays_is_learned_from_a_behaviour_at_random(name: str, folder: Path, tmp_path: Path) -> None:
    overrides = (f"algorithm={name}", "algorithm.gamma=0", "num_updates=150", "eval_freq=150", "optimizer.lr=1e-3")
    summaries = trainer_of(folder / "random.h5", tmp_path, *overrides, seeds=(0, 1)).run()
    assert summaries[0]["behaviour_return"] < 5
    assert [summary["final_return"] for summary in summaries] == [pixels.EPISODE_LENGTH] * 2


def test_a_run_on_images_goes_on_from_its_checkpoint_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    typed = ("algorithm=discrete_bcq", "eval_freq=12", "eval_episodes=1", "algorithm.target_update_freq=5")
    straight = trainer_of(folder / "random.h5", tmp_path / "straight", *typed, "num_updates=12")
    straight.run()
    trainer_of(folder / "random.h5", tmp_path / "halves", *typed, "num_updates=6").run()
    resumed = trainer_of(folder / "random.h5", tmp_path / "halves", *typed, "num_updates=12")
    assert resumed.population.num_updates == 6
    resumed.run()
    ours, theirs = resumed.population.policies[0], straight.population.policies[0]
    assert torch.equal(weights(ours), weights(theirs))
    assert ours.nets["model"].trunk is ours.nets["imitator"].trunk
    assert ours.targets["model"].trunk is not ours.nets["model"].trunk


@pytest.mark.usefixtures("float64")
def test_members_on_images_equal_policies_that_learn_alone(folder: Path) -> None:
    cfgs = [
        on_images(folder / "random.h5", "algorithm.target_update_freq=2", f"seed={seed}", f"optimizer.lr={rate}")
        for seed, rate in ((0, 1e-3), (1, 2e-3))
    ]
    data = read_transitions(folder / "random.h5")
    together = make_population(cfgs, data)
    for member, cfg in enumerate(cfgs):
        alone = make_population([cfg], data)
        policy = copy.deepcopy(alone.policies[0])
        (optimizer,) = {id(made): made for made in policy.optimizers.values()}.values()
        assert {id(param) for group in optimizer.param_groups for param in group["params"]} == {
            id(param) for param in policy.nets.parameters()
        }
        for update in range(5):
            policy.learn(alone.buffer[alone.streams.at(update)[0][0]])
        if member == 0:
            together.advance(5)
        assert (weights(policy) - weights(together.policies[member])).abs().max() < 1e-10


def test_the_shared_convolutions_run_once_for_each_image_and_members_one_by_one(folder: Path) -> None:
    data = read_transitions(folder / "random.h5")
    cfgs = [on_images(folder / "random.h5", "algorithm=discrete_bcq", f"seed={seed}") for seed in (0, 1)]
    population = make_population(cfgs, data)
    assert [part.members for part in population.parts] == [slice(0, 1), slice(1, 2)]
    calls: list[str] = []
    for name, base in (*population.nets.bases.items(), *population.slow.bases.items()):
        base.get_submodule("trunk").register_forward_hook(lambda *_, name=name: calls.append(name))
    population.advance(1)
    # A member: obs_next by the online and the target network, obs by the online network; the imitator's comes along.
    assert calls == ["model"] * 6


def test_images_that_are_no_bytes_are_refused_where_the_environments_are(folder: Path) -> None:
    read = read_transitions(folder / "random.h5")
    scaled = replace(read, obs=(read.obs / 255).astype(np.float32), obs_next=(read.obs_next / 255).astype(np.float32))
    cfg = on_images(folder / "random.h5")
    with pytest.raises(ValueError, match=r"is float32; the environment's images are uint8"):
        check_against(scaled, cfg.observation_space, cfg.action_space, 32)
