import itertools
import math

import numpy as np
import pytest

from bcq_exp.analysis.statistics import (
    best_setting,
    expected_best,
    interquartile_mean,
    interval,
    over_datasets,
    paired_difference,
    performance_profile,
    probability_of_improvement,
    sample_deviation,
)


def test_interval_by_hand():
    # Mean 5, squared deviations 4 + 0 + 4, so the deviation is 2; t(0.975, 2) = 4.302653.
    assert interval([3, 5, 7]) == pytest.approx((5, 2, 4.302653 * 2 / math.sqrt(3)), rel=1e-6)
    assert interval([4])[0] == 4
    assert math.isnan(interval([4])[2])


def test_a_deviation_over_n_becomes_one_over_n_minus_1():
    # 3, 5, 7: sqrt(8 / 3) over n, 2 over n - 1.
    assert sample_deviation(math.sqrt(8 / 3), 3) == pytest.approx(2)
    assert math.isnan(sample_deviation(0.0, 1))


SCORES = {f"d{i}": [i + step for step in (-1.0, -0.5, 0.0, 0.75, 1.5)] for i in range(4)}


def test_the_interquartile_mean_leaves_a_quarter_out_at_each_end():
    # 20 values sorted: five at each end are cut.
    values = sorted(value for scores in SCORES.values() for value in scores)
    assert interquartile_mean(np.array(values)) == pytest.approx(sum(values[5:15]) / 10)
    assert over_datasets(SCORES).value == pytest.approx(sum(values[5:15]) / 10)


def test_an_interval_over_datasets_is_that_of_drawing_each_datasets_seeds_anew():
    """An independent loop: mean of 4 datasets with 5 seeds each."""
    rng, means = np.random.default_rng(7), []
    for _ in range(4000):
        drawn = [rng.choice(scores, len(scores)) for scores in SCORES.values()]
        means.append(np.mean(drawn))
    found = over_datasets(SCORES, lambda values, axis: values.mean(axis))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.03)
    # Drawing all 20 values together would give more, since datasets differ more than seeds.
    together = [rng.choice([v for scores in SCORES.values() for v in scores], 20).mean() for _ in range(4000)]
    assert found.high - found.low < 0.75 * np.ptp(np.percentile(together, [2.5, 97.5]))
    assert math.isnan(over_datasets({"d": [1.0]}).low)


def test_a_profile_is_the_share_of_runs_above_each_threshold():
    shares = [
        estimate.value for estimate in performance_profile({"a": [0.0, 1.0], "b": [1.0, 3.0]}, [-1, 0.5, 1, 2, 3])
    ]
    assert shares == [1, 0.75, 0.25, 0.25, 0]  # strictly above


def test_the_probability_of_improvement_is_the_share_of_pairs_that_are_won():
    # Dataset a: of 2 x 2 pairs 5 > 1, 5 > 5 a tie, 2 > 1, 2 < 5: 2.5 of 4. Dataset b: 0 of 1, a tie: 0.5 of 1.
    ours, theirs = {"a": [5.0, 2.0], "b": [1.0, 1.0]}, {"a": [1.0, 5.0], "b": [1.0, 1.0]}
    assert probability_of_improvement(ours, theirs).value == pytest.approx((2.5 / 4 + 0.5) / 2)
    with pytest.raises(ValueError, match=r"datasets differ: \['a', 'b'\] and \['a'\]"):
        probability_of_improvement(ours, {"a": [1.0]})


def test_figures_are_those_of_rliable():
    """What rliable 1.2.0 gives for normal numbers, five datasets of five seeds, and the same numbers less a half."""
    rng = np.random.default_rng(1)
    ours = {f"d{i}": rng.normal(i, 1, 5).tolist() for i in range(5)}
    theirs = {name: [value - 0.5 for value in values] for name, values in ours.items()}
    middle, better = over_datasets(ours), probability_of_improvement(ours, theirs)
    assert middle.value == pytest.approx(1.8336253474422113)
    assert (middle.low, middle.high) == pytest.approx((1.56416535, 2.12440248), abs=0.03)
    assert better == pytest.approx((0.752, 0.6, 0.888), abs=1e-9)
    assert performance_profile(ours, [5 * 10 / 50])[0] == pytest.approx((0.76, 0.68, 0.8), abs=1e-9)


def test_the_expected_best_by_enumeration():
    """Of 1, 2, 4 drawn with replacement: all 3, 9 and 27 draws."""
    by_hand = [
        np.mean([max(draw) for draw in itertools.product([4.0, 1.0, 2.0], repeat=num)]) for num in (1, 2, 3)
    ]  # fmt: skip
    assert expected_best([4.0, 1.0, 2.0]) == pytest.approx(by_hand)


def test_seeds_that_both_have_are_compared_in_pairs():
    # Differences 2 and 4 of seeds 0 and 1: mean 3, deviation sqrt(2), t(0.975, 1) = 12.7062 times 1.
    found = paired_difference({0: 5.0, 1: 9.0, 2: 100.0}, {1: 5.0, 0: 3.0, 7: 1.0})
    assert found == pytest.approx((3, math.sqrt(2), 12.7062, 2), rel=1e-5)
    with pytest.raises(ValueError, match=r"no seed in common: \[0\] and \[1\]"):
        paired_difference({0: 1.0}, {1: 1.0})


def test_the_best_setting_is_judged_on_seeds_that_did_not_choose_it():
    """Seed 0 is left to a (chosen by 2.5 over 1), seeds 1 and 2 to b (3.5 over 2, 2.5 over 1.5)."""
    values = {"a": {0: 1.0, 1: 2.0, 2: 3.0}, "b": {0: 5.0, 1: 0.0, 2: 2.0, 3: 99.0}}
    assert best_setting(values) == ("b", [1.0, 0.0, 2.0])
    with pytest.raises(ValueError, match="two are needed"):
        best_setting({"a": {0: 1.0}, "b": {0: 2.0, 1: 1.0}})
