import pytest
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ExponentialLR, StepLR

from bcq_exp.policies import MultipleLRSchedulers


def make() -> tuple[MultipleLRSchedulers, list[SGD]]:
    optims = [SGD(nn.Linear(1, 1).parameters(), lr=1.0) for _ in range(2)]
    schedulers = MultipleLRSchedulers(ExponentialLR(optims[0], 0.5), StepLR(optims[1], 2, 0.1))
    for optim in optims:
        optim.step()  # torch warns of schedules that step before their optimizer
    return schedulers, optims


def rates(optims: list[SGD]) -> list[float]:
    return [optim.param_groups[0]["lr"] for optim in optims]


def test_step_steps_each_schedule() -> None:
    schedulers, optims = make()
    seen = []
    for _ in range(4):
        schedulers.step()
        seen.append(rates(optims))
    assert seen == [pytest.approx(pair) for pair in ([0.5, 1], [0.25, 0.1], [0.125, 0.1], [0.0625, 0.01])]


def test_state_round_trip_goes_on_as_before() -> None:
    schedulers, optims = make()
    for _ in range(3):
        schedulers.step()
    fresh, fresh_optims = make()
    fresh.load_state_dict(schedulers.state_dict())
    for optim, fresh_optim in zip(optims, fresh_optims, strict=True):
        fresh_optim.load_state_dict(optim.state_dict())
    schedulers.step()
    fresh.step()
    assert rates(fresh_optims) == rates(optims) == pytest.approx([0.0625, 0.01])


def test_the_number_of_states_must_match() -> None:
    schedulers, _ = make()
    with pytest.raises(ValueError, match=r"2 states for 1 schedules"):
        MultipleLRSchedulers(schedulers.schedulers[0]).load_state_dict(schedulers.state_dict())
