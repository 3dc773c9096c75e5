"""Protocols of papers' tables: what they train, how they judge, and the smallest of them run whole."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from bcq_exp.algorithms import REGISTRY
from bcq_exp.analysis.comparison import Row
from bcq_exp.analysis.results import Result
from bcq_exp.data.formats import d4rl
from bcq_exp.io.summary import SUMMARY, read_summary
from bcq_exp.training.config import check
from cases import composed, write_datasets
from experiments.ablations.forms import FORMS
from experiments.reproduce.__main__ import EXAMPLES, KEYS, parser, reproduce
from experiments.reproduce.cells import Cell, cells
from experiments.reproduce.criteria import NO_REFERENCE, NOT_REPRODUCED, NOT_RUN, REPRODUCED, judge
from experiments.reproduce.figures import Published, Scale, Score, published
from experiments.reproduce.protocol import Criterion, Learner, Protocol, names, read_protocol
from experiments.reproduce.rows import behaviour_of

ROWS = ("bcq", "bc")


def score(mean: float) -> Score:
    return Score(mean, 1.0, (mean,))


def command(cell: Cell) -> tuple[str, ...]:
    """Trains all rows."""
    return cell.command([*cell.settings])


def num_runs(cell: Cell) -> int:
    """Of all rows and seeds."""
    return cell.num_seeds * len(cell.settings)


def planned(protocol: Protocol, folder: Path) -> Iterator[Cell]:
    """Cells in which each dataset and each algorithm of each budget occurs."""
    for budget in protocol.budgets.values():
        seen = set[str]()
        for cell in cells(protocol, budget, folder):
            if not {cell.dataset, cell.algorithm} <= seen:
                seen |= {cell.dataset, cell.algorithm}
                yield cell


@pytest.mark.parametrize("name", names())
def test_every_dataset_and_algorithm_of_every_budget_composes_and_passes_its_check(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for form, definition in FORMS.items():
        monkeypatch.setitem(REGISTRY, form, definition)
    protocol = read_protocol(name)
    for cell in planned(protocol, tmp_path):
        sweep = protocol.algorithms[cell.algorithm].sweep
        words = [*cell.words]
        for key, values in sweep.items():
            words += [f"{key}={value}" for value in (min(values), max(values))]
        if not find_spec("gymnasium_robotics"):
            words = [re.sub(r"^dataset.env=gymnasium_robotics:.*", "dataset.env=Pendulum-v1", word) for word in words]
        words = [re.sub(r"^dataset.behaviour=outputs/.*", "dataset.behaviour=cartpole", word) for word in words]
        checked = check(composed(*words))
        assert (checked.algorithm.name, checked.dataset.name) == (cell.algorithm.partition("-")[0], cell.dataset)
        assert sum(word.startswith("seed=") for word in command(cell)) == 1


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
    assert judge(criterion, "d", {"bcq": score(mean), "behaviour": score(50.0)}, ROWS, {}).outcome == outcome


def test_what_was_not_run_is_told_from_what_failed() -> None:
    criterion, scores = Criterion("", ["d", "e"], "bcq", "above", "bc"), {"bcq": score(1.0), "bc": score(2.0)}
    assert judge(criterion, "e", scores, [], {}).outcome == NOT_RUN
    assert judge(replace(criterion, algorithm="dqn"), "d", scores, ROWS, {}).outcome == NOT_RUN
    assert judge(criterion, "d", {"bc": score(1.0)}, ROWS, {}).outcome == NOT_REPRODUCED  # every run of bcq has failed


def test_a_verdict_compares_with_the_published_figure_of_the_same_algorithm() -> None:
    criterion = Criterion("", ["d"], "bcq", "level", "Table 1", margin=5.0)
    paper = Published(mean=50.0, std=None, num_seeds=3, status="")
    found = [judge(criterion, "d", {"bcq": score(mean)}, ROWS, {"Table 1": paper}) for mean in (45.0, 44.9)]
    assert [verdict.outcome for verdict in found] == [REPRODUCED, NOT_REPRODUCED]
    assert judge(criterion, "d", {"bcq": score(50.0)}, ROWS, {"Table 1": None}).outcome == NO_REFERENCE


def test_a_sweep_has_a_row_a_setting_and_runs_for_each_seed_of_each(tmp_path: Path) -> None:
    learner = Learner([], sweep={"algorithm.tau": [0.5, 1.0], "algorithm.gamma": [0.9]})
    assert [*learner.settings("bcq")] == ["tau=0.5 gamma=0.9", "tau=1.0 gamma=0.9"]
    assert [*Learner([]).settings("bcq")] == ["bcq"]
    protocol = read_protocol("ablations")
    found = {cell.algorithm: cell for cell in cells(protocol, protocol.budgets["cpu"], tmp_path)}
    assert "algorithm.num_sampled_action=1,2,10,50" in command(found["bcq-num_sampled_action"])
    assert "seed=0,1,2,3,4" in command(found["bcq_unperturbed"])
    assert (num_runs(found["bcq-num_sampled_action"]), num_runs(found["bcq_unperturbed"])) == (20, 5)
    assert found["discrete_bcq-tau"].dataset == "lunarlander-noisy"  # alone, though the budget has both datasets


def test_a_setting_of_several_sweeps_is_trained_by_one_of_them(tmp_path: Path) -> None:
    protocol = read_protocol("ablations")
    found = {cell.algorithm: cell for cell in cells(protocol, protocol.budgets["cpu"], tmp_path)}
    assert "algorithm.lmbda=0.0,0.5,1.0" in command(found["bcq-lmbda"])
    assert "algorithm.phi=0.0,0.2,1.0" in command(found["bcq-phi"])
    assert (num_runs(found["bcq-lmbda"]), num_runs(found["bcq-phi"])) == (15, 15)
    alone = replace(protocol.budgets["cpu"], algorithms=["bcq-phi"])  # without the sweep that would train it
    (cell,) = cells(protocol, alone, tmp_path)
    assert "algorithm.phi=0.0,0.05,0.2,1.0" in command(cell)


@pytest.mark.parametrize("name", names())
def test_rows_that_are_said_to_be_the_same_compose_to_the_same(name: str) -> None:
    protocol = read_protocol(name)
    words = {
        row: [*learner.typed, *(f"{key}={value}" for key, value in setting.items())]
        for algorithm, learner in protocol.algorithms.items()
        for row, setting in learner.settings(algorithm).items()
    }
    for learner in protocol.algorithms.values():
        for row, other in learner.same.items():
            assert composed(*words[row]) == composed(*words[other])


def test_each_published_version_of_the_code_has_a_budget_of_its_own(tmp_path: Path) -> None:
    protocol = read_protocol("bcq-figure2")
    settings = {}
    for name in ("paper", "paper-2020"):
        bcq, ddpg = (
            check(composed(*cell.words))
            for cell in cells(protocol, protocol.budgets[name], tmp_path)
            if cell.dataset == "hopper-imperfect" and cell.algorithm in {"bcq", "ddpg"}
        )
        settings[name] = (bcq.algorithm.forward_sampled_times, bcq.dataset.num_transitions, ddpg.algorithm.action_layer)
    assert settings == {"paper": (10, 100_000, 2), "paper-2020": (100, 1_000_000, 1)}


def test_words_for_what_a_protocol_has_not_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.reproduce.protocol.EXPERIMENTS", tmp_path)
    (tmp_path / "mine").mkdir()
    text = (Path(__file__).parents[2] / "experiments" / "bcq_control" / "protocol.yaml").read_text(encoding="utf-8")
    added = text.replace("    seeds: 1\n", "    seeds: 1\n    instead: {td3: [experiment=published/td3]}\n")
    assert added != text
    (tmp_path / "mine" / "protocol.yaml").write_text(added, encoding="utf-8")
    with pytest.raises(ValueError, match=r"budgets\.smoke\.instead has td3, which the protocol has not"):
        read_protocol("mine")


def test_sweeps_side_by_side_have_one_thread_each_and_the_device_that_is_asked_for(tmp_path: Path) -> None:
    protocol = read_protocol("bcq-control")
    alone, *_ = cells(protocol, protocol.budgets["cpu"], tmp_path)
    beside, *_ = cells(protocol, protocol.budgets["cpu"], tmp_path, "cuda", is_alone=False)
    assert {*command(beside)} - {*command(alone)} == {"device=cuda", "num_threads=1"}
    assert alone.identity("bcq", 0) == beside.identity("bcq", 0)
    assert (alone.folder, num_runs(alone)) == (beside.folder, num_runs(beside))


def test_published_figures_are_found_by_the_names_of_the_paper() -> None:
    found = published(read_protocol("bcq-figure2"))
    assert len(found) == 70  # fourteen datasets of five learners
    figure = found["hopper-imitation", "discretized_dqn"]["Figure 2, last tenth"]
    assert (figure.mean, figure.std, figure.num_seeds, figure.status) == (16.1, 17.8, 5, "digitised")


def test_sources_of_one_table_are_columns_of_their_own() -> None:
    found = published(read_protocol("d4rl"))
    old, new = found["hopper-medium-v0", "bcq"], found["hopper-medium-v2", "td3_bc"]
    assert {name: figure.mean for name, figure in old.items()} == {"D4RL, Table 1": 54.5, "d3rlpy, final": 52.5}
    assert old["d3rlpy, final"].std == pytest.approx(22.8 * (10 / 9) ** 0.5)  # printed over n
    assert {name: figure.mean for name, figure in new.items()} == {"robomimic": 61.0}


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_help_names_what_there_is(example: str) -> None:
    typed = dict(word.partition("=")[::2] for word in parser().parse_args(example.split()).words)
    protocol = read_protocol(typed["table"])
    planned = cells(protocol, protocol.budgets[typed["budget"]], Path("nowhere"))
    allowed = {name for cell in planned for name in (cell.dataset, *cell.settings)}
    asked = {*typed.get("datasets", "").split(","), *typed.get("rows", "").split(",")} - {""}
    assert (typed.keys() - KEYS.keys(), asked - allowed) == (set(), set())


def test_random_play_is_0_and_the_best_is_100() -> None:
    scale = Scale(check(composed("dataset=cartpole-noisy")).dataset)
    assert scale.score(22.69) == pytest.approx(0)
    assert scale.score(500.0) == pytest.approx(100)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table=no-such"], r"table=no-such: there is none; allowed: .*discrete-bcq"),
        (["table=discrete-bcq", "budget=huge"], r"budget=huge: discrete-bcq has smoke, cpu"),
        (["table=discrete-bcq", "seed=1"], r"seed: there is no such key; allowed: table, budget, folder, write"),
        (["table=discrete-bcq", "jobs=0"], r"jobs=0: allowed: 1 and more"),
        (
            ["table=discrete-bcq", "budget=cpu", "datasets=cartpole-noisy,hopper"],
            r"datasets=hopper: budget=cpu has cartpole-noisy, lunarlander-noisy$",
        ),
        (["table=ablations", "budget=cpu", "rows=phi=0.05"], r"rows=phi=0.05: budget=cpu has .*phi=0.0, phi=0.2, "),
    ],
)
def test_a_wrong_word_is_refused_before_any_work(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reproduce(words)


def run(table: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "experiments.reproduce",
        f"table={table}",
        "budget=smoke",
        f"folder={folder}",
        *words,
    ]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_smallest_budget_runs_whole_and_again_at_once(tmp_path: Path) -> None:
    first = run("discrete-bcq", tmp_path)
    assert first.returncode == 0, first.stderr
    assert re.search(r"discrete BCQ ends above DQN +cartpole-noisy .*(not )?reproduced", first.stdout)
    assert re.search(r"discrete BCQ ends above REM +lunarlander-noisy +- +- +not run", first.stdout)
    again = run("discrete-bcq", tmp_path)
    assert again.stdout == first.stdout
    assert again.stderr == ""  # nothing is trained
    next(tmp_path.glob(f"discrete-bcq/smoke/cartpole-noisy/dqn/*/{SUMMARY}")).unlink()
    partly = run("discrete-bcq", tmp_path, "train=false")
    assert re.search(r"discrete BCQ ends above DQN +cartpole-noisy +- +- +not run", partly.stdout)
    assert re.search(r"discrete BCQ ends at or above cloning +cartpole-noisy .*reproduced", partly.stdout)


@pytest.fixture(scope="module")
def ablations(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The smallest budget of a table that sweeps keys: the folder of its runs, and what was printed."""
    folder = tmp_path_factory.mktemp("ablations")
    done = run("ablations", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_swept_key_has_rows_and_a_picture_beside_a_form_that_is_wrong(
    ablations: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, printed = ablations
    sampled, lmbda = ([f"num_sampled_action={num}" for num in (1, 2, 10, 50)], ["lmbda=0.0", "lmbda=0.5", "lmbda=0.75"])
    figures = dict(re.findall(r"^(\S+) +1 +(-\d\S+)", printed, re.MULTILINE))
    assert [*figures] == [*sampled, *lmbda, "lmbda=1.0", "bcq_unperturbed"]
    assert figures["lmbda=0.75"] == figures["num_sampled_action=10"]  # one run
    assert {read_summary(path.parent)["algorithm"] for path in folder.rglob(SUMMARY)} == {"bcq", "bcq_unperturbed"}
    monkeypatch.setattr(Protocol, "folder", tmp_path)
    reproduce(["table=ablations", f"folder={folder}", "write=true"])
    page = (tmp_path / "smoke" / "README.md").read_text()
    pictures = re.findall(r"^!\[.*\]\((.*)\)$", page, re.MULTILINE)
    keys = ("num_sampled_action", "lmbda")
    assert pictures == ["curves-pendulum-noisy.svg", *(f"sensitivity-pendulum-noisy-bcq-{key}.svg" for key in keys)]
    curves, *sweeps = [(tmp_path / "smoke" / name).read_text() for name in pictures]
    assert all(f">{key}<" in svg for key, svg in zip(keys, sweeps, strict=True))  # the axis
    assert re.findall(r">(lmbda=\S+)", curves) == ["lmbda=0.0", "lmbda=0.5", "lmbda=1.0"]  # the legend: each run once
    assert "not run yet" not in page


def test_the_rows_that_have_ended_of_a_sweep_stand_in_the_page(
    ablations: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(ablations[0], tmp_path / "runs"))
    for path in [*folder.rglob(SUMMARY)]:
        if "algorithm.num_sampled_action=10" in read_summary(path.parent)["overrides"]:
            path.unlink()
    monkeypatch.setattr(Protocol, "folder", tmp_path)
    reproduce(["table=ablations", f"folder={folder}", "train=false", "write=true"])
    page = (tmp_path / "smoke" / "README.md").read_text()
    assert "not run yet: num_sampled_action=10, lmbda=0.75 on pendulum-noisy" in page
    assert re.search(r"num_sampled_action=1 ends below num_sampled_action=10 .* - \| - \| not run", page)
    assert re.search(r"num_sampled_action=1 ends above the behaviour .* \d+\.\d \| (not )?reproduced", page)


def test_rows_that_learned_from_different_data_are_not_compared() -> None:
    def row(name: str, *behaviours: float) -> Row:
        return Row(name, [Result(Path(), {"behaviour_return": value}, []) for value in behaviours])

    same = {"bcq": row("bcq", 56.3, 56.3), "dqn": row("dqn", 56.30000001)}  # added up in another order
    assert behaviour_of("d", same) == 56.3
    with pytest.raises(
        ValueError, match=r"d: .*: bcq on data of mean return 56\.3; bc, dqn on data of mean return 56\.4"
    ):
        behaviour_of("d", {"bcq": same["bcq"], "bc": row("bc", 56.4), "dqn": row("dqn", 56.4)})


def test_d4rl_runs_on_a_file_in_its_layout_and_starts_nothing_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path))
    monkeypatch.setattr(d4rl, "BASE_URL", "http://127.0.0.1:9/")  # nothing answers there
    with pytest.raises(ValueError, match=r"hopper_medium-v2\.hdf5 is not in .*put it at"):
        reproduce(["table=d4rl", f"folder={tmp_path / 'runs'}"])
    assert not (tmp_path / "runs").exists()
    rng, rows = np.random.default_rng(0), 200
    columns = {"observations": rng.normal(size=(rows, 11)), "actions": rng.uniform(-1, 1, (rows, 3))}
    columns |= {"rewards": rng.normal(size=rows), "terminals": np.arange(rows) % 50 == 49, "timeouts": np.zeros(rows)}
    write_datasets(tmp_path / "hopper_medium-v2.hdf5", columns)
    done = run("d4rl", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    assert re.search(r"bcq +1 .* 63\.9 \(verified-file\)", done.stdout)  # robomimic's figure
    assert re.search(r"within 15 points of robomimic +hopper-medium-v2 .* 63\.9 +(not )?reproduced", done.stdout)
    assert re.search(r"AntMaze and Kitchen.* kitchen-mixed-v0 +- +- +not run", done.stdout)
