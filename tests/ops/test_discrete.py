import math

import pytest
import torch
from torch import tensor

from bcq_exp.ops.discrete import (
    action_probabilities,
    among_available,
    draw_action,
    epsilon_greedy,
    expected_value,
    likely_actions,
    masked_argmax,
    take_action,
    take_candidate,
)

LOGITS = tensor([0.5, 0.2, 0.2, 0.1]).log()[None]  # relative to the largest: 1, 0.4, 0.4, 0.2
ALL, NONE = [True] * 4, [False] * 4


@pytest.mark.parametrize(
    ("threshold", "available", "expected"),
    [
        (0.0, None, ALL),
        (0.3, None, [True, True, True, False]),
        (0.5, None, [True, False, False, False]),
        (1.0, None, [True, False, False, False]),
        (0.0, [False, True, True, False], [False, True, True, False]),
        (0.3, [False, True, False, True], [False, True, False, True]),  # 0.1 / 0.2: relative to the available ones
        (1.0, [False, True, True, True], [False, True, True, False]),  # both of a tie
        (0.0, NONE, NONE),
        (0.3, NONE, NONE),
    ],
)
def test_likely_actions_by_hand(threshold: float, available: list[bool] | None, expected: list[bool]) -> None:
    available_BA = None if available is None else tensor([available])
    assert likely_actions(LOGITS, tensor(threshold), available_BA).tolist() == [expected]


def test_likely_actions_need_only_logits_up_to_a_constant_and_never_overflow() -> None:
    logits = tensor([[0.0, -1.0, -50.0], [900.0, 899.0, -900.0]])
    assert likely_actions(logits, tensor(math.exp(-1.01)), None).tolist() == [[True, True, False]] * 2


@pytest.mark.parametrize(
    ("mask", "expected"), [(None, 2), ([True, True, False], 1), ([True, False, False], 0), ([False] * 3, 0)]
)
def test_masked_argmax_by_hand(mask: list[bool] | None, expected: int) -> None:
    value = tensor([[-7.0, -5.0, 3.0]])
    assert masked_argmax(value, None if mask is None else tensor([mask])).tolist() == [expected]


def test_take_action_takes_each_rows_own() -> None:
    assert take_action(tensor([[1.0, 2.0], [3.0, 4.0]]), tensor([1, 0])).tolist() == [2.0, 3.0]


def test_epsilon_greedy_explores_strictly_below_epsilon() -> None:
    uniform_B, uniform_BA = tensor([0.0, 0.29, 0.3, 0.99]), tensor([[0.1, 0.8, 0.9]] * 4)
    mask_BA = tensor([[True, True, True], [True, True, False], [True] * 3, [True] * 3])
    greedy_B = tensor([0, 0, 0, 0])
    assert epsilon_greedy(greedy_B, tensor(0.3), uniform_B, uniform_BA, None).tolist() == [2, 2, 0, 0]
    assert epsilon_greedy(greedy_B, tensor(0.3), uniform_B, uniform_BA, mask_BA).tolist() == [2, 1, 0, 0]
    assert epsilon_greedy(greedy_B, tensor(0.0), uniform_B, uniform_BA, None).tolist() == [0, 0, 0, 0]
    assert epsilon_greedy(greedy_B, tensor(1.0), uniform_B, uniform_BA, None).tolist() == [2, 2, 2, 2]


def test_exploration_is_uniform_among_the_available_actions() -> None:
    generator = torch.Generator().manual_seed(0)
    uniform_B, uniform_BA = torch.rand(30_000, generator=generator), torch.rand(30_000, 4, generator=generator)
    mask_BA = tensor([True, False, True, True]).expand(30_000, -1)
    counts = epsilon_greedy(torch.zeros(30_000).long(), tensor(1.0), uniform_B, uniform_BA, mask_BA).bincount()
    assert counts[1] == 0
    assert (counts[[0, 2, 3]] - 10_000).abs().max() < 4 * math.sqrt(30_000 * 2 / 9)  # four standard deviations


def test_action_probabilities_are_a_softmax_among_the_available_actions() -> None:
    logits, mask = torch.tensor([[1.0, 2.0, 3.0]]).log(), tensor([[True, False, True]])
    assert action_probabilities(logits, None).tolist() == [pytest.approx([1 / 6, 2 / 6, 3 / 6])]
    assert action_probabilities(logits, mask).tolist() == [pytest.approx([1 / 4, 0, 3 / 4])]
    assert action_probabilities(logits, tensor([[False] * 3])).isnan().all()


@pytest.mark.parametrize("worth", [5.0, math.inf, math.nan])
def test_what_is_not_available_has_neither_a_say_nor_a_gradient(worth: float) -> None:
    value, mask = tensor([[1.0, worth, 3.0]], requires_grad=True), tensor([[True, False, True]])
    assert among_available(value, None) is value
    total = among_available(value, mask).logsumexp(-1)
    assert total.item() == pytest.approx(math.log(math.e + math.e**3))
    (gradient,) = torch.autograd.grad(total, value)
    assert gradient.tolist() == [pytest.approx([1 / (1 + math.e**2), 0, 1 / (1 + math.e**-2)])]


@pytest.mark.parametrize("worth", [5.0, math.inf, -math.inf, math.nan])
def test_expected_value_by_hand_whatever_an_action_of_probability_0_is_worth(worth: float) -> None:
    assert expected_value(tensor([[0.25, 0.0, 0.75]]), tensor([[8.0, worth, 4.0]])).tolist() == [5.0]


@pytest.mark.parametrize(
    ("uniform", "expected"), [(0.0, 1), (0.249, 1), (0.25, 3), (0.5, 3), (0.999, 3), (1 - 2**-24, 3)]
)
def test_drawn_action_by_hand(uniform: float, expected: int) -> None:
    assert draw_action(tensor([[0.0, 0.25, 0.0, 0.75, 0.0]]), tensor([uniform])).tolist() == [expected]


def test_drawn_actions_have_their_probabilities() -> None:
    probs = tensor([0.1, 0.6, 0.3])
    uniform_B = (torch.arange(1000) + 0.5) / 1000
    drawn = draw_action(probs.expand(1000, -1), uniform_B).bincount() / 1000
    torch.testing.assert_close(drawn, probs, atol=1e-3, rtol=0)


def test_a_candidate_is_taken_whole() -> None:
    act_BNA = torch.arange(12.0).view(2, 3, 2)
    assert take_candidate(act_BNA, tensor([2, 0])).tolist() == [[4.0, 5.0], [6.0, 7.0]]
