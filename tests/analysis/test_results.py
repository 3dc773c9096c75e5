from pathlib import Path

import pytest

from bcq_exp.analysis.results import grouped, read_results
from trained import write_run


def test_runs_that_differ_in_more_than_their_seed_are_kept_apart(runs: Path):
    groups = grouped(read_results([runs]))["cartpole-noisy"]
    assert {name: len(group) for name, group in groups.items()} == {"bcq": 3, "bc": 1}


def test_a_name_has_what_sets_a_row_apart_from_others_of_its_algorithm(tmp_path: Path):
    """Not what all runs of the algorithm were told, nor where each was trained."""
    for number, (algorithm, typed) in enumerate([
        ("bcq", ("algorithm.phi=0.1", "optimizer.lr=0.1", "device=cuda", "compile=always")),
        ("bcq", ("algorithm.phi=0.2", "optimizer.lr=0.1", "num_threads=1", "log_freq=7")),
        ("bc", ("optimizer.lr=0.3", "batch_size=7")),
    ]):  # fmt: skip
        write_run(tmp_path / f"{number}", algorithm=algorithm, seed=0, returns=[1.0], typed=typed)
    assert {*grouped(read_results([tmp_path]))["cartpole-noisy"]} == {"bcq phi=0.1", "bcq phi=0.2", "bc"}


def test_a_seed_is_once_in_a_row(tmp_path: Path):
    """Of two machines or sweeps that trained the same, each has a row of its own; a failed run is no second one."""
    for sweep, device in (("a", "cpu"), ("b", "cpu"), ("b", "cuda")):
        for seed in range(2):
            typed = (f"device={device}",)
            write_run(tmp_path / sweep / f"{device}{seed}", algorithm="bcq", seed=seed, returns=[1.0], typed=typed)
    write_run(tmp_path / "c" / "0", algorithm="bc", seed=0, returns=[], status="failed")
    write_run(tmp_path / "d" / "0", algorithm="bc", seed=0, returns=[1.0])
    groups = grouped(read_results([tmp_path]))["cartpole-noisy"]
    assert {name: len(group) for name, group in groups.items()} == {
        f"bcq device=cpu in {tmp_path / 'a'}": 2,
        f"bcq device=cpu in {tmp_path / 'b'}": 2,
        f"bcq device=cuda in {tmp_path / 'b'}": 2,
        "bc": 2,
    }


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
