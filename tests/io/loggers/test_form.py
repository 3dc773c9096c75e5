from collections.abc import Mapping
from typing import Any

from bcq_exp.io.loggers.form import Loggers


class ListLogger:
    """Remembers calls."""

    def __init__(self, calls: list[Any]) -> None:
        self.calls = calls

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        self.calls.append((update, dict(metrics)))

    def finish(self, summary: Mapping[str, Any]) -> None:
        self.calls.append(dict(summary))


def test_loggers_reach_each_logger_in_order() -> None:
    first: list[Any] = []
    second: list[Any] = []
    loggers = Loggers(ListLogger(first), Loggers(ListLogger(second)))
    loggers.log(3, {"loss": 1.0})
    loggers.finish({"final_return": 2.0})
    assert first == second == [(3, {"loss": 1.0}), {"final_return": 2.0}]
