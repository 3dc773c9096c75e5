"""What each algorithm says of its networks, on tables that are worked out by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from algorithms import tiny
from algorithms.test_registry import overwritten
from bcq_exp.algorithms import REGISTRY, diagnostics
from bcq_exp.data import ReplayBuffer
from bcq_exp.policies import Policy

VALUES = {"return_logged", "q_logged", "q_policy"}
IMITATOR = {"imitator_accuracy", "imitator_entropy"}
VAE = {"reconstruction", "kl"}
TWINS = VALUES | {"critic_gap"}
OF_DISCRETE = VALUES | {"agreement"}
NAMES = {
    "awac": TWINS,
    "bc": set(),
    "bc_discrete": IMITATOR,
    "bcq": TWINS | VAE | {"saturation"},
    "bear": TWINS | VAE,
    "cql": TWINS,
    "crr": VALUES,
    "ddpg": VALUES,
    "discrete_bcq": OF_DISCRETE | IMITATOR | {"kept_actions"},
    "discrete_cql": OF_DISCRETE,
    "discrete_crr": OF_DISCRETE,
    "discrete_iql": OF_DISCRETE | {"critic_gap"},
    "discretized_dqn": OF_DISCRETE,
    "dqn": OF_DISCRETE,
    "edac": TWINS,
    "iql": TWINS,
    "kl_control": OF_DISCRETE | IMITATOR,
    "mcq": TWINS | VAE,
    "qrdqn": OF_DISCRETE,
    "rebrac": TWINS,
    "rem": OF_DISCRETE,
    "sac_n": TWINS,
    "spibb_dqn": OF_DISCRETE | IMITATOR,
    "td3": TWINS,
    "td3_bc": TWINS,
    "vae_bc": VAE,
}
Q = torch.tensor([[[1.0, 4.0, 2.0], [0.0, 3.0, 6.0]], [[3.0, 2.0, 2.0], [8.0, 5.0, 6.0]]])  # 2 critics, rows, actions
BATCH = {"act": torch.tensor([0, 1]), "returns": torch.tensor([5.0, 8.0])}
ALL = torch.ones(2, 3, dtype=torch.bool)


def batch_of(policy: Policy) -> dict[str, Tensor]:
    buffer = ReplayBuffer(**tiny.data(is_discrete=policy.action_map.is_discrete))
    policy.prepare(buffer)
    columns = {name: column for name, column in buffer.columns().items() if name in ("obs", "act", "mask")}
    return {**columns, "returns": buffer.discounted_returns(0.9)}


def diagnosed(policy: Policy, batch: dict[str, Tensor], nets: Any = None) -> dict[str, Tensor]:
    algorithm, stream = policy.algorithm, torch.Generator().manual_seed(0)
    if algorithm.diagnose is None:
        return {}
    draws = {**algorithm.act_noise, **algorithm.diagnose_noise}
    noise = {name: draw.sample(len(batch["obs"]), stream) for name, draw in draws.items()}
    with torch.no_grad():
        return dict(algorithm.diagnose(nets or policy.losses_view(), batch, noise, policy.hp))


def table(found: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("name", REGISTRY)
def test_every_algorithm_diagnoses_what_it_has(name: str) -> None:
    found = diagnosed(policy := tiny.make_policy(name), batch_of(policy))
    assert set(found) == NAMES[name]
    assert all(value.shape == () and value.isfinite() for value in found.values())


@pytest.mark.parametrize("name", [name for name, definition in REGISTRY.items() if definition.is_discrete])
def test_no_diagnosis_hears_what_a_network_says_of_unavailable_actions(name: str) -> None:
    batch = batch_of(policy := tiny.make_policy(name))
    expected = diagnosed(policy, batch)
    for worth in (1e4, torch.inf):
        nets = overwritten(dict(policy.losses_view()), batch, worth)
        assert table(diagnosed(policy, batch, nets)) == pytest.approx(table(expected), rel=1e-12)


def test_values_of_two_critics_by_hand() -> None:
    found = diagnostics.of_discrete_values(Q, torch.tensor([2, 1]), BATCH)
    assert table(found) == {
        "return_logged": 6.5,
        "q_logged": (1 + 3 + 3 + 5) / 4,
        "q_policy": (2 + 3 + 2 + 5) / 4,
        "critic_gap": 2,
        "agreement": 0.5,
    }


def test_one_critic_has_no_gap() -> None:
    found = diagnostics.of_values(Q[:1, :, 0], Q[:1, :, 1], BATCH)
    assert table(found) == {"return_logged": 6.5, "q_logged": 0.5, "q_policy": 3.5}


def test_an_imitator_by_hand() -> None:
    logits_BA = torch.tensor([[3.0, 1.0, 1.0], [1.0, 1.0, 1.0]]).log()
    found = table(diagnostics.of_imitator(logits_BA, BATCH))
    first = 0.6 * math.log(1 / 0.6) + 0.4 * math.log(1 / 0.2)
    assert found == pytest.approx({"imitator_accuracy": 0.5, "imitator_entropy": (first + math.log(3)) / 2})
    mask_BA = torch.tensor([[True, True, False], [False, True, False]])
    found = table(diagnostics.of_imitator(logits_BA, {**BATCH, "mask": mask_BA}))
    first = 0.75 * math.log(1 / 0.75) + 0.25 * math.log(1 / 0.25)
    assert found == pytest.approx({"imitator_accuracy": 1, "imitator_entropy": first / 2})


def constant(out_BA: Tensor) -> Any:
    return lambda obs: out_BA


def of_tables(name: str, nets: dict[str, Tensor], batch: dict[str, Tensor], **changed: Any) -> dict[str, float]:
    """The diagnostics of an algorithm whose networks give these outputs for the two rows of the batch."""
    policy = tiny.make_policy(name, **changed)
    batch = {"obs": torch.zeros(2, tiny.OBS_DIM), **batch}
    for statistic, value in (("return_mean", 10.0), ("return_std", 2.0)):
        if statistic in policy.algorithm.statistics:
            getattr(policy, statistic).fill_(value)
    return table(diagnosed(policy, batch, {network: constant(out_BA) for network, out_BA in nets.items()}))


def test_q_learning_among_available_actions_in_reward_units_by_hand() -> None:
    mask_BA = torch.tensor([[True, False, True], [True, True, True]])
    found = of_tables("dqn", {"model": Q[0]}, {**BATCH, "mask": mask_BA}, reward_normalization=True)
    assert found == {"return_logged": 6.5, "q_logged": 10 + 2 * 2, "q_policy": 10 + 2 * 4, "agreement": 0}


def test_quantiles_are_diagnosed_by_their_mean() -> None:
    quantiles = torch.stack([Q[0] - 1, Q[0] + 1], 1).flatten(1)
    assert of_tables("qrdqn", {"model": quantiles}, BATCH, num_quantiles=2) == of_tables("dqn", {"model": Q[0]}, BATCH)


def test_values_of_kl_control_are_diagnosed_in_reward_units() -> None:
    nets = {"model": Q[0], "imitator": torch.zeros(2, 3)}
    found = of_tables("kl_control", nets, BATCH, kl_weight=0.5)
    assert (found["q_logged"], found["q_policy"], found["agreement"]) == (0.5 * 2, 0.5 * 5, 0)
    assert found["imitator_entropy"] == pytest.approx(math.log(3))


@pytest.mark.parametrize(
    ("threshold", "mask_BA", "kept"),
    [
        (0.0, ALL, 1),
        (0.4, ALL, (2 / 3 + 1) / 2),
        (0.6, ALL, (1 / 3 + 1) / 2),
        (0.4, torch.tensor([[True, False, True], [True, True, True]]), (1 / 2 + 1) / 2),
    ],
)
def test_kept_actions_of_discrete_bcq_by_hand(threshold: float, mask_BA: Tensor, kept: float) -> None:
    nets = {"model": Q[0], "imitator": torch.tensor([[4.0, 2.0, 1.0], [1.0, 1.0, 1.0]]).log()}
    found = of_tables("discrete_bcq", nets, {**BATCH, "mask": mask_BA}, unlikely_action_threshold=threshold)
    assert found["kept_actions"] == pytest.approx(kept)


def test_discretized_dimensions_by_hand() -> None:
    """Bins of width 1 from -1 to 1 in two dimensions: values of (dimension, bin) in the order of the outputs."""
    out = torch.tensor([[1.0, 2.0, 3.0, 4.0], [8.0, 7.0, 6.0, 5.0]])
    act_BA = torch.tensor([[-0.5, 0.5], [0.5, 0.5]])
    found = of_tables("discretized_dqn", {"model": out}, {"act": act_BA, "returns": BATCH["returns"]}, num_bins=2)
    assert found == {
        "return_logged": 6.5,
        "q_logged": (1 + 4 + 7 + 5) / 4,
        "q_policy": (2 + 4 + 8 + 6) / 4,
        "agreement": 0.25,
    }


def test_the_generative_model_of_bear_is_diagnosed_on_bounded_actions() -> None:
    batch = batch_of(policy := tiny.make_policy("bear"))
    nets = {**policy.losses_view(), "decoder": lambda obs, latent: torch.full_like(batch["act"], 1e3)}
    assert diagnosed(policy, batch, nets)["reconstruction"] == pytest.approx((1 - batch["act"]).square().mean())
