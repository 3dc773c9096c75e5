from pathlib import Path

import pytest

from bcq_exp.analysis.results import grouped, read_results


def test_runs_that_differ_in_more_than_their_seed_are_kept_apart(runs: Path):
    groups = grouped(read_results([runs]))["cartpole-noisy"]
    assert {name: len(group) for name, group in groups.items()} == {"bcq": 3, "bc lr=0.1": 1}


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
