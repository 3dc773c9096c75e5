import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from algorithms import golden, tiny
from algorithms.golden import Adam, assert_same, backward, cross_entropy, forward, softmax
from algorithms.quantile_working import quantile_loss, quantile_targets, quantiles
from bcq_exp.algorithms import REGISTRY, dqn
from bcq_exp.algorithms.discrete_bcq import bcq_target
from bcq_exp.data import ReplayBuffer
from bcq_exp.networks import NatureCNNConfig, Sizes
from bcq_exp.policies import DiscreteBCQPolicy, Policy
from bcq_exp.policies.factory import make_policy as make_any_policy

GAMMA, THRESHOLD, PENALTY = 0.9, 0.3, 0.1
DATA = tiny.data(is_discrete=True)
ROWS = torch.arange(len(DATA["rew"]))
NUM_ACTIONS = int(tiny.DISCRETE.n)


def make_policy(**changed: Any) -> DiscreteBCQPolicy:
    nets = tiny.networks("discrete_bcq", tiny.config("discrete_bcq"))
    arguments = {
        **nets,
        "optim": torch.optim.Adam([*nets["model"].parameters(), *nets["imitator"].parameters()], lr=tiny.LR),
        "action_space": tiny.DISCRETE,
        "discount_factor": GAMMA,
        "unlikely_action_threshold": THRESHOLD,
        "imitation_logits_penalty": PENALTY,
        "target_update_freq": 1,
        "eval_eps": 0.0,
    }
    policy = DiscreteBCQPolicy(**arguments | changed)
    tiny.scatter(policy.targets)
    return policy


def likely(imitator: golden.Weights, obs: golden.Array, mask: golden.Array, threshold: float = THRESHOLD) -> set[int]:
    """The available actions whose probability is at least the threshold's share of that of the likeliest one."""
    available = np.flatnonzero(mask)
    probs = softmax(forward(imitator, obs)[0][available])
    return set(available[probs / max(probs) >= threshold])


@pytest.mark.parametrize("method", ["learn", "update"])
@pytest.mark.parametrize("normalization", ["raw", "normalized"])
@pytest.mark.parametrize("num_steps", [1, 3], ids="{}_step".format)
@pytest.mark.parametrize("kind", ["huber", "square"])
@pytest.mark.parametrize("chooser", ["double", "single"])
def test_golden_update(chooser: str, kind: str, num_steps: int, normalization: str, method: str) -> None:
    """Q-learning among the likely actions, imitation, and the penalty on logits, worked out for all rows at once.

    Imitation and penalty are over the available actions.

    `learn` gets the window of rewards, `update` makes the targets of the same rows itself.
    """
    policy = make_policy(
        is_double=chooser == "double",
        clip_loss_grad=kind == "huber",
        estimation_step=num_steps,
        reward_normalization=normalization == "normalized",
    )
    buffer = ReplayBuffer(**DATA)
    nets = {name: tiny.arrays(net) for name, net in policy.nets.items()}
    units = {}
    if normalization == "normalized":
        returns = golden.n_step_targets(DATA, lambda row: 0.0, gamma=GAMMA, num_steps=len(ROWS))
        units = {"mean": returns.mean(), "std": returns.std()}
        policy.prepare(buffer)
    y = golden.q_learning_targets(
        DATA,
        nets["model"],
        tiny.arrays(policy.targets["model"]),
        [
            likely(nets["imitator"], obs, mask) if mask.any() else set()
            for obs, mask in zip(DATA["obs_next"], DATA["mask_next"], strict=True)
        ],
        is_double=chooser == "double",
        gamma=GAMMA,
        num_steps=num_steps,
        **units,
    )

    stats = policy.update(0, buffer) if method == "update" else policy.learn(buffer.window(ROWS, num_steps))

    q, model_inputs = forward(nets["model"], DATA["obs"])
    q_loss, d_q = golden.td_loss(q, DATA["act"], y, is_huber=kind == "huber")
    logits, imitator_inputs = forward(nets["imitator"], DATA["obs"])
    mask = DATA["mask"]
    i_loss, d_logits = cross_entropy(np.where(mask, logits, -np.inf), DATA["act"])
    reg_loss = np.mean(logits[mask] ** 2)
    d_logits = d_logits + PENALTY * 2 * np.where(mask, logits, 0) / mask.sum()
    grads = {
        "model": backward(nets["model"], model_inputs, d_q)[0],
        "imitator": backward(nets["imitator"], imitator_inputs, d_logits)[0],
    }

    loss = q_loss + i_loss + PENALTY * reg_loss
    assert [stats.loss, stats.q_loss, stats.i_loss, stats.reg_loss] == pytest.approx(
        [loss, q_loss, i_loss, reg_loss], abs=1e-10
    )
    assert grads.keys() == policy.nets.keys()
    for name in grads:
        stepped = Adam(tiny.LR).step(nets[name], grads[name])
        assert_same(tiny.gradients(policy.nets[name]), grads[name])
        assert_same(tiny.arrays(policy.nets[name]), stepped)
        if name == "model":
            assert_same(tiny.arrays(policy.targets[name]), stepped)


@pytest.mark.parametrize("method", ["learn", "update"])
@pytest.mark.parametrize("num_steps", [1, 3], ids="{}_step".format)
@pytest.mark.parametrize("chooser", ["double", "single"])
def test_golden_update_of_quantiles(chooser: str, num_steps: int, method: str) -> None:
    """Quantile regression (arXiv:1710.10044) on the target network's quantiles of the best likely action."""
    num_quantiles, is_double, threshold = 3, chooser == "double", 0.8
    policy = tiny.make_policy(
        "discrete_bcq",
        num_quantiles=num_quantiles,
        clip_loss_grad=True,
        is_double=is_double,
        estimation_step=num_steps,
        target_update_freq=1,
        unlikely_action_threshold=threshold,
    )
    model, imitator = (tiny.arrays(policy.nets[name]) for name in ("model", "imitator"))
    choices = [
        likely(imitator, obs, mask, threshold) if mask.any() else set()
        for obs, mask in zip(DATA["obs_next"], DATA["mask_next"], strict=True)
    ]
    y = quantile_targets(
        model,
        tiny.arrays(policy.targets["model"]),
        choices,
        is_double=is_double,
        num_steps=num_steps,
        num_quantiles=num_quantiles,
    )

    buffer = ReplayBuffer(**DATA)
    stats = policy.update(0, buffer) if method == "update" else policy.learn(buffer.window(ROWS, num_steps))

    theta = quantiles(model, DATA["obs"], num_quantiles)
    q_loss, d_theta = quantile_loss(theta, DATA["act"], y, kappa=1.0)
    grads, _ = backward(model, forward(model, DATA["obs"])[1], d_theta.reshape(len(ROWS), -1))
    assert stats.smoothed_loss["q_loss"] == pytest.approx(q_loss, abs=1e-10)
    assert_same(tiny.gradients(policy.nets["model"]), grads)
    assert_same(tiny.arrays(policy.nets["model"]), Adam(tiny.LR).step(model, grads))
    out = policy({"obs": DATA["obs"]})
    mean = quantiles(tiny.arrays(policy.nets["model"]), DATA["obs"], num_quantiles).mean(1)
    after = tiny.arrays(policy.nets["imitator"])
    best = [
        max(likely(after, obs, np.ones(NUM_ACTIONS), threshold), key=q.__getitem__)
        for obs, q in zip(DATA["obs"], mean, strict=True)
    ]
    assert out.act.tolist() == best
    assert_same([out.q_value.numpy()], [mean])


# ---------------------------------------------------------------------- the two ends of the threshold


@pytest.fixture
def observations() -> dict[str, torch.Tensor]:
    mask = torch.rand(200, NUM_ACTIONS) < 0.6
    mask[:, 0] = True
    return {"obs": torch.randn(200, tiny.OBS_DIM), "mask": mask}


@pytest.mark.parametrize("keys", [["obs"], ["obs", "mask"]], ids=["all_actions", "masked"])
@pytest.mark.parametrize(("threshold", "name", "shared"), [(1.0, "bc_discrete", "imitator"), (0.0, "dqn", "model")])
def test_threshold_1_acts_as_cloning_and_0_as_q_learning(
    threshold: float, name: str, shared: str, keys: list[str], observations: dict[str, torch.Tensor]
) -> None:
    policy, other = make_policy(unlikely_action_threshold=threshold), tiny.make_policy(name)
    other.nets[shared].load_state_dict(policy.nets[shared].state_dict())
    batch = {key: observations[key] for key in keys}
    assert torch.equal(policy(batch).act, other(batch).act)
    between = make_policy(unlikely_action_threshold=0.3)(batch).act
    assert not torch.equal(between, other(batch).act)


@pytest.mark.parametrize("is_double", [True, False])
def test_threshold_0_learns_as_q_learning(is_double: bool) -> None:
    policy = make_policy(unlikely_action_threshold=0.0, is_double=is_double, target_update_freq=2)
    other = tiny.make_policy("dqn", is_double=is_double)
    other.nets["model"].load_state_dict(policy.nets["model"].state_dict())
    other.targets["model"].load_state_dict(policy.targets["model"].state_dict())
    batch = ReplayBuffer(**DATA).window(ROWS, 1)
    for _ in range(5):
        policy.learn(batch)
        other.learn(batch)
    for net in ("nets", "targets"):
        assert_same(tiny.arrays(getattr(policy, net)["model"]), tiny.arrays(getattr(other, net)["model"]))


@torch.no_grad()
@pytest.mark.parametrize("is_double", [True, False])
def test_threshold_0_without_a_mask_has_the_unrestricted_target(is_double: bool) -> None:
    policy = make_policy(unlikely_action_threshold=0.0)
    window = ReplayBuffer(**{name: column for name, column in DATA.items() if name != "mask_next"}).window(ROWS, 3)
    views = policy.losses_view(), policy.targets_view(), window, policy.hp
    y = bcq_target(*views, is_double=is_double)
    assert y.isfinite().all()
    assert torch.equal(y, dqn.q_learning_target(*views, None, is_double=is_double))


def test_threshold_1_keeps_ties_among_which_the_value_decides(observations: dict[str, torch.Tensor]) -> None:
    policy, obs = make_policy(unlikely_action_threshold=1.0), observations["obs"]
    best, other = policy.nets["imitator"](obs).argmax(-1).bincount().argsort(descending=True)[:2].tolist()
    with torch.no_grad():
        *_, weight, bias = policy.nets["imitator"].parameters()
        weight[other], bias[other] = weight[best], bias[best]
    logits_BA, q_BA = (policy.nets[name](obs) for name in ("imitator", "model"))
    is_tied = logits_BA[:, best] == logits_BA.amax(-1)
    expected = torch.where(q_BA[:, other] > q_BA[:, best], other, best)[is_tied]
    assert expected.unique().numel() == 2, "the value shall prefer one action in some states, the other in others"
    assert torch.equal(policy({"obs": obs[is_tied]}).act, expected)


def test_forward_reports_raw_logits_and_values_in_reward_units() -> None:
    policy = make_policy(reward_normalization=True)
    policy.load_state_dict({**policy.state_dict(), "return_mean": torch.tensor(7.0), "return_std": torch.tensor(3.0)})
    out = policy({"obs": DATA["obs"]})
    q, logits = (forward(tiny.arrays(policy.nets[name]), DATA["obs"])[0] for name in ("model", "imitator"))
    assert_same([out.logits.numpy(), out.imitation_logits.numpy()], [logits, logits])
    assert_same([out.q_value.numpy()], [7 + 3 * q])


def on_images() -> Policy:
    """Both heads on one trunk, put together as a run does it."""
    cfg, sizes = tiny.config("discrete_bcq", unlikely_action_threshold=THRESHOLD), Sizes((2, 36, 36), NUM_ACTIONS, 1.0)
    network = NatureCNNConfig(name="tiny", kind="nature_cnn", hidden_sizes=[16], **tiny.INITIAL)
    return make_any_policy(
        cfg,
        REGISTRY["discrete_bcq"].networks(cfg, network, sizes),
        sizes,
        make_optimizer=lambda role, params: (torch.optim.Adam(params, lr=1e-3), None),
        action_space=tiny.DISCRETE,
        observation_space=gym.spaces.Box(0, 255, sizes.obs_shape, np.uint8),
        device=torch.device("cpu"),
    )


def losses(model: nn.Module, imitator: nn.Module, target: nn.Module, batch: dict[str, Tensor]) -> list[Tensor]:
    """What reaches the trunk through the Q head, and what through the imitator's."""
    with torch.no_grad():
        ratio_BA = imitator(batch["obs_next"]).softmax(-1)
        is_likely_BA = ratio_BA >= THRESHOLD * ratio_BA.amax(-1, keepdim=True)
        best_B = torch.where(is_likely_BA, model(batch["obs_next"]), -torch.inf).argmax(-1)
        value_B = target(batch["obs_next"])[ROWS, best_B]
        y_B = batch["rew"] + GAMMA * torch.where(batch["terminated"], 0.0, value_B)
    logits_BA = imitator(batch["obs"])
    imitation = -logits_BA.log_softmax(-1)[ROWS, batch["act"]].mean()
    td = (model(batch["obs"])[ROWS, batch["act"]] - y_B).square().mean()
    return [td, imitation + PENALTY * logits_BA.square().mean()]


def test_a_shared_trunk_gets_both_heads_gradients_and_one_step_an_update() -> None:
    """Against one Adam over the union of all parameters, the target a copy with a trunk of its own."""
    images = torch.randint(256, (2, len(ROWS), 2, 36, 36), dtype=torch.uint8)
    batch = {key: torch.as_tensor(DATA[key]) for key in ("act", "rew", "terminated", "truncated")}
    batch |= {"obs": images[0], "obs_next": images[1]}
    policy = on_images()
    model, imitator, target = copy.deepcopy((policy.nets["model"], policy.nets["imitator"], policy.targets["model"]))
    assert model.trunk is imitator.trunk
    assert model.trunk is not target.trunk
    trunk = list(model.trunk.parameters())
    union = [*trunk, *model.head.parameters(), *imitator.head.parameters()]
    adam = torch.optim.Adam(union, lr=1e-3)
    for update in range(5):
        by_head = [torch.autograd.grad(loss, trunk) for loss in losses(model, imitator, target, batch)]
        adam.zero_grad()
        sum(losses(model, imitator, target, batch)).backward()
        adam.step()
        if update % 2:  # `target_update_freq` is 2
            target.load_state_dict(model.state_dict())

        policy.learn(batch)

        assert all(grad.abs().max() > 1e-4 for grads in by_head for grad in grads)
        assert_same(
            tiny.gradients(policy.nets["model"].trunk),
            [(td + other).numpy() for td, other in zip(*by_head, strict=True)],
        )
        held = [*policy.nets["model"].parameters(), *policy.nets["imitator"].head.parameters()]
        assert_same([param.detach().numpy() for param in held], [param.detach().numpy() for param in union])
        assert_same(tiny.arrays(policy.targets["model"]), tiny.arrays(target))
