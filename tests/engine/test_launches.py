"""Updates that are launched together, on a processor: a launch is a function that is called again."""

from collections.abc import Callable

import pytest
import torch

from bcq_exp.engine.launches import LaunchedUpdate, updates_per_launch_of
from bcq_exp.engine.population import Population
from populations import population_of, weights

TYPED = {
    "discrete_bcq": ("algorithm.target_update_freq=7",),  # a copy of the target in the middle of launches
    "td3": ("algorithm.policy_freq=3",),  # a stage that steps now and then
}


class Recorded:
    """A capture that counts: the functions it was given, and how often their launches were called."""

    def __init__(self) -> None:
        self.num_recorded = self.num_launched = 0

    def __call__(self, updates: Callable[[], None]) -> Callable[[], None]:
        self.num_recorded += 1

        def launch() -> None:
            self.num_launched += 1
            updates()

        return launch


def launched(population: Population, size: int) -> Recorded:
    """Have a population's updates launched so many at a time."""
    recorded = Recorded()
    population.step = LaunchedUpdate(population.update, size, recorded)  # type: ignore[arg-type]
    return recorded


@pytest.mark.parametrize("size", [1, 4, 8])
@pytest.mark.parametrize("name", TYPED)
def test_launches_of_any_size_make_the_same_bits_as_single_updates(name: str, size: int):
    single, together = (population_of(name, [0, 1], *TYPED[name]) for _ in range(2))
    recorded = launched(together, size)
    for num_updates in (30, 1, 33):
        single.advance(num_updates)
        together.advance(num_updates)
    assert together.num_updates == 64
    for one, other in zip(single.policies, together.policies, strict=True):
        assert torch.equal(weights(one), weights(other))
    assert single.read_metrics() == together.read_metrics()
    assert 64 / size / 2 < recorded.num_launched < 64
    assert recorded.num_recorded < recorded.num_launched


def test_a_sequence_of_updates_runs_as_it_is_before_it_is_recorded():
    population = population_of("dqn", [0])
    recorded = launched(population, 4)
    counts = []
    for _ in range(3):
        population.advance(4)
        counts.append((recorded.num_recorded, recorded.num_launched))
    assert counts == [(0, 0), (1, 1), (1, 2)]


def test_a_run_that_is_stopped_within_a_launch_has_made_the_updates_that_it_counts():
    population, whole = (population_of("dqn", [0]) for _ in range(2))
    launched(population, 8)
    population.advance(20, lambda: population.num_updates >= 11)
    whole.advance(11)
    assert population.num_updates == 11
    assert torch.equal(weights(population.policies[0]), weights(whole.policies[0]))


@pytest.mark.parametrize(("setting", "expected"), [(1, 1), (16, 16)])
def test_the_size_of_a_launch_is_the_one_that_is_set(setting: int, expected: int):
    assert updates_per_launch_of(setting) == expected
