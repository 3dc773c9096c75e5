import logging
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from cases import checked
from quick import request_of
from search.imitation import SPACE, settings_of


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"num_trials": 0}, "hydra.sweeper.num_trials=0 is below 1"),
        ({"batch_size": -1}, "hydra.sweeper.batch_size=-1 is below 1"),
        ({"num_seeds": 0}, "hydra.sweeper.num_seeds=0 is below 1"),
        ({"seed": -1}, "hydra.sweeper.seed=-1 is below 0"),
        ({"num_seeds": 2, "seeds": [1, 2]}, "give one of them"),
        ({"seeds": []}, "give different integers from 0 on"),
        ({"seeds": [1, 1]}, "give different integers from 0 on"),
        ({"seeds": [0, -1]}, "give different integers from 0 on"),
        ({"sampler": "nelder"}, "hydra.sweeper.sampler=nelder is none of tpe, gp, cmaes, random, grid"),
        ({"objectives": ["loss"]}, "hydra.sweeper.objectives=loss is none of return, ope"),
        ({"objectives": []}, "give one or more, each once"),
        ({"objectives": ["return", "return"]}, "give one or more, each once"),
        ({"objectives": ["ope"], "request": request_of("[fqe,wis]")}, "give one estimator"),
        ({"pruning": "median"}, "hydra.sweeper.pruning=median is none of none, successive_halving"),
        ({"pruning": "successive_halving", "objectives": ["ope"]}, "give hydra.sweeper.objectives=[return]"),
        ({"pruning": "successive_halving", "objectives": ["return", "ope"]}, "give hydra.sweeper.objectives=[return]"),
        ({"space": {}}, "nothing is searched"),
        ({"sampler": "grid"}, "a grid has no intervals: give algorithm.lmbda, algorithm.tau as choice or range"),
        ({"sampler": "cmaes", "space": {**SPACE, "optimizer": CategoricalDistribution(["a", "b"])}}, "numbers only"),
        ({"sampler": "cmaes", "space": {"seed": IntDistribution(0, 3)}}, "two keys or more"),
        ({"sampler": "cmaes", "objectives": ["return", "ope"]}, "it takes one objective"),
        ({"storage": "study.json"}, "give a file that ends in .db"),
    ],
)
def test_what_cannot_be_searched_is_refused(keys: dict[str, Any], said: str):
    with pytest.raises(ValueError) as caught:
        settings_of(**keys)
    assert said in str(caught.value)


def test_seeds_count_from_0_unless_they_are_given():
    assert list(settings_of().each_seed) == [0]
    assert list(settings_of(num_seeds=3).each_seed) == [0, 1, 2]
    assert list(settings_of(seeds=[4, 2]).each_seed) == [4, 2]


def test_a_grid_has_no_more_trials_than_points():
    space = {"a": IntDistribution(1, 9, step=4), "b": FloatDistribution(0.0, 1.0, step=0.5)}
    assert settings_of(sampler="grid", space=space, num_trials=50).most_trials == 9
    assert settings_of(sampler="grid", space=space, num_trials=5).most_trials == 5
    assert settings_of(sampler="random", space=space, num_trials=50).most_trials == 50


def test_a_study_is_held_to_how_it_estimates_only_where_it_does():
    assert not any(key.startswith("evaluate.") for key in settings_of().fixed)
    fixed = settings_of(objectives=["ope"], request=request_of("fqe", "gamma=0.9")).fixed
    assert (fixed["evaluate.gamma"], fixed["evaluate.target_update_freq"]) == ("0.9", "20")


def test_returns_cannot_be_searched_for_where_none_are_known(discrete_file: Path, caplog: pytest.LogCaptureFixture):
    typed = ("dataset=h5", f"dataset.path={discrete_file}")
    with pytest.raises(ValueError, match=r"have no returns; give \[ope\], or eval_ope=fqe"):
        settings_of(objectives=["return"]).check_measured(checked(*typed))
    settings_of(objectives=["ope"]).check_measured(checked(*typed))
    with caplog.at_level(logging.INFO):
        settings_of(objectives=["return"]).check_measured(checked(*typed, "eval_ope=dr"))
    assert "the objective return is the final estimate by dr" in caplog.text
