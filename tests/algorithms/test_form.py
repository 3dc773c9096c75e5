import math
import re

import pytest
import torch

from bcq_exp.algorithms.form import Algorithm, Draw, Nets, Stage, Target, Tensors, rare_copies


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


def copied(*every: int, rate: str | None = None, num_steps: int = 1) -> Algorithm:
    targets = {f"net{number}": Target("net", rate, freq) for number, freq in enumerate(every)}
    return Algorithm((), targets, act=lambda *_: {}, swept=frozenset({"gamma"}), num_steps=num_steps)


@pytest.mark.parametrize(
    ("every", "gamma", "num_steps", "num_updates", "said"),
    [
        (8000, 0.99, 1, 20_000, "copied 2 times in 20000 updates, so values see 3 steps ahead, .* weighs 97% "),
        (8000, 0.99, 1, 8000, "copied 1 time in 8000 updates, so values see 1 step ahead, .* weighs 99% "),
        (8000, 0.99, 3, 7999, "copied 0 times in 7999 updates, so values see 3 steps ahead, .* weighs 97% "),
        (
            100,
            0.99,
            1,
            29_800,
            "copied 298 times .* see 298 steps ahead, .* weighs 5% ",
        ),  # 0.99 ** 298 = 0.05003, ** 299 = 0.04953
        (100, 0.99, 1, 29_900, None),
        (300, 0.99, 3, 29_900, None),  # a hundred windows of three steps
        (100, 0.9, 1, 3000, None),
        (8000, 0.0, 1, 10, None),  # no future
        (8000, 1.0, 1, 10_000, None),  # it is not known how long episodes are
        (8000, 1.0, 1, 7999, "copied 0 times in 7999 updates, .* weighs 100% with gamma=1;"),
        (0, 0.99, 1, 10, None),  # no copy: the target is the network itself
    ],
)
def test_a_target_that_is_copied_too_rarely_for_the_discount_is_said_with_the_figure(
    every: int, gamma: float, num_steps: int, num_updates: int, said: str | None
) -> None:
    lines = rare_copies(copied(every, num_steps=num_steps), {"gamma": torch.tensor(gamma)}, num_updates)
    assert len(lines) == (said is not None)
    if said is not None:
        assert re.search(rf"^target_update_freq={every}: the target of net0 is {said}", lines[0])


def test_rare_copies_are_told_of_the_largest_discount_and_once_a_period() -> None:
    gamma_P = torch.tensor([0.5, 0.99, 0.9])
    (line,) = rare_copies(copied(50, 50), {"gamma": gamma_P}, 100)
    assert "the target of net0, net1 is copied 2 times" in line
    assert "with gamma=0.99" in line
    assert rare_copies(copied(1, 1, rate="tau"), {"gamma": gamma_P}, 100) == []


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
