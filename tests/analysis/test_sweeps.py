from pathlib import Path

import numpy as np
import pytest

from bcq_exp.analysis.comparison import compare
from bcq_exp.analysis.results import read_results
from bcq_exp.analysis.sweeps import swept
from trained import write_run


def write(root: Path, settings: dict[str, float], seed: int, value: float, algorithm: str = "discrete_bcq") -> None:
    typed = tuple(f"algorithm.{key}={number}" for key, number in settings.items())
    name = f"{algorithm}-{'-'.join(map(str, settings.values()))}-{seed}"
    write_run(root / name, algorithm=algorithm, seed=seed, returns=[0, value], typed=typed)


def test_two_keys_that_are_combined_in_full_are_a_map_of_means(tmp_path: Path):
    for threshold in (0.3, 0.0):
        for tau in (0.005, 0.05, 0.01):
            for seed in (0, 1):
                settings = {"unlikely_action_threshold": threshold, "tau": tau}
                write(tmp_path, settings, seed, 100 * threshold + 1000 * tau + 2 * seed)
    write(tmp_path, {}, 0, 7.0, algorithm="dqn")
    (sweep,) = swept(compare(read_results([tmp_path]))[0])
    assert (sweep.algorithm, sweep.names) == ("discrete_bcq", ["tau", "unlikely_action_threshold"])
    down, along, means = sweep.map() or pytest.fail("there is no map")
    assert (down, along) == (["0.005", "0.01", "0.05"], ["0.0", "0.3"])
    np.testing.assert_allclose(means, [[6, 36], [11, 41], [51, 81]])  # each with the mean of both seeds, + 1
    name, mean, half = sweep.best() or pytest.fail("there is no best")
    assert name == "discrete_bcq tau=0.05 unlikely_action_threshold=0.3"
    assert (mean, half) == pytest.approx((81, 12.7062), rel=1e-5)  # 80 and 82


def test_a_pair_that_was_not_tried_leaves_no_map(tmp_path: Path):
    for threshold, tau in ((0.3, 0.1), (0.3, 0.2), (0.5, 0.1)):
        write(tmp_path, {"unlikely_action_threshold": threshold, "tau": tau}, 0, 1.0)
    (sweep,) = swept(compare(read_results([tmp_path]))[0])
    assert sweep.map() is None
    assert sweep.best() is None  # one seed


def test_keys_that_no_two_rows_have_different_values_of_are_not_swept(tmp_path: Path):
    for seed in (0, 1):
        write(tmp_path, {"gamma": 0.9}, seed, 1.0)
        write(tmp_path, {}, seed, 1.0, algorithm="dqn")
    assert swept(compare(read_results([tmp_path]))[0]) == []


def test_keys_that_were_swept_one_at_a_time_are_sweeps_of_their_own(tmp_path: Path):
    """A key that all rows of one sweep have with one value is swept there by no one."""
    for name, values in {"gamma": (0.9, 0.95), "tau": (0.1, 0.2, 0.3)}.items():
        for value in values:
            write(tmp_path, {name: value}, 0, 1.0)
    for tau in (0.01, 0.02):
        write(tmp_path, {"gamma": 0.8, "tau": tau}, 0, 1.0)
    found = swept(compare(read_results([tmp_path]))[0])
    assert sorted((sweep.names, len(sweep.rows)) for sweep in found) == [(["gamma"], 2), (["tau"], 2), (["tau"], 3)]
