import math
from pathlib import Path

import pytest

from bcq_exp.analysis.trained_runs import trained_runs
from bcq_exp.io.files import read_json
from bcq_exp.search.objectives import OBJECTIVES
from bcq_exp.selection.estimation import estimate
from quick import request_of
from trained import on_file, train_run, write_run_without_environment


def test_objectives_are_the_last_return_and_the_estimate_of_a_run(tmp_path: Path, discrete_file: Path):
    run_dirs = [
        train_run(tmp_path / "b", "algorithm=dqn", "dataset.reward_scale=10", *on_file(discrete_file)),
        train_run(tmp_path / "a", "algorithm.eval_eps=1.0", *on_file(discrete_file)),
    ]
    request = request_of("fqe")
    returns = OBJECTIVES["return"].measure(run_dirs, request)
    assert returns == [read_json(run_dir / "summary.json")["final_return"] for run_dir in run_dirs]
    runs = {run.directory: run for run in trained_runs(tmp_path, "cpu")}
    alone = [estimate([runs[run_dir]], request)[0]["fqe"] for run_dir in run_dirs]
    assert OBJECTIVES["ope"].measure(run_dirs, request) == pytest.approx(alone, rel=1e-4)
    assert alone[0] != pytest.approx(alone[1], rel=1e-2)


def test_a_run_without_environment_is_worth_its_estimate_and_otherwise_nothing_that_is_known(tmp_path: Path):
    write_run_without_environment(tmp_path / "a", [2.0, 3.0])
    write_run_without_environment(tmp_path / "b", [])
    found = OBJECTIVES["return"].measure([tmp_path / "a", tmp_path / "b"], request_of("fqe"))
    assert found[0] == 3
    assert math.isnan(found[1])
