import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chisquare
from torch import Tensor, nn
from torch.optim import SGD
from torch.testing import assert_close

from bcq_exp.data import ReplayBuffer
from bcq_exp.networks import MLP
from bcq_exp.policies import DiscreteBCQPolicy

MakeDiscrete = Callable[..., DiscreteBCQPolicy]
Table = Callable[[Any], nn.Linear]
Columns = dict[str, Any]

exactly = partial(assert_close, rtol=0, atol=0)


def test_signature_is_that_of_the_contract() -> None:
    parameters = inspect.signature(DiscreteBCQPolicy).parameters
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        **dict.fromkeys(["model", "imitator", "optim", "action_space"], inspect.Parameter.empty),
        "discount_factor": 0.99,
        "estimation_step": 1,
        "target_update_freq": 8000,
        "eval_eps": 0.001,
        "unlikely_action_threshold": 0.3,
        "imitation_logits_penalty": 0.01,
        "reward_normalization": False,
        "is_double": True,
        "clip_loss_grad": False,
        "observation_space": None,
        "lr_scheduler": None,
    }


# ------------------------------------------------------------------ acting

Q = [[1.0, 3.0, 2.0], [9.0, 1.0, 5.0], [4.0, 4.0, 0.0]]
# Probabilities relative to the largest of each row: 1, 0.2, 0.5; 0.25, 1, 0.5; 1, 0.1, 1.
LOGITS = np.log([[1.0, 0.2, 0.5], [0.25, 1.0, 0.5], [1.0, 0.1, 1.0]]) + 2
MASK = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1]], bool)


@pytest.mark.parametrize(
    ("threshold", "act", "masked_act"),
    [(0, [1, 0, 0], [1, 0, 1]), (0.3, [2, 2, 0], [0, 0, 2]), (0.22, [2, 0, 0], [0, 0, 2]), (1, [0, 1, 0], [0, 0, 2])],
)
def test_forward_keeps_likely_and_available_actions(
    make_discrete: MakeDiscrete, table: Table, threshold: float, act: list[int], masked_act: list[int]
) -> None:
    policy = make_discrete(model=table(Q), imitator=table(LOGITS), unlikely_action_threshold=threshold)
    obs = np.eye(3)
    out = policy({"obs": obs})
    assert out.act.tolist() == act
    np.testing.assert_allclose(out.logits, LOGITS, rtol=1e-6)
    np.testing.assert_allclose(out.imitation_logits, LOGITS, rtol=1e-6)
    np.testing.assert_allclose(out.q_value, Q)
    assert out.state is None
    assert out.act.is_inference()
    for batch in ({"obs": {"obs": obs, "mask": MASK}}, {"obs": obs, "mask": MASK}):
        assert policy(batch).act.tolist() == masked_act


@pytest.mark.parametrize("mask", [None, [1, 0, 1, 1]])
def test_eval_eps_explores_uniformly_in_evaluation_only(make_discrete: MakeDiscrete, mask: list[int] | None) -> None:
    policy = make_discrete(eval_eps=1.0)
    policy.seed_acting(0)
    batch = {"obs": np.zeros((3000, 3))} | ({} if mask is None else {"mask": np.tile(np.array(mask, bool), (3000, 1))})
    greedy = policy(batch).act
    assert len(greedy.unique()) == 1
    assert policy.exploration_noise(greedy, batch) is greedy
    policy.eval()
    exactly(policy(batch).act, greedy)
    counts = np.bincount(policy.exploration_noise(greedy, batch), minlength=4)
    available = np.array([1, 1, 1, 1] if mask is None else mask, bool)
    assert counts[~available].sum() == 0
    assert chisquare(counts[available]).pvalue > 0.01


def test_eval_eps_is_the_probability_of_a_random_action(make_discrete: MakeDiscrete) -> None:
    obs, explored = np.zeros((4000, 3)), {}
    for eps in (0.0, 0.2):
        policy = make_discrete(eval_eps=eps).eval()
        policy.seed_acting(0)
        greedy = policy({"obs": obs}).act.numpy()
        act = policy.exploration_noise(greedy, {"obs": obs})
        assert isinstance(act, np.ndarray)
        explored[eps] = int((act != greedy).sum())
    assert explored[0.0] == 0
    assert binomtest(explored[0.2], 4000, 0.2 * 3 / 4).pvalue > 0.01


def test_compute_action_adds_the_start_of_the_space(make_discrete: MakeDiscrete, table: Table) -> None:
    policy = make_discrete(
        model=table(Q),
        imitator=table(np.zeros((3, 3))),
        action_space=gym.spaces.Discrete(3, start=5),
        observation_space=gym.spaces.Box(0, 1, (3,)),
        eval_eps=0.0,
    ).eval()
    assert policy.compute_action(np.eye(3)).tolist() == [6, 5, 5]
    assert policy.compute_action({"obs": np.eye(3), "mask": MASK}).tolist() == [6, 5, 6]
    single = policy.compute_action(np.eye(3)[0])
    assert (single.shape, single) == ((), 6)
    assert policy.map_action_inverse(np.array([6, 5])).tolist() == [1, 0]
    exploring = make_discrete(action_space=gym.spaces.Discrete(4, start=5), eval_eps=1.0).eval()
    assert set(exploring.compute_action(np.zeros((200, 3)))) == {5, 6, 7, 8}


class Recurrent(nn.Module):
    """Q values that a carried state shifts."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.before = nn.Linear(3, 4), nn.Linear(1, 4)

    def forward(self, obs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if state is None:
            return self.now(obs), torch.ones(len(obs), 1)
        return self.now(obs) + self.before(state), state + 1


def test_models_may_return_a_state(make_discrete: MakeDiscrete, discrete: Columns) -> None:
    model, imitator = Recurrent(), Recurrent()
    plain = make_discrete(model=copy.deepcopy(model.now), imitator=copy.deepcopy(imitator.now))
    policy = make_discrete(model=model, imitator=imitator)
    first = policy(discrete)
    exactly(first.q_value, plain(discrete).q_value)
    assert (first.state == 1).all()
    second = policy(discrete, first.state)
    exactly(second.q_value, first.q_value + model.before(torch.ones(1, 1)))
    assert (second.state == 2).all()
    buffer = ReplayBuffer(**discrete)
    for _ in range(2):  # each batch starts without a state
        assert policy.update(0, buffer).loss == plain.update(0, buffer).loss
    assert (model.before.weight.grad == 0).all()


# ------------------------------------------------------------------ arguments


def test_a_shared_trunk_stays_shared_and_counts_once(make_discrete: MakeDiscrete, discrete: Columns) -> None:
    trunk = MLP(3, 8, hidden_sizes=[], activation="relu")
    heads = [nn.Linear(8, 4) for _ in range(2)]
    model, imitator = (nn.Sequential(trunk, head) for head in heads)
    policy = make_discrete(model=model, imitator=imitator, optimizer=partial(SGD, lr=0.1))
    assert len(policy.optimizers["model"].param_groups[0]["params"]) == 6
    before = trunk.layers[0].weight.detach().clone()
    obs, act = torch.tensor(discrete["obs"]), torch.tensor(discrete["act"])
    y = policy.process_fn(
        ReplayBuffer(**discrete)[torch.arange(40)], ReplayBuffer(**discrete), torch.arange(40)
    ).returns
    q_loss = (model(obs).gather(1, act[:, None])[:, 0] - y).square().mean()
    logits = imitator(obs)
    loss = q_loss + nn.functional.cross_entropy(logits, act) + 0.01 * logits.square().mean()
    (gradient,) = torch.autograd.grad(loss, trunk.layers[0].weight)
    policy.learn(discrete)
    assert policy.nets["model"][0] is policy.nets["imitator"][0] is trunk
    assert_close(trunk.layers[0].weight.detach(), before - 0.1 * gradient)


def test_the_optimizer_must_hold_every_parameter(make_discrete: MakeDiscrete) -> None:
    model, imitator = nn.Linear(3, 4), nn.Linear(3, 4)
    for held, lost in ((model, "imitator"), (imitator, "model")):
        with pytest.raises(ValueError, match=rf"optimizer of {lost} does not hold its parameter weight"):
            make_discrete(model=model, imitator=imitator, optim=SGD(held.parameters()))


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("discount_factor", 1.1, r"\[0, 1\]"),
        ("estimation_step", 0, r"\[1, inf\)"),
        ("target_update_freq", -1, r"\[0, inf\)"),
        ("eval_eps", -0.1, r"\[0, 1\]"),
        ("unlikely_action_threshold", 1.5, r"\[0, 1\]"),
        ("imitation_logits_penalty", -1, r"\[0, inf\)"),
    ],
)
def test_numbers_out_of_range_are_errors(make_discrete: MakeDiscrete, key: str, value: float, allowed: str) -> None:
    with pytest.raises(ValueError, match=rf"^{key}={value} is outside {allowed}$"):
        make_discrete(**{key: value})


def test_all_violations_stand_in_one_message(make_discrete: MakeDiscrete) -> None:
    with pytest.raises(ValueError, match=r"eval_eps=2.*; .*discount_factor=3|discount_factor=3.*; .*eval_eps=2"):
        make_discrete(eval_eps=2, discount_factor=3)


def test_a_box_is_an_error(make_discrete: MakeDiscrete) -> None:
    with pytest.raises(ValueError, match=r"needs Discrete actions, found Box\(.*see BCQPolicy"):
        make_discrete(action_space=gym.spaces.Box(-1, 1, (4,)))
