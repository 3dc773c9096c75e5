from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("wandb_workspaces")

from bcq_exp.algorithms import REGISTRY
from bcq_exp.analysis.comparison import compare
from bcq_exp.analysis.results import read_results
from bcq_exp.dashboards.panels import colours, filters, parts, swept_keys
from bcq_exp.dashboards.subject import Subject
from trained import write_run
from uploaded import label

METRICS = ("train/loss", "eval/return", "eval/normalized_score", "diagnostics/q_policy", "diagnostics/return_logged")


def panels(folder: Path, metrics: tuple[str, ...]) -> dict[str, list[Any]]:
    (comparison,) = compare(read_results([folder]))
    return {part.title: list(part.panels) for part in parts(comparison, metrics)}


def test_each_part_shows_what_was_logged(sweep: Path):
    found = panels(sweep, METRICS)
    assert [*found] == ["Learning curves", "Final scores", "Swept keys of discrete_bcq", "Value diagnostics", "Losses",
                        "Throughput", "Runs side by side"]  # fmt: skip
    assert [panel.y for panel in found["Learning curves"]] == [["eval/return"], ["eval/normalized_score"]]
    assert [panel.metrics for panel in found["Final scores"]] == [
        ["final_return", "behaviour_return"], ["last_10_return"], ["final_normalized_score"],
    ]  # fmt: skip
    assert [panel.y for panel in found["Value diagnostics"]] == [
        ["diagnostics/q_policy", "diagnostics/return_logged"], ["diagnostics/q_policy"], ["diagnostics/return_logged"],
    ]  # fmt: skip
    assert [panel.metrics for panel in found["Throughput"]] == [["perf/updates_per_second"], ["perf/compile_seconds"]]
    assert "Value diagnostics" not in panels(sweep, ("eval/return",))


def test_curves_are_means_over_an_algorithms_runs_by_updates(sweep: Path):
    curve = panels(sweep, METRICS)["Learning curves"][0]._to_model().config
    assert (curve.x_axis, curve.group_by, curve.group_agg, curve.group_area) == ("update", "jobType", "mean", "stddev")
    assert curve.expressions == ["${eval/return}", "0 * ${eval/return} + ${summary:behaviour_return}"]


def test_scores_are_shown_where_a_dataset_has_references(tmp_path: Path):
    write_run(tmp_path / "a", algorithm="dqn", seed=0, returns=[1], final_normalized_score=None)
    found = panels(tmp_path, METRICS)
    assert [panel.y for panel in found["Learning curves"]] == [["eval/return"]]
    assert len(found["Final scores"]) == 2


def test_swept_keys_are_where_wandb_has_them(tmp_path: Path):
    """Nested keys below `value`; a group's choice below its name; a logarithmic axis where values differ in order."""
    for seed, (rate, optimizer) in enumerate([("1e-5", "adam"), ("1e-3", "adamw")]):
        typed = (f"optimizer.lr={rate}", f"optimizer={optimizer}")
        write_run(tmp_path / rate, algorithm="dqn", seed=seed, returns=[seed], typed=typed)
    coordinates, importance, *by_key = panels(tmp_path, METRICS)["Swept keys of dqn"]
    columns = [(column.accessor, column.log) for column in coordinates._to_model().config.columns]
    assert columns == [("config:optimizer.value.lr", True), ("config:optimizer.value.name", False),
                       ("summary:final_return", None)]  # fmt: skip
    assert importance.with_respect_to == "final_return"
    groups = [panel._to_model().config.group_by for panel in by_key]
    assert groups == ["optimizer.value.lr"] * 2 + ["optimizer.value.name"] * 2
    (comparison,) = compare(read_results([tmp_path]))
    assert swept_keys(comparison) == ["optimizer.lr", "optimizer.name"]


def test_keys_that_were_swept_apart_have_parts_of_their_own(tmp_path: Path):
    for number, word in enumerate(["gamma=0.9", "gamma=0.95", "tau=0.1", "tau=0.2"]):
        write_run(tmp_path / word, algorithm="dqn", seed=0, returns=[number], typed=(f"algorithm.{word}",))
    titles = [title for title in panels(tmp_path, METRICS) if title.startswith("Swept")]
    assert titles == ["Swept keys of dqn: tau", "Swept keys of dqn: gamma"]


def chosen(filters: Any) -> list[tuple[str, str, Any]]:
    keys = [item.to_model() for item in filters.items]
    return [(f"{key.key.section}:{key.key.name}", key.op, key.value) for key in keys]


def test_runs_are_chosen_by_group_and_algorithm_or_by_id(sweep: Path, subject: Callable[..., Subject]):
    """By a group more runs join as they are logged. A group with two datasets has one panel for each, by ids."""
    made = subject(sweep)
    (comparison,) = made.comparisons
    group = ("run:group", "IN", ["sweep"])
    assert chosen(filters(made, comparison)) == [group]
    assert chosen(filters(made, comparison, "dqn")) == [group, ("run:jobType", "=", "dqn")]
    write_run(sweep / "other", algorithm="dqn", seed=0, returns=[1], dataset="cartpole-replay")
    label(sweep, group="sweep")
    made = subject(sweep)
    assert [chosen(filters(made, each)) for each in made.comparisons] == [
        [("run:name", "IN", made.ids(each))] for each in made.comparisons
    ]


def test_colours_are_an_algorithms_own(tmp_path: Path):
    for seed, name in enumerate(REGISTRY):
        write_run(tmp_path / name, algorithm=name, seed=seed, returns=[1])
    write_run(tmp_path / "foreign", algorithm="someones_own", seed=0, returns=[1])
    (comparison,) = compare(read_results([tmp_path]))
    found = colours(comparison)
    assert found.keys() == REGISTRY.keys()
    for is_discrete in (False, True):
        kind = [colour for name, colour in found.items() if REGISTRY[name].is_discrete == is_discrete]
        assert len(set(kind)) == len(kind)
