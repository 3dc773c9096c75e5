from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from bcq_exp.search.samplers import ends, points


def test_points_of_a_grid_are_those_of_a_sweep():
    space = {"a": CategoricalDistribution(["x", "y"]), "b": FloatDistribution(0.1, 0.3, step=0.1)}
    found = points(space)
    assert [a for a, _ in found] == ["x", "x", "x", "y", "y", "y"]
    assert [round(b, 12) for _, b in found] == [0.1, 0.2, 0.3] * 2


def test_the_ends_of_a_space_are_its_extreme_numbers_and_every_choice():
    assert ends(IntDistribution(2, 8, step=3)) == [2, 8]
    assert ends(FloatDistribution(0.5, 1.0)) == [0.5, 1.0]
    assert ends(CategoricalDistribution(["adam", "sgd", "adamw"])) == ["adam", "sgd", "adamw"]
