import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bcq_exp.analysis.trained_runs import TrainedRun
from bcq_exp.selection.choice import Choice, Member, account, choose, possible_returns, settings_table, with_interval
from cases import checked

SWEEP = Path("sweep")
NUM = 400  # resamples


@pytest.fixture(scope="module")
def run() -> TrainedRun:
    return TrainedRun("a", 0, SWEEP / "a0", checked("dataset=cartpole-noisy"), SWEEP / "a0" / "update_00000020", 5.0)


def spread(value: float, half: float) -> np.ndarray:
    """Resamples whose percentiles at 2.5 and 97.5 % are `half` below and above the value."""
    return value + half / 0.95 * np.linspace(-1, 1, NUM)


def member(run: TrainedRun, setting: str, seed: int, *objections: str, **estimates: tuple[float, float]) -> Member:
    """Estimates as (value, half of its interval)."""
    return Member(
        run=replace(run, setting=setting, seed=seed, directory=SWEEP / f"{setting}{seed}"),
        numbers={**{name: value for name, (value, _) in estimates.items()}, "ess": 40.0},
        resamples={name: spread(*estimate) for name, estimate in estimates.items()},
        objections=dict.fromkeys(objections, "no good"),
    )


def test_the_interval_is_of_95_percent_and_none_where_a_resample_has_no_value():
    assert with_interval(3.0, spread(3.0, 0.5)) == pytest.approx((3.0, 2.5, 3.5), abs=0.01)
    assert all(map(math.isnan, with_interval(3.0, np.array([1.0, math.nan, 2.0]))[1:]))


def test_the_highest_lower_end_is_chosen_not_the_highest_estimate(run: TrainedRun):
    members = [
        member(run, "a", 0, fqe=(10.0, 4.0)),
        member(run, "b", 0, fqe=(8.0, 1.0)),
        member(run, "c", 0, fqe=(1.0, 0.1)),
    ]
    made = choose(members, ["fqe"], seed=0)
    assert [setting.name for setting in made.ranked] == ["b", "a", "c"]
    assert made.member == members[1]


def test_a_setting_is_worth_what_its_seeds_agree_on(run: TrainedRun):
    """One seed of `a` has the highest estimate of all, and its other the lowest: of two seeds both are drawn twice in a
    quarter of the resamples each."""
    members = [
        member(run, "a", 0, fqe=(20.0, 0.1)), member(run, "b", 0, fqe=(8.0, 0.1)),
        member(run, "a", 1, fqe=(2.0, 0.1)), member(run, "b", 1, fqe=(9.0, 0.1)),
    ]  # fmt: skip
    made = choose(members, ["fqe"], seed=0)
    assert [setting.name for setting in made.ranked] == ["b", "a"]
    means = {setting.name: setting.estimate("fqe") for setting in made.settings}
    assert means["a"] == pytest.approx((11.0, 2.0, 20.0), abs=0.2)
    assert means["b"] == pytest.approx((8.5, 8.0, 9.0), abs=0.2)
    assert made.member == members[3]  # of the setting's runs, the one with the highest lower end
    assert made.close() == ["a"]


def test_the_first_estimator_that_is_worth_something_for_two_settings_decides_among_them(run: TrainedRun):
    def of(setting: str, *objections: str, wis: float, fqe: float) -> Member:
        return member(run, setting, 0, *objections, wis=(wis, 0.1), fqe=(fqe, 0.1))

    three = [of("a", "wis", wis=9, fqe=1), of("b", wis=2, fqe=3), of("c", wis=1, fqe=4)]
    made = choose(three, ["wis", "fqe"], seed=0)
    assert (made.decider, [setting.name for setting in made.ranked]) == ("wis", ["b", "c"])
    assert made.verdict("fqe") == "worth something, after the one that decides"
    made = choose([three[0], of("b", "wis", wis=2, fqe=3), three[2]], ["wis", "fqe"], seed=0)
    assert (made.decider, made.chosen and made.chosen.name) == ("fqe", "c")
    assert made.verdict("wis") == "worthless for 2 of 3 settings, such as a seed=0: no good"


def test_a_setting_with_one_worthless_run_cannot_be_chosen(run: TrainedRun):
    members = [
        member(run, "a", 0, fqe=(9.0, 0.1)), member(run, "a", 1, "fqe", fqe=(1e9, 0.1)),
        member(run, "b", 0, fqe=(2.0, 0.1)), member(run, "c", 0, fqe=(1.0, 0.1)),
    ]  # fmt: skip
    made = choose(members, ["fqe"], seed=0)
    assert [setting.name for setting in made.ranked] == ["b", "c"]
    kept = account(made, SWEEP, ["sweep/d0 has failed"], {"num_episodes": 7})
    assert kept["chosen"] == {
        "setting": "b", "run": "b0", "seed": 0, "checkpoint": "update_00000020", "close_settings": []
    }  # fmt: skip
    assert kept["left_out"] == ["a seed=1: no good", "sweep/d0 has failed"]
    assert [row["setting"] for row in kept["settings"]] == ["b", "c", "a"]
    assert kept["settings"][2]["runs"][1]["objections"] == {"fqe": "no good"}
    assert (kept["decided_by"], kept["num_episodes"]) == ("fqe", 7)


def test_without_an_estimator_that_is_worth_something_nothing_is_chosen(run: TrainedRun):
    unknown = Member(replace(run, setting="b"), {"wis": math.nan}, {"wis": np.full(NUM, math.nan)}, {"wis": "no good"})
    made = choose([member(run, "a", 0, wis=(1.0, 0.1)), unknown], ["wis"], seed=0)
    assert (made.decider, made.chosen, made.member, made.close()) == (None, None, None, [])
    kept = account(made, SWEEP, [], {})
    assert (kept["chosen"], kept["decided_by"]) == (None, None)
    assert kept["settings"][1]["estimates"] == {"wis": {"value": None, "low": None, "high": None}}


def test_close_settings_are_those_whose_paired_difference_may_be_0(run: TrainedRun):
    """Intervals of `b` and `c` overlap with that of `a`; but `b` is lower by 1 in every draw of the episodes."""
    noise = spread(0.0, 5.0)
    values = {"a": 10.0 + noise, "b": 9.0 + noise, "c": 9.0 - noise}
    members = [
        Member(replace(run, setting=name), {"fqe": value.mean()}, {"fqe": value}, {}) for name, value in values.items()
    ]
    made = choose(members, ["fqe"], seed=0)
    assert made.chosen is not None
    assert (made.chosen.name, made.close()) == ("a", ["c"])


def test_returns_are_bounded_by_the_extreme_rewards_for_ever_and_by_one_step():
    def bounds(rew: list[float], gamma: float, terminated: tuple[bool, ...] = (False, True)) -> tuple[float, float]:
        return possible_returns(np.array(rew), np.array(terminated), gamma)

    assert bounds([1.0, 1.0], 0.99) == pytest.approx((1, 100))
    assert bounds([-2.0, -1.0], 0.9) == pytest.approx((-20, -1))
    assert bounds([-1.0, 0.0], 0.5) == pytest.approx((-2, 0))
    assert bounds([-1.0, 3.0], 1.0) == (-math.inf, math.inf)
    assert bounds([0.0, 3.0], 0.99) == (0, 3)  # an outcome: it comes once
    assert bounds([0.0, 3.0], 0.99, terminated=(True, False)) == pytest.approx((0, 300))
    assert bounds([-1.0, 3.0], 1.0, terminated=(True, True)) == (-1, 3)


def text(made: Choice) -> str:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(settings_table(made, "t"))
    return console.export_text()


def test_the_table_shows_worthless_estimates_in_brackets_and_below(run: TrainedRun):
    members = [
        member(run, "a", 0, "fqe", fqe=(2.5e8, 0.1)),
        member(run, "b", 0, fqe=(0.2, 0.05)),
        member(run, "c", 0, fqe=(70.0, 0.5)),
    ]
    rows = [line.split() for line in text(choose(members, ["fqe"], seed=0)).splitlines() if line.split()[1:2] == ["1"]]
    assert rows == [["c", "1", "70.0", "[69.5,", "70.5]"], ["b", "1", "0.200", "[0.150,", "0.250]"],
                    ["a", "1", "(2.5e+08)"]]  # fmt: skip
