import math

import pytest
import torch
from torch import nn

from bcq_exp.engine.optim import OPTIMIZERS, OptimizerConfig, RoleConfig

SETTINGS = {"lr": 0.1, "betas": (0.5, 0.75), "eps": 0.0, "weight_decay": 0.5, "lr_decay": None}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # One step from 2 with gradient 1: Adam's first step is lr * sign(gradient). The decay joins Adam's gradient,
        # which keeps its sign; AdamW takes 0.1 * 0.5 * 2 off the weight besides.
        ("adam", 1.9),
        ("adamw", 1.8),
    ],
)
def test_first_step_by_hand(name: str, expected: float):
    param = nn.Parameter(torch.tensor(2.0))
    optimizer = OptimizerConfig(name=name, **SETTINGS).make([param])
    param.sum().backward()
    optimizer.step()
    assert isinstance(optimizer, OPTIMIZERS[name])
    assert param.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        (None, [0.1, 0.1, 0.1, 0.1, 0.1]),
        ("linear", [0.1, 0.075, 0.05, 0.025, 0.0]),
        ("cosine", [0.05 * (1 + math.cos(math.pi * update / 4)) for update in range(5)]),
    ],
)
def test_rates_of_each_update(name: str | None, rates: list[float]):
    param = nn.Parameter(torch.tensor(2.0))
    config = OptimizerConfig(name="adam", **{**SETTINGS, "lr_decay": name})
    optimizer = config.make([param])
    schedule = config.schedule(optimizer, 4)
    found = []
    for _ in rates:
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if schedule is not None:
            schedule.step()
    assert found == pytest.approx(rates, abs=1e-9)


UNSET = {"lr": None, "weight_decay": None, "betas": None, "eps": None, "lr_decay": None}


def test_what_a_role_has_of_its_own_stands_in_place_of_the_groups():
    group = OptimizerConfig(name="adamw", **SETTINGS)
    assert group.of_role(RoleConfig(**UNSET)) == group
    own = {"lr": 0.2, "weight_decay": 0.0, "betas": (0.1, 0.2), "eps": 0.3, "lr_decay": "linear"}
    assert group.of_role(RoleConfig(**own)) == OptimizerConfig(name="adamw", **own)
