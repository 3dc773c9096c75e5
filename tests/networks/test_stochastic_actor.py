import math
from typing import Any

import pytest
import torch

from bcq_exp.networks import StochasticActor

BASE: dict[str, Any] = {
    "max_action": 2.0,
    "is_squashed": False,
    "has_state_std": True,
    "log_std_range": (-3.0, 1.0),
    "std_bound": "clip",
    "hidden_sizes": [16],
    "activation": "relu",
}


def make(**changed: Any) -> StochasticActor:
    """Weights large enough for outputs to reach their bounds."""
    torch.manual_seed(0)
    actor = StochasticActor(3, 2, **BASE | changed)
    for param in actor.mlp.parameters():
        torch.nn.init.normal_(param, std=2)
    return actor


OBS = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("has_state_std", [True, False])
def test_mean_stays_in_the_bounds_unless_samples_are_squashed(has_state_std: bool) -> None:
    inside, raw = (make(is_squashed=flag, has_state_std=has_state_std)(OBS)[0] for flag in (False, True))
    assert raw.abs().max() > 4
    torch.testing.assert_close(inside, 2 * torch.tanh(raw))


@pytest.mark.parametrize("std_bound", ["clip", "sigmoid"])
def test_log_std_reaches_both_ends_of_its_range_and_no_further(std_bound: str) -> None:
    mean, log_std = make(std_bound=std_bound)(OBS)
    assert log_std.shape == mean.shape == (50, 2)
    assert log_std.min().item() == pytest.approx(-3, abs=1e-2)
    assert log_std.max().item() == pytest.approx(1, abs=1e-2)
    assert log_std.min() >= -3
    assert log_std.max() <= 1


@pytest.mark.parametrize(("std_bound", "first"), [("clip", 0.0), ("sigmoid", -1.0)])
def test_deviation_without_state_is_one_learned_vector(std_bound: str, first: float) -> None:
    actor = make(has_state_std=False, std_bound=std_bound)
    _, log_std = actor(OBS)
    assert log_std.shape == (50, 2)
    assert (log_std == first).all()
    with torch.no_grad():
        actor.log_std.copy_(torch.tensor([-9.0, 0.5]))
    expected = [-3.0, 0.5] if std_bound == "clip" else [-3 + 4 / (1 + math.exp(9)), -3 + 4 / (1 + math.exp(-0.5))]
    assert actor(OBS)[1][7].tolist() == pytest.approx(expected)


def test_deviation_with_state_differs_from_row_to_row() -> None:
    actor = make(log_std_range=(-99.0, 99.0))
    assert not hasattr(actor, "log_std")
    assert actor(OBS)[1].std(0).min() > 0.1


@pytest.mark.parametrize(
    ("changed", "said"), [({"log_std_range": (1.0, 1.0)}, "log_std_range"), ({"std_bound": "relu"}, "clip, sigmoid")]
)
def test_a_head_that_cannot_be_meant_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make(**changed)


def test_silenced_units_are_made_up_for_by_the_others() -> None:
    """Three units of value 1, 2 and 4, of which a quarter is silenced: a number below it silences its unit."""
    actor = StochasticActor(
        1, 1, **BASE | {"hidden_sizes": [3], "has_state_std": False, "is_squashed": True}, dropout=0.25
    )
    for param, value in zip(actor.mlp.parameters(), ([[0.0]] * 3, [1.0, 2.0, 4.0], [[1.0] * 3], [0.0]), strict=True):
        param.data.copy_(torch.tensor(value))
    uniform = torch.tensor([[0.2, 0.3, 0.9], [0.25, 0.2, 0.0]])
    mean, log_std = actor(torch.zeros(2, 1), uniform)
    assert mean.flatten().tolist() == pytest.approx([6 / 0.75, 1 / 0.75])
    assert actor(torch.zeros(2, 1))[0].flatten().tolist() == [7, 7]
    assert log_std.tolist() == [[0], [0]]
