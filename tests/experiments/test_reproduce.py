"""Protocols of papers' tables: what they train, how they judge, and the smallest of them run whole."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bcq_exp.training.config import check
from cases import composed
from experiments.reproduce.__main__ import reproduce
from experiments.reproduce.criteria import NOT_REPRODUCED, NOT_RUN, REPRODUCED, judge
from experiments.reproduce.figures import Scale, Score, published
from experiments.reproduce.protocol import Budget, Criterion, names, read_protocol
from experiments.reproduce.training import cells

BUDGET = Budget(hours=1, seeds=2, typed=[], datasets=["d"], algorithms=["bcq", "bc"], changes="")


def score(mean: float) -> Score:
    return Score(mean, 1.0, (mean,))


@pytest.mark.parametrize("name", names())
def test_every_command_of_every_budget_composes_and_passes_its_check(name: str, tmp_path: Path) -> None:
    protocol = read_protocol(name)
    for budget in protocol.budgets.values():
        for cell in cells(protocol, budget, tmp_path):
            words = [word for word in cell.command[4:] if not word.startswith(("seed=", "hydra."))]
            checked = check(composed(*words))
            assert (checked.algorithm.name, checked.dataset.name) == (cell.algorithm, cell.dataset)
            assert sum(word.startswith("seed=") for word in cell.command) == 1


@pytest.mark.parametrize(
    ("relation", "mean", "outcome"),
    [
        ("above", 45.0, REPRODUCED),  # of 0.9 times 50
        ("above", 44.9, NOT_REPRODUCED),
        ("below", 44.9, REPRODUCED),
        ("below", 45.0, NOT_REPRODUCED),
        ("level", 55.0, REPRODUCED),  # within 5 points of 50
        ("level", 44.9, NOT_REPRODUCED),
    ],
)
def test_a_verdict_compares_with_a_share_or_within_a_margin(relation: str, mean: float, outcome: str) -> None:
    criterion = Criterion("", ["d"], "bcq", relation, "behaviour", share=0.9, margin=5.0)
    assert judge(criterion, "d", {"bcq": score(mean), "behaviour": score(50.0)}, BUDGET).outcome == outcome


def test_what_was_not_run_is_told_from_what_failed() -> None:
    criterion = Criterion("", ["d", "e"], "bcq", "above", "bc")
    assert judge(criterion, "e", {}, BUDGET).outcome == NOT_RUN
    assert judge(Criterion("", ["d"], "dqn", "above", "bc"), "d", {"bc": score(1.0)}, BUDGET).outcome == NOT_RUN
    assert judge(criterion, "d", {"bc": score(1.0)}, BUDGET).outcome == NOT_REPRODUCED  # every run of bcq has failed


def test_published_figures_are_found_by_the_names_of_the_paper() -> None:
    found = published(read_protocol("bcq-figure2"))
    assert len(found) == 60  # twelve panels of five learners
    figure = found["hopper-imitation", "discretized_dqn"]
    assert (figure.mean, figure.std, figure.num_seeds, figure.status) == (16.1, 17.8, 5, "digitised")


def test_random_play_is_0_and_the_best_is_100() -> None:
    scale = Scale(["dataset=cartpole-noisy"])
    assert scale.score(22.69) == pytest.approx(0)
    assert scale.score(500.0) == pytest.approx(100)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table=no-such"], r"table=no-such: there is none; allowed: .*discrete-bcq"),
        (["table=discrete-bcq", "budget=huge"], r"budget=huge: discrete-bcq has smoke, cpu"),
        (["table=discrete-bcq", "seed=1"], r"seed: there is no such key; allowed: table, budget, folder, write"),
    ],
)
def test_a_wrong_word_is_refused_before_any_work(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reproduce(words)


def test_the_smallest_budget_runs_whole_and_again_at_once(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "experiments.reproduce", "table=discrete-bcq", "budget=smoke", f"folder={tmp_path}",
    ]  # fmt: skip
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert re.search(r"discrete BCQ ends above DQN +cartpole-noisy .*(not )?reproduced", first.stdout)
    assert re.search(r"discrete BCQ ends above REM +lunarlander-noisy +- +- +not run at this budget", first.stdout)
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.stdout == first.stdout
    assert again.stderr == ""  # nothing is trained
