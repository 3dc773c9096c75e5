from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bcq_exp.analysis.datasets.sources import Source
from bcq_exp.behaviours.treatment import PREFIX, Rule, at_random, habit, informed, log, main
from bcq_exp.data import check_against
from bcq_exp.envs.environments import spaces
from bcq_exp.envs.treatment import DOSES, Patient, dose_of


def test_the_informed_rule_by_hand() -> None:
    """Behind dose (f, v) the shock is 0.5 * 0.4 + 0.85 * 0.45 - 0.07 f - 0.12 v, and the harm a constant + 0.21 f
    - 0.84 v + 0.1875 v^2 while it is above 0: no fluid, and v = 2 with 0.93 less, before 3 with 0.83 less."""
    rng = np.random.default_rng(0)
    assert informed(Patient(infection=0.5, shock=0.4, overload=0.5, vasopressor=2), rng) == dose_of(0, 2)
    assert informed(Patient(infection=0.0, shock=0.0), rng) == dose_of(0, 0)


@pytest.mark.parametrize("seed", range(4))
def test_a_habit_is_around_what_it_means(seed: int) -> None:
    """need = 0.6 + 0.8 / 2 = 1, so that the habit h means fluid 1 + 4 h, at most 4, and vasopressor 3 (1 - h)."""
    share, rng = np.random.default_rng(seed).random(), np.random.default_rng(seed)
    choose, patient = habit(rng), Patient(infection=0.8, shock=0.6, vasopressor=2)
    doses = np.array([choose(patient, rng) for _ in range(500)])
    assert abs(np.median(doses // 5) - min(1 + 4 * share, 4)) < 0.8
    assert abs(np.median(doses % 5) - 3 * (1 - share)) < 0.8


@cache
def logged() -> dict[str, Any]:
    return log(400, 1)


def survival(rule: Rule, num_patients: int = 200) -> float:
    return float(log(num_patients, 1, rule)["survived"].sum() / num_patients)


def test_the_habits_lie_between_chance_and_the_informed_rule() -> None:
    """Over 5,000 patients: 0.35, 0.64 and 0.82, with standard errors of 0.007."""
    habits = logged()["survived"].sum() / 400
    assert survival(at_random) < 0.45 < 0.56 < habits < 0.72 < 0.75 < survival(informed)


def test_a_log_is_a_table_that_fits_its_simulator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.csv"
    main([str(path), "--patients", "200", "--seed", "3"])
    columns = log(200, 3)
    share = columns["survived"].sum() / 200
    assert capsys.readouterr().out == (
        f"200 patients, {len(columns['dose']):,} doses, {share:.1%} survive: written to {path}\n"
    )
    read = Source(path, columns="treatment").read()
    assert read.action_names == DOSES
    np.testing.assert_array_equal(read.act, [DOSES.index(dose) for dose in columns["dose"]])
    np.testing.assert_array_equal(read.mask[:, 4], columns[PREFIX + "F0 V4"])
    assert len(read.episode_returns) == 200
    assert read.episode_returns.mean() == share
    assert check_against(read, *spaces("bcq_exp/Treatment-v0"), batch_size=64) is not None


def test_the_same_seed_gives_the_same_log(tmp_path: Path) -> None:
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        main([str(tmp_path / f"{name}.csv"), "--patients", "5", "--seed", seed])
    a, b, c = ((tmp_path / f"{name}.csv").read_bytes() for name in "abc")
    assert a == b != c


def test_a_dose_in_twenty_is_off_protocol() -> None:
    """Doses far from every habit, a high vasopressor with much fluid, are there and rare."""
    doses, counts = np.unique(logged()["dose"], return_counts=True)
    shares = dict(zip(doses.tolist(), counts / counts.sum(), strict=True))
    assert 0 < sum(shares.get(dose, 0) for dose in ("F3 V3", "F3 V4", "F4 V3", "F4 V4")) < 0.01
    assert len(shares) > 18


@pytest.mark.parametrize(
    ("words", "said"),
    [(["there.csv"], "give the name of a new"), (["a.txt"], "give the name of a new .csv or .parquet")],
)
def test_a_name_that_cannot_be_written_is_refused(tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "there.csv").write_text("kept")
    with pytest.raises(ValueError, match=said):
        main([str(tmp_path / words[0])])
    assert (tmp_path / "there.csv").read_text() == "kept"
