import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from bcq_exp.analysis.comparison import compare
from bcq_exp.analysis.results import read_results
from bcq_exp.analysis.tables import over_seeds, single_runs, with_decimals
from trained import write_run, write_run_without_environment


def printed(directory: Path) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    for table in map(over_seeds, compare(read_results([directory]))):
        console.print(table.terminal())
    return console.export_text()


def rows_of(text: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line.strip().startswith("b")]


def test_the_table_reports_the_final_return_over_seeds_and_keeps_failures(runs: Path):
    text = printed(runs)
    bc, bcq = (line for line in text.splitlines() if line.strip().startswith("bc"))
    assert bc.split()[0] == "bc"  # 9 beats 7
    assert re.split(r"\s{2,}", bc.strip())[2:4] == ["9.0", "9.0"]  # one seed has no spread
    cells = re.split(r"\s{2,}", bcq.strip())
    # Finals 6 and 8: mean 7, deviation sqrt(2). The last ten, all six: 3.5 and 5.5, so 4.5 ± t(0.975, 1) sqrt(2/2).
    assert cells == ["bcq", "2 (1 failed)", "7.0 ± 1.4", "4.5 ± 12.7", "0.7", "100"]
    assert "behaviour: 50.0" in text


def test_runs_of_other_data_or_length_have_rows_of_their_own_with_both(tmp_path: Path):
    """The same command on data that has changed since, and once more for half as long."""
    write_run(tmp_path / "a", algorithm="bcq", seed=0, returns=[1, 2])
    write_run(tmp_path / "b", algorithm="bcq", seed=1, returns=[3, 4])
    write_run(tmp_path / "c", algorithm="bcq", seed=2, returns=[6, 6], behaviour_return=70.0)
    write_run(tmp_path / "d", algorithm="bcq", seed=3, returns=[7])
    write_run(tmp_path / "e", algorithm="bcq", seed=4, returns=[], status="failed", num_updates=3)
    write_run(tmp_path / "f", algorithm="bc", seed=0, returns=[9], final_cut_episodes=2)
    text = printed(tmp_path)
    assert [row[:5] for row in rows_of(text)] == [
        ["bc", "10", "50.0", "1 (1 cut)", "9.0"],
        ["bcq behaviour=50 num_updates=10", "10", "50.0", "1", "7.0"],
        ["bcq behaviour=70 num_updates=20", "20", "70.0", "1", "6.0"],
        ["bcq behaviour=50 num_updates=20", "20", "50.0", "2 (1 failed)", "3.0 ± 1.4"],
    ]
    assert "mean returns, over seeds" in text
    assert "mean return of the behaviour" not in text
    assert re.search(r"run +updates +behaviour +seeds", text)


def test_what_all_rows_share_is_said_once(runs: Path):
    text = printed(runs)
    assert "cartpole-noisy: mean returns after 60 updates, over seeds" in text
    assert "mean return of the behaviour: 50.0" in text


def test_one_dataset_name_in_two_environments_is_two_tables(tmp_path: Path):
    write_run(tmp_path / "a", algorithm="bcq", seed=0, returns=[1], dataset="h5", env="Hopper-v5")
    write_run(
        tmp_path / "b", algorithm="bcq", seed=0, returns=[5], dataset="h5", env="Walker2d-v5", behaviour_return=9.0
    )
    write_run(tmp_path / "c", algorithm="bc", seed=0, returns=[7], dataset="other", env="Hopper-v5")
    found = [over_seeds(comparison) for comparison in compare(read_results([tmp_path]))]
    assert [table.title.split(":")[0] for table in found] == ["h5 in Hopper-v5", "h5 in Walker2d-v5", "other"]
    assert [table.note[-4:] for table in found] == ["50.0", "9.00", "50.0"]


def test_a_number_that_is_not_there_is_a_dash():
    assert [with_decimals(value) for value in (1.25, -0.04, None, float("nan"))] == ["1.2", "-0.0", "-", "-"]


@pytest.mark.parametrize(
    ("returns", "behaviour", "shown"),
    [
        ([0.25, 0.75], 0.64, ["0.500 ± 0.354", "0.250", "0.750", "0.640"]),  # shares of patients
        ([0.5, 2.5], 0.5, ["1.50 ± 1.41", "0.50", "2.50", "0.50"]),
        ([0.5, 2.5], -10.0, ["1.5 ± 1.4", "0.5", "2.5", "-10.0"]),
    ],
)
def test_small_returns_have_more_decimals(tmp_path: Path, returns: list[float], behaviour: float, shown: list[str]):
    for seed, value in enumerate(returns):
        write_run(tmp_path / str(seed), algorithm="bcq", seed=seed, returns=[value], behaviour_return=behaviour)
    (comparison,) = compare(read_results([tmp_path]))
    grid = over_seeds(comparison)
    singles = [row[3] for row in single_runs(comparison).rows]
    assert [grid.rows[0][2], *singles, grid.note.removeprefix("mean return of the behaviour: ")] == shown


def test_estimates_stand_where_there_are_no_returns_and_say_what_they_are_of(tmp_path: Path):
    for seed, estimates in enumerate(([1.0, 5.0], [2.0, 7.0])):
        write_run_without_environment(tmp_path / str(seed), estimates, seed=seed)
    (comparison,) = compare(read_results([tmp_path]))
    grid = over_seeds(comparison)
    assert grid.title == "cartpole-noisy: mean fqe estimates on held-out episodes after 20 updates, over seeds"
    assert [row[:3] for row in grid.rows] == [("dqn", "2", "6.0 ± 1.4")]
    assert grid.note == "mean return of the behaviour: 50.0, undiscounted; estimates are discounted"
    assert [row[3] for row in single_runs(comparison).rows] == ["5.0", "7.0"]


def test_runs_of_which_no_return_is_known_are_counted_and_the_remedy_is_named(tmp_path: Path):
    write_run_without_environment(tmp_path / "a", [])
    (comparison,) = compare(read_results([tmp_path]))
    grid = over_seeds(comparison)
    assert [row[:5] for row in grid.rows] == [("dqn", "1", "-", "-", "-")]
    assert "eval_ope=fqe estimates returns" in grid.note


def test_returns_and_estimates_are_never_in_one_table(tmp_path: Path):
    write_run(tmp_path / "played", algorithm="dqn", seed=0, returns=[3.0, 4.0])
    write_run_without_environment(tmp_path / "estimated", [3.0, 4.0])
    assert [comparison.dataset for comparison in compare(read_results([tmp_path]))] == [
        "cartpole-noisy without environment, fqe estimates on held-out episodes",
        "cartpole-noisy in CartPole-v1",
    ]
