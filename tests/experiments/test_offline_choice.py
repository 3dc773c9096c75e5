import pytest

from experiments.offline_choice.known import correlation, regrets, rows


def setting(name: str, mean: float, *runs: tuple[float, float, bool]) -> dict:
    """A setting of a `selection.json`; runs as (estimate, online return, whether the estimate is worth something)."""
    return {
        "setting": name,
        "estimates": {"fqe": {"value": mean}},
        "runs": [
            {"run": f"{name}{seed}", "seed": seed, "estimates": {"fqe": {"value": estimate, "low": estimate - 1}},
             "objections": {} if is_sound else {"fqe": "no good"}, "online_return": online}
            for seed, (estimate, online, is_sound) in enumerate(runs)
        ],
    }  # fmt: skip


SELECTION = {
    "chosen": {"run": "b1"},
    "settings": [
        setting("b", 7.0, (6.0, 40.0, True), (8.0, 30.0, True)),
        setting("c", 7.5, (5.0, 10.0, True), (10.0, 60.0, True)),
        setting("a", 1e9, (2e9, 0.0, False), (3.0, 100.0, True)),
    ],
}


def test_each_rules_regret_by_hand():
    """The best run is worth 100; all are worth 40 on average, those of `b` 35. The highest estimate is of a run that is
    worth nothing, and the setting with the highest mean, among those that can be chosen, is `c`."""
    assert regrets(SELECTION, default="b") == {
        "choice": 70.0, "mean in place of lower end": 40.0, "highest estimate of a run": 100.0, "random": 60.0,
        "default, not chosen": 65.0,
    }  # fmt: skip


def test_the_correlation_is_of_estimates_that_are_worth_something():
    assert [row["online"] for row in rows(SELECTION) if row["is_sound"]] == [40, 30, 10, 60, 100]
    # Estimates 6, 8, 5, 10, 3 have ranks 3, 4, 2, 5, 1, returns 3, 2, 1, 4, 5: 1 - 6 (0 + 4 + 1 + 1 + 16) / 120.
    assert correlation(SELECTION) == pytest.approx(-0.1)
