import copy
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from bcq_exp.data import Batch, ReplayBuffer
from bcq_exp.policies import BCQPolicy, DiscreteBCQPolicy, Policy

MakeBCQ = Callable[..., BCQPolicy]
MakeDiscrete = Callable[..., DiscreteBCQPolicy]
Columns = dict[str, Any]
Case = tuple[Callable[..., Policy], Columns]

exactly = partial(assert_close, rtol=0, atol=0)


# ------------------------------------------------------------------ batches


@pytest.mark.parametrize(
    "kind",
    [
        lambda columns: {name: column.astype(np.float64) for name, column in columns.items()},
        lambda columns: SimpleNamespace(**columns),
        lambda columns: SimpleNamespace(**{name: torch.from_numpy(column) for name, column in columns.items()}),
        lambda columns: Batch({name: torch.from_numpy(column) for name, column in columns.items()}),
        lambda columns: Batch(columns),
    ],
)
def test_any_kind_of_batch_gives_the_same_update(case: Case, kind: Callable[[Columns], Any]) -> None:
    make, columns = case
    plain, other = make(), make()
    for _ in range(2):
        plain.learn(columns)
        other.learn(kind(columns), 64, repeat=1)
    exactly(other.state_dict(), plain.state_dict())
    for policy in (plain, other):
        policy.seed_acting(0)
    exactly(other(kind(columns)).act, plain(columns).act)


def test_a_missing_column_is_named_and_moves_nothing(case: Case) -> None:
    make, columns = case
    policy = make()
    before = copy.deepcopy(policy.training_state())
    with pytest.raises(ValueError, match=r"batch lacks obs_next; learn needs obs, act"):
        policy.learn({name: column for name, column in columns.items() if name != "obs_next"})
    exactly(policy.state_dict(), before["module"])
    assert torch.equal(policy.learning_noise.get_state(), before["learning_noise"])


# ------------------------------------------------------------------ update


class Foreign:
    """A buffer as Tianshou's: `sample` gives a batch with attributes for columns, of all rows here, and places."""

    def __init__(self, columns: Columns) -> None:
        self.batch = SimpleNamespace(**columns, info={}, policy={})

    def sample(self, batch_size: int) -> tuple[Any, Any]:
        return self.batch, np.arange(batch_size)


def test_a_buffer_of_another_library_gives_the_update_of_its_batch(case: Case) -> None:
    make, columns = case
    plain, other = make(), make()
    plain.learn(columns)
    other.update(len(columns["rew"]), Foreign(columns))
    exactly(other.state_dict(), plain.state_dict())


@pytest.mark.parametrize(
    ("buffer", "said"),
    [
        (SimpleNamespace(transitions=[]), "types.SimpleNamespace, which has no sample"),
        (SimpleNamespace(sample=lambda _: (1, 2, 3, 4, 5)), "gives \\(batch, indices\\)"),
        (SimpleNamespace(sample=lambda _: ({"obs": 1}, 2)), "the batch with obs, act, rew"),
        ([], "builtins.list"),
    ],
)
def test_a_buffer_that_cannot_be_sampled_is_refused_by_name(case: Case, buffer: Any, said: str) -> None:
    make, _ = case
    with pytest.raises(ValueError, match=rf"buffer is a .*{said}.*make a bcq_exp\.data\.ReplayBuffer of its columns"):
        make().update(2, buffer)


def test_steps_in_their_order_are_not_in_a_sample(make_discrete: MakeDiscrete, discrete: Columns) -> None:
    with pytest.raises(ValueError, match=r"test_base\.Foreign, whose samples lack 3 steps in their order"):
        make_discrete(estimation_step=3).update(2, Foreign(discrete))


class Counter:
    """A schedule that counts its steps."""

    def __init__(self) -> None:
        self.num_steps = 0

    def step(self) -> None:
        self.num_steps += 1

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        raise AssertionError


def test_the_schedule_steps_once_an_update_and_not_in_learn(case: Case) -> None:
    make, columns = case
    schedule = Counter()
    policy, buffer = make(lr_scheduler=schedule), ReplayBuffer(**columns, seed=0)
    policy.learn(columns)
    assert schedule.num_steps == 0
    for _ in range(3):
        policy.update(8, buffer)
    assert (schedule.num_steps, policy.num_updates) == (3, 4)


def test_update_samples_from_the_buffer_and_processes_for_learn(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    make, columns = case
    policy, buffer, twin = make(), ReplayBuffer(**columns, seed=0), ReplayBuffer(**columns, seed=0)
    seen: list[tuple[Batch, dict[str, Any], bool]] = []
    learn = policy.learn

    def spy(batch: Batch, **kwargs: Any) -> Any:
        seen.append((batch, kwargs, policy.updating))
        return learn(batch, **kwargs)

    monkeypatch.setattr(policy, "learn", spy)
    policy.update(8, buffer, repeat=2)
    policy.update(0, buffer)
    expected = twin.sample(8)[0], twin[torch.arange(40)]
    for (batch, _, updating), wanted in zip(seen, expected, strict=True):
        exactly({name: batch[name] for name in wanted}, dict(wanted))
        assert updating
    assert [kwargs for _, kwargs, _ in seen] == [{"repeat": 2}, {}]
    assert not policy.updating


def test_updating_ends_where_learn_fails(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    make, columns = case
    schedule = Counter()
    policy = make(lr_scheduler=schedule)
    monkeypatch.setattr(policy, "learn", lambda batch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        policy.update(8, ReplayBuffer(**columns))
    assert (policy.updating, schedule.num_steps) == (False, 0)


def test_smoothed_loss_by_hand(case: Case) -> None:
    make, columns = case
    policy = make()
    first, second, third = (policy.learn(columns) for _ in range(3))
    names = [name for name in vars(first) if name.endswith("loss") and name != "smoothed_loss"]
    assert len(names) == 4
    for name in names:
        a, b, c = (getattr(stats, name) for stats in (first, second, third))
        assert first.smoothed_loss[name] == pytest.approx(a)
        assert second.smoothed_loss[name] == pytest.approx(0.99 * a + 0.01 * b)
        assert third.smoothed_loss[name] == pytest.approx(0.99 * (0.99 * a + 0.01 * b) + 0.01 * c)
    assert set(third.smoothed_loss) == set(names)
    assert first.train_time > 0


def test_learn_leaves_the_target_networks_without_gradient(case: Case) -> None:
    make, columns = case
    policy = make()
    policy.learn(columns)
    assert all(param.grad is None for param in policy.targets.parameters())
    assert all(param.grad is not None for param in policy.nets.parameters())


def test_metric_names_are_those_of_an_update_and_move_nothing(case: Case) -> None:
    make, columns = case
    policy, buffer = make(), ReplayBuffer(**columns)
    before = copy.deepcopy(policy.training_state())
    window = buffer.window(torch.arange(2), 1)
    names = policy.metric_names(window)
    exactly(policy.state_dict(), before["module"])
    assert torch.equal(policy.learning_noise.get_state(), before["learning_noise"])
    assert len(names) == len(policy.algorithm.stages)
    assert [name for stage in names for name in stage] == list(policy.walk(window))


# ------------------------------------------------------------------ modes


def test_train_returns_the_policy_and_leaves_targets_in_evaluation(case: Case) -> None:
    make, columns = case
    policy = make()
    for mode in (True, False, True):
        assert policy.train(mode) is policy
        assert {module.training for module in policy.nets.modules()} == {mode}
        assert {module.training for module in policy.targets.modules()} == {False}
    assert policy.eval() is policy
    assert not policy.training
    policy.train().learn(columns)
    assert not policy.targets["actor" if "actor" in policy.targets else "model"].training


def test_buffers_of_a_network_reach_its_target(make_discrete: MakeDiscrete, discrete: Columns) -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4))
    policy = make_discrete(model=model, target_update_freq=1)
    policy.train().learn(discrete)
    assert model[0].running_mean.abs().min() > 0
    exactly(policy.targets["model"].state_dict(), model.state_dict())


# ------------------------------------------------------------------ device


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_everything_lies_on_the_device(make_bcq: MakeBCQ, continuous: Columns) -> None:
    policy = make_bcq(device="cuda")
    policy.update(16, ReplayBuffer(**continuous, device="cuda", seed=0))
    policy.learn(continuous)
    tensors = [*policy.parameters(), *policy.buffers()]
    states = [
        value for optim in policy.optimizers.values() for state in optim.state.values() for value in state.values()
    ]
    assert {tensor.device.type for tensor in tensors} == {"cuda"}
    assert {value.device.type for value in states if value.ndim} == {"cuda"}
    assert policy.compute_action(continuous["obs"]).shape == (40, 2)
    fresh = make_bcq(seed=1, device="cuda")
    fresh.load_training_state(copy.deepcopy(policy.training_state()))
    for same in (policy, fresh):
        same.learn(continuous)
    exactly(fresh.state_dict(), policy.state_dict())


def test_the_device_must_exist(make_bcq: MakeBCQ) -> None:
    with pytest.raises(RuntimeError, match="nowhere"):
        make_bcq(device="nowhere")
