"""Parts that advance side by side: they meet at the same update, in whatever order threads take them."""

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from bcq_exp.engine.workers import Workers


class Counter:
    """A part whose updates only count, some slower than others."""

    def __init__(self, pause: float) -> None:
        self.num_updates, self.pause, self.threads = 0, pause, set[int]()
        self.is_held = threading.Lock()

    def advance(self, num_updates: int, step: Any, update: Any, is_over: Callable[[], bool] = lambda: False) -> None:
        assert num_updates > 0
        assert self.is_held.acquire(blocking=False), "two threads have one part"
        for _ in range(num_updates):
            time.sleep(self.pause)
            self.num_updates += 1
            self.threads.add(threading.get_ident())
            if is_over():
                break
        self.is_held.release()


def parts_of(num: int, seed: int = 0) -> list[Any]:
    drawn = random.Random(seed)
    return [Counter(drawn.choice([0, 1e-5, 1e-3])) for _ in range(num)]


@pytest.mark.parametrize("num_threads", [1, 2, 5])
@pytest.mark.parametrize("num_parts", [1, 2, 7])
def test_all_parts_make_exactly_the_updates_that_are_asked(num_threads: int, num_parts: int):
    parts, workers = parts_of(num_parts), Workers(min(num_threads, num_parts))
    for num_updates, expected in ((1, 1), (60, 61), (3, 64)):
        workers.advance(parts, num_updates, None, None, lambda: False)
        assert [part.num_updates for part in parts] == [expected] * num_parts


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("stop", [1, 2, 17, 250])
def test_parts_that_are_stopped_meet_at_the_first_ones_update(num_threads: int, stop: int):
    parts, workers = parts_of(4, seed=stop), Workers(num_threads)
    workers.advance(parts, 300, None, None, lambda: max(part.num_updates for part in parts) >= stop)
    (reached,) = {part.num_updates for part in parts}
    assert stop <= reached <= stop + num_threads  # threads that were in an update as the first one arrived end theirs


def test_a_slow_part_does_not_hold_the_others_up_but_they_stay_near_it():
    slow, parts = Counter(0.02), [Counter(1e-4) for _ in range(3)]
    behind: list[int] = []

    def look() -> bool:
        behind.append(max(part.num_updates for part in parts) - slow.num_updates)
        return False

    Workers(4).advance([slow, *parts], 40, None, None, look)  # type: ignore[list-item]
    assert {part.num_updates for part in (slow, *parts)} == {40}
    assert max(behind) > 3
    assert len(slow.threads) >= 1


def test_an_error_in_one_part_ends_all_and_is_told():
    class Broken(Counter):
        def advance(self, *args: Any, **kwargs: Any) -> None:
            super().advance(*args, **kwargs)
            if self.num_updates > 5:
                raise ArithmeticError("of this part")

    parts: list[Any] = [Counter(1e-4), Broken(1e-4), Counter(1e-4)]
    with pytest.raises(ArithmeticError, match="of this part"):
        Workers(2).advance(parts, 10**6, None, None, lambda: False)
    assert max(part.num_updates for part in parts) < 10**6
