import math

import pytest
import torch

from bcq_exp.algorithms.form import Draw, Nets, Stage, Target, Tensors


def no_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[torch.Tensor, Tensors]:
    raise AssertionError("only the schedule is looked at")


@pytest.mark.parametrize(
    ("every", "start", "stop", "active"),
    [
        (1, 0, None, [0, 1, 2, 3, 4, 5, 6, 7]),
        (2, 0, None, [1, 3, 5, 7]),
        (3, 0, None, [2, 5]),
        (1, 3, None, [3, 4, 5, 6, 7]),
        (1, 0, 3, [0, 1, 2]),
        (1, 2, 5, [2, 3, 4]),
        (2, 3, None, [4, 6]),
        (2, 3, 6, [4]),
        (1, 3, 3, []),
    ],
)
def test_stage_steps_in_these_of_the_first_eight_updates(
    every: int, start: int, stop: int | None, active: list[int]
) -> None:
    stage = Stage(no_loss, trains=(), every=every, start=start, stop=stop)
    assert [update for update in range(8) if stage.is_active(update)] == active


@pytest.mark.parametrize(("every", "due"), [(0, []), (1, [0, 1, 2, 3, 4, 5]), (2, [1, 3, 5]), (4, [3])])
def test_target_is_synchronised_after_these_of_the_first_six_updates(every: int, due: list[int]) -> None:
    target = Target("model", rate=None, every=every)
    assert [update for update in range(6) if target.is_due(update)] == due


def test_a_pretrained_stage_hands_over_to_the_one_that_starts_where_it_stops() -> None:
    stages = Stage(no_loss, trains=(), stop=5), Stage(no_loss, trains=(), start=5)
    assert all(sum(stage.is_active(update) for stage in stages) == 1 for update in range(10))


def sample(draw: Draw, num_rows: int = 100_000) -> torch.Tensor:
    return draw.sample(num_rows, torch.Generator().manual_seed(0))


def test_normal_draws() -> None:
    drawn = sample(Draw("normal", (2,)))
    assert drawn.shape == (100_000, 2)
    assert drawn.dtype == torch.get_default_dtype()
    assert drawn.mean(0).abs().max() < 4 / math.sqrt(100_000)
    assert (drawn.std(0) - 1).abs().max() < 4 / math.sqrt(200_000)


def test_clipped_draws_pile_up_at_the_bounds_and_are_the_same_normals_between() -> None:
    """P(|z| >= 1/2) = 0.617: most of BCQ's latents lie on a bound; they are clipped, not drawn again."""
    raw, drawn = sample(Draw("normal", (2, 3))), sample(Draw("normal", (2, 3), clip=0.5))
    assert torch.equal(drawn, raw.clamp(-0.5, 0.5))
    assert float((drawn.abs() == 0.5).double().mean()) == pytest.approx(1 - math.erf(0.5 / math.sqrt(2)), abs=0.003)


def test_uniform_draws_cover_zero_to_one() -> None:
    drawn = sample(Draw("uniform", ()))
    assert drawn.shape == (100_000,)
    assert 0 <= drawn.min() < 1e-3 < 1 - 1e-3 < drawn.max() < 1
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.004)


def test_draws_take_turns_in_one_stream() -> None:
    stream, draw = torch.Generator().manual_seed(3), Draw("normal", (4,))
    first, second = draw.sample(5, stream), draw.sample(5, stream)
    assert not torch.equal(first, second)
    assert torch.equal(draw.sample(5, stream.manual_seed(3)), first)
