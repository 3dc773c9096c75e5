import base64
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("wandb_workspaces")

from bcq_exp.dashboards.subject import Subject
from bcq_exp.dashboards.workspace_view import workspace_view


def decoded(gid: str) -> str:
    return base64.b64decode(gid).decode()


def test_a_view_groups_pins_and_colours(sweep: Path, subject: Callable[..., Subject]):
    made = subject(sweep)
    view = workspace_view(made, made.comparisons[0], "me", "dqn")
    spec = view._to_model().spec.section
    (runs,) = spec.run_sets
    assert [f"{key.section}:{key.name}" for key in runs.grouping] == [
        "run:jobType", "config:algorithm.value.unlikely_action_threshold",
    ]  # fmt: skip
    assert [(key.key.section, key.key.name, key.ascending) for key in runs.sort.keys] == [
        ("summary", "final_return", False)
    ]
    assert decoded(runs.baseline_run_id) == "Run:v1:dqn-1:bcq_exp:me"
    assert [decoded(gid).split(":")[2] for gid in runs.pinned_run_ids] == ["dqn-1", "bcq1-1", "bcq0-1"]
    assert len(spec.custom_run_colors) == 2
    assert (spec.settings.max_runs, spec.settings.x_axis) == (1000, "update")
    assert (view.name, view.project) == ("sweep: cartpole-noisy", "bcq_exp")


def test_a_view_begins_with_the_table(sweep: Path, subject: Callable[..., Subject]):
    made = subject(sweep)
    view = workspace_view(made, made.comparisons[0], "", None)
    first = view.sections[0]
    assert first.name == "Table"
    assert "| discrete_bcq unlikely_action_threshold=0.3 | 3 | 41.0 ± 1.0 |" in first.panels[0].markdown
    assert {section.name: section.is_open for section in view.sections[1:]} == {
        "Learning curves": True, "Final scores": True, "Swept keys of discrete_bcq": True, "Losses": False,
        "Throughput": False, "Runs side by side": False,
    }  # fmt: skip
