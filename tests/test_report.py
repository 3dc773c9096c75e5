"""`bcq-report` as its users run it."""

from pathlib import Path

import pytest

from bcq_exp.report import sorted_words, wandb_project
from processes import give


def test_words_are_directories_or_have_a_key():
    assert sorted_words(["a", "results=r", "wandb=e/p", "group=g", "group=h", "b=c"]) == (
        [Path("a"), Path("b=c")], {"results": ["r"], "wandb": ["e/p"], "group": ["g", "h"]},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["wandb=e/p"], "wandb=e/p needs group=NAME"),
        (["wandb=e/p", "group="], "wandb=e/p needs group=NAME"),
        (["group=g"], "wandb= is not of the form wandb=ENTITY/PROJECT, once"),
        (["wandb=e", "group=g"], "wandb=e is not of the form"),
        (["wandb=e/p/q", "group=g"], "wandb=e/p/q is not of the form"),
        (["wandb=e/p", "wandb=e/q", "group=g"], "wandb=e/p,e/q is not of the form"),
    ],
)
def test_runs_in_wandb_have_a_project_and_a_group(words: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        wandb_project(sorted_words(words)[1])


def test_a_mistake_is_one_line_and_a_code(tmp_path: Path):
    assert give(tmp_path, "report", "results=x") == (1, "error: results=x names no directory of runs\n")
