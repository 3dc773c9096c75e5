import dataclasses
import inspect
from typing import Any

import pytest

from bcq_exp.policies import BCQTrainingStats, DiscreteBCQTrainingStats

REQUIRED = inspect.Parameter.empty


@pytest.mark.parametrize(
    ("stats", "losses"),
    [
        (BCQTrainingStats, ["actor_loss", "critic1_loss", "critic2_loss", "vae_loss"]),
        (DiscreteBCQTrainingStats, ["loss", "q_loss", "i_loss", "reg_loss"]),
    ],
)
def test_fields_are_those_of_the_contract(stats: type[Any], losses: list[str]) -> None:
    parameters = inspect.signature(stats).parameters
    assert [field.name for field in dataclasses.fields(stats)] == ["train_time", "smoothed_loss", *losses]
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert [name for name in parameters if parameters[name].default is REQUIRED] == losses
    made = [stats(**dict.fromkeys(losses, 1.0)) for _ in range(2)]
    assert (made[0].train_time, made[0].smoothed_loss) == (0.0, {})
    assert made[0].smoothed_loss is not made[1].smoothed_loss
