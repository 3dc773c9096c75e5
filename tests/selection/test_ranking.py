import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console
from rich.table import Table
from scipy import stats

from bcq_exp.selection.ranking import estimates_table, num_decimals, plot, rank, rankings_table, rounded, spearman


def printed(table: Table) -> str:
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


def test_regret_is_what_the_best_chosen_policy_lacks_of_the_best():
    # By estimate the order is 30, 10, 50, 20, 40 of online return.
    found = rank(np.array([9.0, 5.0, 7.0, 1.0, 8.0, 6.0]), np.array([30.0, 40, 50, 60, 10, 20]), seed=0)
    assert found.regrets == {1: 30.0, 3: 10.0, 5: 10.0}
    assert found.num_policies == 6
    assert rank(np.arange(3.0), np.arange(3.0), seed=0).regrets == {1: 0.0, 3: 0.0}


def test_correlation_is_scipys_with_ties_along_the_last_axis():
    rng = np.random.default_rng(0)
    x, y = rng.integers(4, size=(2, 5, 9)).astype(float)
    assert spearman(x, y) == pytest.approx([stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)])


def test_a_perfect_order_has_no_spread_and_a_random_one_has():
    returns = np.arange(12.0)
    assert rank(2 * returns**3, returns, seed=0).interval == pytest.approx((1.0, 1.0))
    loose = rank(np.random.default_rng(1).permutation(returns), returns, seed=0)
    low, high = loose.interval
    assert low < loose.correlation < high
    assert high - low > 0.5
    assert loose == rank(np.random.default_rng(1).permutation(returns), returns, seed=0)


def test_the_interval_is_the_percentile_bootstraps():
    x, y = np.random.default_rng(2).normal(size=(2, 15))
    theirs = stats.bootstrap(
        (x, y + x), lambda a, b: stats.spearmanr(a, b).statistic, paired=True, vectorized=False, n_resamples=2000,
        method="percentile", rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    assert rank(x, y + x, seed=0).interval == pytest.approx((theirs.low, theirs.high), abs=0.05)


def test_equal_returns_have_no_order():
    found = rank(np.arange(4.0), np.full(4, 7.0), seed=0)
    assert math.isnan(found.correlation)
    assert all(map(math.isnan, found.interval))
    assert found.regrets == {1: 0.0, 3: 0.0}


def test_tables_show_the_highest_estimate_first_and_a_dash_for_none():
    columns = {"fqe": [1.0, math.nan, 3.0, 2.0], "ess": [10.0, 20.0, 30.0, math.nan]}
    returns = [5.0, 6.0, 9.0, 7.0]
    text = printed(estimates_table(["a", "b", "c", "d"], columns, returns, "t"))
    lines = [line.split() for line in text.splitlines()]
    rows = [line for line in lines if line and line[0] in "abcd" and len(line) == 4]
    assert rows == [["c", "3.000", "30.0", "9.000"], ["d", "2.000", "-", "7.000"], ["a", "1.000", "10.0", "5.000"],
                    ["b", "-", "20.0", "6.000"]]  # fmt: skip
    assert "online" in text
    assert "online" not in printed(estimates_table(["a", "b", "c", "d"], columns, [math.nan] * 4, "t"))
    text = printed(rankings_table({"fqe": columns["fqe"], "wis": [math.nan] * 4}, returns, seed=0))
    judged = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()[:3] in ("fqe", "wis")}
    assert judged == {"fqe": ["3", "1.00", "[1.00,", "1.00]", "0.000", "0.000", "-"], "wis": ["0", "-", "-", "-", "-"]}


def test_small_numbers_have_more_decimals():
    assert [num_decimals(values) for values in ([9.99, -9.99], [0.5, math.nan], [0.1, -10.0])] == [3, 3, 1]
    assert (rounded(0.12345, 3), rounded(-10.06, 1), rounded(math.nan, 1)) == ("0.123", "-10.1", "-")


def test_the_plot_has_a_panel_an_estimator(tmp_path: Path):
    for num, names in ((1, ["fqe"]), (2, ["fqe", "dr"])):
        plot({name: [1.0, math.nan, 3.0] for name in names}, [1.0, 2.0, 3.0], tmp_path / "ope.png")
        height, width, _ = imread(tmp_path / "ope.png").shape
        assert width == pytest.approx(num * 4.8 * 120, abs=1)
        assert height == pytest.approx(4.2 * 120, abs=1)
