import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from bcq_exp.dashboards.subject import Subject, add_arguments, asked, config_key, from_groups
from trained import write_run
from uploaded import label, upload
from wandb_server import ENTITY, WandbServer

Made = Callable[..., Subject]


def test_a_group_is_the_subject_that_its_directories_are(wandb_server: WandbServer, sweep: Path, subject: Made):
    upload(wandb_server, sweep, group="sweep")
    ours, theirs = subject(sweep), from_groups(["sweep"], ENTITY, "bcq_exp")
    (here,), (there,) = ours.comparisons, theirs.comparisons
    assert [row.name for row in there.rows] == [row.name for row in here.rows]
    assert theirs.ids(there) == ours.ids(here)
    assert (theirs.groups, theirs.project, theirs.metrics) == (ours.groups, ours.project, ours.metrics)


def test_the_baseline_is_the_best_row_or_the_one_that_is_named(sweep: Path, subject: Made):
    made = subject(sweep)
    (comparison,) = made.comparisons
    best, second = "discrete_bcq unlikely_action_threshold=0.3", "discrete_bcq unlikely_action_threshold=0.1"
    names = {None: best, "discrete_bcq": best, second: second, "dqn": "dqn"}
    assert {name: made.baseline(comparison, name).name for name in names} == names
    with pytest.raises(
        ValueError, match=f"--baseline bc: no finished row of cartpole-noisy .* rows: {best}, {second}, dqn"
    ):
        made.baseline(comparison, "bc")


def test_the_pinned_run_of_a_row_is_its_median(tmp_path: Path, subject: Made):
    for seed, value in enumerate([7, 1, 5, 9]):
        write_run(tmp_path / f"run{seed}", algorithm="dqn", seed=seed, returns=[value])
    write_run(tmp_path / "failed", algorithm="dqn", seed=9, returns=[6], status="failed")
    label(tmp_path, group="g")
    made = subject(tmp_path)
    assert made.pinned(made.comparisons[0].rows[0]) == "run2"


def test_runs_that_wandb_has_not_are_an_error(sweep: Path, subject: Made):
    (sweep / "dqn-1" / "wandb.json").unlink()
    with pytest.raises(
        ValueError, match=rf"1 of 9 runs have no W&B run, the first is {sweep}/dqn-1; bcq-dashboard sync"
    ):
        subject(sweep)


def test_runs_of_two_projects_need_one(sweep: Path, subject: Made):
    label(sweep / "dqn-1", group="sweep", project="other")
    with pytest.raises(ValueError, match="the runs are in W&B under project bcq_exp, other; give --project NAME"):
        subject(sweep)
    assert subject(sweep, project="bcq_exp").project == "bcq_exp"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either directories of runs, or --group NAME"),
        (["DIR", "--group", "g"], "give either directories of runs, or --group NAME"),
        (["--group", "g", "--entity", "e"], "--group g needs --entity and --project"),
    ],
)
def test_one_subject_is_asked_for(words: list[str], message: str):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(ValueError, match=message):
        asked(parser.parse_args(words))


def test_the_choice_of_a_group_is_found_under_its_name():
    keys = {"optimizer": "optimizer.name", "optimizer.lr": "optimizer.lr", "batch_size": "batch_size", "+x.y": "x.y"}
    assert {key: config_key(key) for key in keys} == keys
