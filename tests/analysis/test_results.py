from pathlib import Path

import pytest

from bcq_exp.analysis.results import grouped, read_results
from trained import write_run


def test_runs_that_differ_in_more_than_their_seed_are_kept_apart(runs: Path):
    groups = grouped(read_results([runs]))["cartpole-noisy"]
    assert {name: len(group) for name, group in groups.items()} == {"bcq": 3, "bc lr=0.1": 1}


def test_experiments_of_one_algorithm_are_kept_apart_and_one_alone_is_not_named(tmp_path: Path):
    for seed in range(2):
        for name in ("iql_mujoco", "iql_antmaze"):
            typed = (f"experiment=published/{name}",)
            write_run(tmp_path / f"{name}{seed}", algorithm="iql", seed=seed, returns=[1.0], typed=typed)
    write_run(tmp_path / "bc", algorithm="bc", seed=0, returns=[1.0])
    groups = grouped(read_results([tmp_path]))["cartpole-noisy"]
    assert {name: len(group) for name, group in groups.items()} == {
        "bc": 1, "iql experiment=published/iql_antmaze": 2, "iql experiment=published/iql_mujoco": 2,
    }  # fmt: skip


def test_a_damaged_run_is_left_out_and_named_and_the_others_are_reported(runs: Path, caplog: pytest.LogCaptureFixture):
    (runs / "a" / "summary.json").write_text("")
    (runs / "b" / "metrics.csv").write_bytes(b"update,eval/ret\xff\n")
    (runs / "c" / "metrics.csv").write_text("update,eval/return\n5,\n10,x\n")
    assert [run.directory.name for run in read_results([runs])] == ["d"]
    said = [record.message for record in caplog.records]
    assert len(said) == 3
    for name, file, line in zip("abc", ("summary.json", "metrics.csv", "metrics.csv"), said, strict=True):
        assert line.startswith(f"{runs / name / file} ")
        assert f"resume={runs / name} writes it anew" in line
    (runs / "d" / "metrics.csv").unlink()
    with pytest.raises(ValueError, match=r"every run below .* that has ended is damaged"):
        read_results([runs])
