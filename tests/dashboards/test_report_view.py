from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("wandb_workspaces")

from bcq_exp.dashboards.report_view import report_view
from bcq_exp.dashboards.subject import Subject
from trained import write_run
from uploaded import label


def test_a_report_asks_a_question_above_each_grid(sweep: Path, subject: Callable[..., Subject]):
    blocks = report_view(subject(sweep), "", "dqn").blocks
    kinds = [type(block).__name__ for block in blocks]
    assert kinds == ["TableOfContents", "H1", "P", "MarkdownBlock", *["H2", "P", "PanelGrid"] * 6]
    assert blocks[2].text.startswith("Baseline: dqn.")
    assert "### cartpole-noisy: final return minus that of discrete_bcq" in blocks[3].text
    assert all(text.text.endswith("?") for kind, text in zip(kinds[4:], blocks[4:], strict=True) if kind == "P")


def test_the_panels_of_a_sweep_have_its_algorithms_runs_only(sweep: Path, subject: Callable[..., Subject]):
    blocks = report_view(subject(sweep), "", None).blocks
    texts = [getattr(block, "text", "") for block in blocks]
    grid = blocks[texts.index("Swept keys of discrete_bcq") + 2]
    (runs,) = grid.runsets
    filters = [(each["key"]["name"], each["value"]) for each in runs._to_model().filters["filters"]]
    assert filters == [("group", ["sweep"]), ("jobType", "discrete_bcq")]
    assert [f"{key.section}:{key.name}" for key in runs._to_model().grouping] == [
        "run:jobType", "config:algorithm.value.unlikely_action_threshold",
    ]  # fmt: skip
    assert {key.keys[0].value for key in grid.custom_run_colors} == {"discrete_bcq", "dqn"}


def test_several_datasets_have_a_chapter_each_and_one_together(sweep: Path, subject: Callable[..., Subject]):
    for seed in range(2):
        write_run(sweep / f"other{seed}", algorithm="dqn", seed=seed, returns=[1], dataset="cartpole-replay")
    label(sweep, group="sweep")
    blocks = report_view(subject(sweep), "", None).blocks
    chapters = [block.text for block in blocks if type(block).__name__ == "H1"]
    assert chapters == ["Over all datasets", "cartpole-noisy", "cartpole-replay"]
