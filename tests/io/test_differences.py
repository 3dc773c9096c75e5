from pathlib import Path

from bcq_exp.io.differences import refusal


def test_a_refusal_says_each_difference_once_and_not_too_many():
    runs = {Path("a"): ["x: 1 before, 2 now"], Path("b"): ["x: 1 before, 2 now", "y: 1 before, 2 now"]}
    assert str(refusal(runs, "drop x")) == (
        "a and 1 more hold other runs than what is asked for:\n  x: 1 before, 2 now\n  y: 1 before, 2 now\ndrop x"
    )
    assert str(refusal({Path("a"): [f"line {i}" for i in range(20)]}, "")).count("\n  ") == 13
