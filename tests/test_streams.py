import pytest
import torch

from bcq_exp.algorithms.form import Draw, Stage
from bcq_exp.streams import BLOCK, Streams

NOISE = {"eps": Draw("normal", (2,)), "z": Draw("uniform", ())}


def streams_of(seeds: list[int]) -> Streams:
    stages = (Stage(None, ("a",), NOISE), Stage(None, ("b",), {"eps": Draw("normal", (3,), clip=0.5)}, every=2))
    generators = [[torch.Generator().manual_seed(10 * kind + seed) for seed in seeds] for kind in range(2)]
    return Streams(*generators, stages, num_rows=50, batch_size=4)


def numbers(streams: Streams, update: int, member: int) -> list[torch.Tensor]:
    rows, noise = streams.at(update)
    return [rows[member], *(block[member] for stage in noise for block in stage.values())]


def test_shapes_ranges_and_clips():
    rows, (first, second) = streams_of([0, 1, 2]).at(0)
    assert rows.shape == (3, 4)
    assert rows.min() >= 0
    assert rows.max() < 50
    assert {name: tuple(block.shape) for name, block in first.items()} == {"eps": (3, 4, 2), "z": (3, 4)}
    assert second["eps"].shape == (3, 4, 3)
    assert second["eps"].abs().max() <= 0.5


def test_a_members_numbers_do_not_depend_on_the_others():
    crowd, alone = streams_of([4, 2, 7]), streams_of([2])
    for update in range(BLOCK + 2):
        for ours, theirs in zip(numbers(crowd, update, 1), numbers(alone, update, 0), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("stop", [0, 5, BLOCK, BLOCK + 3])
def test_a_loaded_state_goes_on_where_it_was_saved(stop: int):
    straight, first, second = (streams_of([1]) for _ in range(3))
    for update in range(stop):
        first.at(update)
        straight.at(update)
    second.at(0)
    second.load_state([first.state(0, stop)])
    for update in range(stop, stop + BLOCK):
        for ours, theirs in zip(numbers(second, update, 0), numbers(straight, update, 0), strict=True):
            assert torch.equal(ours, theirs)
