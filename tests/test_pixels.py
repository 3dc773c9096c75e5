"""Images from the file to the return of the trained policy."""

import copy
import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pixels
from bcq_exp.data import Transitions, check_against, read_transitions, write_h5
from bcq_exp.data.frames import FrameStacks, StackedFrames
from bcq_exp.policies import Policy
from bcq_exp.training.config import RunConfig
from bcq_exp.training.experiment import build, make_population
from bcq_exp.training.trainer import Trainer
from cases import checked, job

NUM_EPISODES = 30
ON_STACKS = f"dataset.env={pixels.STACKED_ENV}"


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


def typed_on_images(path: Path, *overrides: str) -> tuple[str, ...]:
    """The overrides of a small run on a file."""
    fixed = ("network=nature_cnn", "network.hidden_sizes=[16]", "dataset=h5", f"dataset.path={path}", "batch_size=32",
             f"dataset.env={pixels.ENV}", "algorithm.eval_eps=0", "compile=never", "num_threads=1")  # fmt: skip
    return (*fixed, *overrides)


def on_images(path: Path, *overrides: str) -> RunConfig:
    """A small run on a file."""
    return checked(*typed_on_images(path, *overrides))


def trainer_of(path: Path, run_dir: Path, *overrides: str, seeds: tuple[int, ...] = (0,)) -> Trainer:
    """A run for each seed, trained together."""
    return build([job(run_dir / str(seed), *typed_on_images(path, *overrides, f"seed={seed}")) for seed in seeds])


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
    assert trainer.evaluate([0], lambda *_: None)[0]["eval/return"] < pixels.EPISODE_LENGTH, (
        "a return that is not for free"
    )
    (summary,) = trainer.run()
    assert summary["behaviour_return"] == summary["final_return"] == pixels.EPISODE_LENGTH


@pytest.mark.parametrize("name", ["dqn", "discrete_bcq"])
def test_the_rewarded_action_is_learned_from_random_behaviour(name: str, folder: Path, tmp_path: Path) -> None:
    overrides = (f"algorithm={name}", "algorithm.gamma=0", "num_updates=150", "eval_freq=150", "optimizer.lr=1e-3")
    summaries = trainer_of(folder / "random.h5", tmp_path, *overrides, seeds=(0, 1)).run()
    assert summaries[0]["behaviour_return"] < 5
    assert [summary["final_return"] for summary in summaries] == [pixels.EPISODE_LENGTH] * 2


def test_a_run_on_images_goes_on_from_its_checkpoint_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    typed = ("algorithm=discrete_bcq", "eval_freq=6", "log_freq=6", "eval_episodes=1", "algorithm.target_update_freq=5")
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


@pytest.mark.parametrize("typed", [(), ("algorithm.num_quantiles=5", "algorithm.clip_loss_grad=true"),
                                   ("algorithm=kl_control",)])  # fmt: skip
@pytest.mark.usefixtures("float64")
def test_members_on_images_equal_policies_that_learn_alone(typed: tuple[str, ...], folder: Path) -> None:
    fixed = (*typed, "algorithm.target_update_freq=2")
    cfgs = [
        on_images(folder / "random.h5", *fixed, f"seed={seed}", f"optimizer.lr={rate}")
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
            policy.learn(alone.buffer[alone.parts[0].streams.at(update)[0][0]])
        if member == 0:
            together.advance(5)
        assert (weights(policy) - weights(together.policies[member])).abs().max() < 1e-10


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("precision", "is_stacked"),
    [("fp32", True), *(pytest.param(*case, marks=pytest.mark.slow) for case in (("fp32", False), ("bf16", True)))],
)
def test_the_compiled_update_on_images_equals_the_one_that_is_not(
    precision: str, is_stacked: bool, folder: Path
) -> None:
    single = read_transitions(folder / "random.h5")
    data, env = (on_frames(single)[1], pixels.STACKED_ENV) if is_stacked else (single, pixels.ENV)
    learned = []
    for setting in ("never", "always"):
        typed = (f"dataset.env={env}", f"compile={setting}", f"precision={precision}", "optimizer.lr=1e-3")
        population = make_population([on_images(folder / "random.h5", *typed)], data)
        before = weights(population.policies[0]).clone()
        population.advance(20)
        learned.append(weights(population.policies[0]))
        assert (learned[-1] - before).square().mean().sqrt() > 1e-3
    assert (learned[0] - learned[1]).square().mean().sqrt() < {"fp32": 1e-6, "bf16": 1e-3}[precision]


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


def on_frames(data: Transitions) -> tuple[Transitions, Transitions]:
    """A recording with stacks of images of which each is kept once, and the same with stacks that are kept whole."""
    episodes = np.split(np.arange(len(data)), np.flatnonzero(data.terminated | data.truncated)[:-1] + 1)
    black, obs, obs_next = np.zeros((3, 36, 36), np.uint8), np.asarray(data.obs), np.asarray(data.obs_next)
    pieces = [np.concatenate([black, obs[rows, 0], obs_next[rows[-1:], 0]]) for rows in episodes]
    starts = np.cumsum([3] + [len(piece) for piece in pieces[:-1]])
    newest = np.concatenate([start + np.arange(len(rows)) for start, rows in zip(starts, episodes, strict=True)])
    frames = np.concatenate(pieces)
    once = replace(data, obs=FrameStacks(frames, newest, 4), obs_next=FrameStacks(frames, newest + 1, 4))
    return once, replace(once, obs=np.asarray(once.obs), obs_next=np.asarray(once.obs_next))


@pytest.mark.parametrize(
    ("storage", "setting"),
    [("memory", "never"), ("mmap", "never"), pytest.param("mmap", "always", marks=pytest.mark.compiled)],
)
def test_frames_that_are_kept_once_train_the_same_weights(
    storage: str, setting: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path))
    trained = []
    for data in on_frames(read_transitions(folder / "random.h5")):
        typed = (ON_STACKS, f"storage={storage}", f"compile={setting}", "algorithm.estimation_step=2")
        population = make_population([on_images(folder / "random.h5", *typed)], data)
        population.advance(4)
        trained.append(weights(population.policies[0]))
        assert isinstance(population.buffer.obs, StackedFrames) == isinstance(data.obs, FrameStacks)
    once, whole = trained
    # Two graphs may add up in two orders.
    assert torch.equal(once, whole) or (setting == "always" and (once - whole).square().mean().sqrt() < 1e-6)


def test_a_lone_policy_learns_from_frames_as_from_stacks(folder: Path) -> None:
    trained = []
    for data in on_frames(read_transitions(folder / "random.h5")):
        population = make_population([on_images(folder / "random.h5", ON_STACKS)], data)
        policy = copy.deepcopy(population.policies[0])
        population.buffer.seed(0)
        for _ in range(2):
            policy.update(16, population.buffer)
        trained.append(weights(policy))
    assert torch.equal(*trained)


def test_a_run_on_a_replay_memory_s_checkpoint(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path / "cache"))
    once, whole = on_frames(read_transitions(folder / "perfect.h5"))
    logs = tmp_path / "replay_logs"
    logs.mkdir()
    rows = np.concatenate([np.r_[[-1] * 3, part] for part in np.split(np.arange(len(once)), len(once) // 10)])
    columns = {
        "observation": np.where(rows[:, None, None] < 0, np.uint8(0), np.asarray(whole.obs)[rows, 3]),
        "action": np.where(rows < 0, 0, once.act[rows]).astype(np.int32),
        "reward": np.where(rows < 0, 0, once.rew[rows]),
        "terminal": np.where(rows < 0, 0, once.truncated[rows]).astype(np.uint8),  # it has no flag for time limits
    }
    for name, column in columns.items():
        with gzip.open(logs / f"$store$_{name}_ckpt.0.gz", "wb") as file:
            np.save(file, column)
    with gzip.open(logs / "add_count_ckpt.0.gz", "wb") as file:
        np.save(file, np.array(len(rows)))
    typed = ("dataset=atari-replay", "dataset.game=Pong", f"dataset.path={logs}", "dataset.max_episode_steps=10",
             ON_STACKS, "network=nature_cnn", "network.hidden_sizes=[16]", "algorithm=bc_discrete",
             "algorithm.eval_eps=0", "compile=never", "num_threads=1", "num_updates=2", "eval_episodes=1")  # fmt: skip
    trainer = build([job(tmp_path / "run", *typed)])
    buffer = trainer.population.buffer
    kept = np.flatnonzero(~once.truncated)  # the last row of an episode has no next image here
    assert len(buffer) == len(kept)
    assert torch.equal(buffer.obs[torch.arange(len(kept))], torch.from_numpy(np.asarray(whole.obs)[kept]))
    assert not buffer.terminated.any()
    assert buffer.truncated.sum() == NUM_EPISODES
    (summary,) = trainer.run()
    assert summary["behaviour_return"] == pixels.EPISODE_LENGTH
    assert summary["behaviour_normalized_score"] is None, "a recording's clipped rewards are no score of the game"
    assert summary["final_normalized_score"] == pytest.approx(100 * (summary["final_return"] + 20.7) / (14.6 + 20.7))
