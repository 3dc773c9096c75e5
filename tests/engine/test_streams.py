import pytest
import torch

from bcq_exp.algorithms.form import Draw, Stage
from bcq_exp.data.growth import Growth
from bcq_exp.engine.streams import BLOCK, Streams

NOISE = {"eps": Draw("normal", (2,)), "z": Draw("uniform", ())}


def streams_of(seeds: list[int], growth: Growth | None = None) -> Streams:
    stages = (Stage(None, ("a",), NOISE), Stage(None, ("b",), {"eps": Draw("normal", (3,), clip=0.5)}, every=2))
    generators = [[torch.Generator().manual_seed(10 * kind + seed) for seed in seeds] for kind in range(2)]
    return Streams(*generators, stages, num_rows=50, batch_size=4, growth=growth)


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


def test_a_growing_dataset_gives_only_rows_that_are_there():
    growth, last = Growth(start=3, rate=0.5), 2 * BLOCK
    streams = streams_of([5], growth)
    rows = torch.stack([streams.at(update)[0][0] for update in range(last)])
    there = torch.tensor([min(3 + update // 2, 50) for update in range(last)])
    assert (rows < there[:, None]).all()
    # Each row that is there is as likely as any other: the mean of rows / there is a half.
    uniform = (rows + 0.5) / there[:, None]
    assert abs(uniform.mean() - 0.5) < 4 * (1 / 12 / uniform.numel()) ** 0.5
    assert rows[94:].max() == 49


@pytest.mark.parametrize("stop", [0, 5, BLOCK, BLOCK + 3])
def test_a_growing_dataset_goes_on_where_it_was_saved(stop: int):
    growth = Growth(start=3, rate=0.25)
    straight, first, second = (streams_of([1], growth) for _ in range(3))
    expected = [straight.at(update)[0] for update in range(BLOCK + 10)]
    for update in range(stop):
        first.at(update)
    second.load_state([first.state(0, stop)])
    for update in range(stop, BLOCK + 10):
        assert torch.equal(second.at(update)[0], expected[update])


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
