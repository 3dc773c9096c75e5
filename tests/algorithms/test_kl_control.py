import numpy as np
import pytest
import torch

from algorithms import golden, tiny
from algorithms.discrete_working import (
    DATA,
    GAMMA,
    NUM_ACTIONS,
    ROWS,
    available,
    best_available,
    check_steps,
    masked_observations,
    q_learning_and_imitation,
)
from algorithms.golden import assert_same, forward, softmax
from bcq_exp.algorithms.kl_control import kl_target
from cases import checked

KL_WEIGHT = 0.6  # as in `tiny.CONFIGS`


@pytest.mark.parametrize("kind", ["huber", "square"])
@pytest.mark.parametrize("backup", ["psi", "q"])
def test_golden_update(backup: str, kind: str) -> None:
    """The losses of Psi-learning and of Q-learning with KL-control (arXiv:1907.00456), for all rows at once."""
    policy = tiny.make_policy("kl_control", backup=backup, clip_loss_grad=kind == "huber", target_update_freq=1)
    nets = {name: tiny.arrays(net) for name, net in policy.nets.items()}
    slow = tiny.arrays(policy.targets["model"])
    q, _ = forward(nets["model"], DATA["obs"])
    logits, _ = forward(nets["imitator"], DATA["obs"])

    def value(row: int) -> float:
        values = forward(slow, DATA["obs_next"][row])[0][DATA["mask_next"][row]]
        return float(np.log(np.exp(values).sum()) if backup == "psi" else max(values))

    paid = {**DATA, "rew": DATA["rew"] / KL_WEIGHT}
    y = golden.n_step_targets(paid, value, gamma=GAMMA) + np.log(softmax(available(logits))[ROWS, DATA["act"]])
    if backup == "q":
        y -= np.log(softmax(available(q))[ROWS, DATA["act"]])

    stats = policy.learn(DATA)

    losses, grads = q_learning_and_imitation(nets, y, is_huber=kind == "huber")
    assert stats.smoothed_loss == pytest.approx(losses, abs=1e-10)
    stepped = check_steps(policy, nets, grads)
    assert_same(tiny.arrays(policy.targets["model"]), stepped["model"])


@pytest.mark.parametrize("gamma", [0.5, 0.99])
def test_without_rewards_psi_learning_ends_at_the_imitator(gamma: float) -> None:
    """Psi = log G is its own target, whatever gamma is: sum_a G(a|s') is one, so that its log-sum-exp is zero."""
    weight_SA = torch.randn(tiny.OBS_DIM, NUM_ACTIONS)

    def log_g(obs: torch.Tensor) -> torch.Tensor:
        return (obs @ weight_SA).log_softmax(-1)

    num_rows = 20
    batch = {
        "obs": torch.randn(num_rows, tiny.OBS_DIM),
        "act": torch.randint(NUM_ACTIONS, (num_rows,)),
        "rew": torch.zeros(num_rows, 1),
        "terminated": torch.zeros(num_rows, dtype=torch.bool),
        "num_steps": torch.ones(num_rows, dtype=torch.int64),
        "obs_next": torch.randn(num_rows, tiny.OBS_DIM),
    }
    nets = {"model": log_g, "imitator": log_g}
    hp = {"gamma": torch.tensor(gamma), "kl_weight": torch.tensor(2.0)}
    y_B = kl_target(nets, nets, batch, hp, backup="psi")
    torch.testing.assert_close(y_B, log_g(batch["obs"])[torch.arange(num_rows), batch["act"]])
    batch["rew"] += 1
    torch.testing.assert_close(kl_target(nets, nets, batch, hp, backup="psi") - y_B, torch.full((num_rows,), 0.5))


@pytest.mark.parametrize(("backup", "expected"), [("psi", 1.5 + np.log(1 / 4)), ("q", 1.5 + np.log(5 / 8))])
def test_target_by_hand_over_the_available_actions(backup: str, expected: float) -> None:
    """r / c = 1 and gamma = 1/2. Of three actions the first was taken; before it the third is not available.

    So G(a|s) is 1/4 and pi(a|s) 2/5. Behind it the first is not available, and the others are worth 1: by log-sum-exp
    log(e - 1 + 1), or at most max(1, 0).
    """
    after = {"psi": [9.0, np.log(np.e - 1), 0.0], "q": [9.0, 1.0, 0.0]}[backup]
    batch = {
        "obs": torch.zeros(1, 1),
        "act": torch.tensor([0]),
        "rew": torch.tensor([[2.0]]),
        "terminated": torch.tensor([False]),
        "num_steps": torch.tensor([1]),
        "obs_next": torch.ones(1, 1),
        "mask": torch.tensor([[True, True, False]]),
        "mask_next": torch.tensor([[False, True, True]]),
    }
    nets = {
        "model": lambda obs: torch.tensor([[2.0, 3.0, 50.0]]).log(),
        "imitator": lambda obs: torch.tensor([[1.0, 3.0, 70.0]]).log(),
    }
    hp = {"gamma": torch.tensor(0.5), "kl_weight": torch.tensor(2.0)}
    y_B = kl_target(nets, {"model": lambda obs: torch.tensor([after])}, batch, hp, backup=backup)
    assert y_B.tolist() == pytest.approx([expected])


def test_rewards_divided_by_c_are_a_divergence_that_counts_c_times() -> None:
    """As the published code has it, r + (log G - log pi) / 2: with r = 2, G = 1/4 and pi = 2/5 at a terminal row."""
    batch = {
        "obs": torch.zeros(1, 1),
        "act": torch.tensor([0]),
        "rew": torch.tensor([[2.0]]),
        "terminated": torch.tensor([True]),
        "num_steps": torch.tensor([1]),
        "obs_next": torch.ones(1, 1),
    }
    nets = {name: lambda obs, p=p: torch.tensor([p]).log() for name, p in (("model", [2.0, 3]), ("imitator", [1.0, 3]))}
    half = checked("algorithm=kl_control", "dataset=cartpole-noisy").algorithm.kl_weight
    y_B = kl_target(nets, nets, batch, {"gamma": torch.tensor(0.9), "kl_weight": torch.tensor(half)}, backup="q")
    assert (half * y_B).tolist() == pytest.approx([2 + np.log(5 / 8) / 2])


@pytest.mark.parametrize("backup", ["psi", "q"])
def test_the_weight_decides_between_what_pays_and_what_the_behaviour_does(backup: str) -> None:
    """One state, 9 of 10 rows for action 2, which costs 1; action 4 pays 1."""
    data = {key: np.repeat(column[:1], 10, 0) for key, column in DATA.items()}
    data |= {"act": np.array([2] * 9 + [4]), "rew": np.array([-1.0] * 9 + [1.0]), "terminated": np.ones(10, np.bool_)}
    data["mask"] = data["mask_next"] = np.ones((10, NUM_ACTIONS), np.bool_)
    gaps = {}
    for kl_weight in (0.2, 10.0):
        policy = tiny.make_policy("kl_control", kl_weight=kl_weight, backup=backup)
        for _ in range(500):
            policy.learn(data)
        q_A = policy({"obs": torch.as_tensor(data["obs"][:1])}).q_value[0]
        gaps[kl_weight] = float(q_A[2] - q_A[4])
    assert gaps[0.2] < -1
    assert gaps[10.0] > 0.5


def test_q_values_act_among_the_available_actions() -> None:
    policy = tiny.make_policy("kl_control")
    batch = masked_observations()
    q = forward(tiny.arrays(policy.nets["model"]), batch["obs"].numpy())[0]
    assert policy(batch).act.tolist() == best_available(q, batch["mask"])
