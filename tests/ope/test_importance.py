import itertools

import numpy as np
import pytest

from bcq_exp.ope.importance import (
    Episodes,
    effective_sample_size,
    mean_over_episodes,
    weighted_doubly_robust,
    weighted_importance_sampling,
    weights,
)

# Two episodes, of two rows and of one; the policy takes their actions 2, 1/2 and 3 times as often as the behaviour.
REW = np.array([1.0, 2.0, 4.0])
LOG_RATIO = np.log([2.0, 0.5, 3.0])
TWO = Episodes.of(np.array([2, 1]))
NONE = np.zeros(3)
ONCE = np.ones((1, 2))


def test_weighted_importance_sampling_by_hand():
    # rho = (1, 3), so w = (1/4, 3/4); returns 1 + 2/2 = 2 and 4.
    assert weights(LOG_RATIO, TWO) == pytest.approx([0.25, 0.75])
    assert weighted_importance_sampling(REW, LOG_RATIO, TWO, 0.5, ONCE) == pytest.approx(3.5)
    assert effective_sample_size(weights(LOG_RATIO, TWO)) == pytest.approx(1.6)  # 1 / (1/16 + 9/16)


def test_without_a_model_the_doubly_robust_estimate_weighs_each_step():
    # At t = 0: rho = (2, 3), 0.4 * 1 + 0.6 * 4. At t = 1: rho = (1, 3), the ended episode keeps 3: 0.5 * 0.25 * 2.
    found = weighted_doubly_robust(REW, LOG_RATIO, TWO, 0.5, ONCE, q_N=NONE, value_N=NONE, value_next_N=NONE)
    assert found == pytest.approx(2.8 + 0.25)


def test_the_doubly_robust_estimate_by_hand():
    # Errors 1 + 2/2 - 1 = 1, 2 - 1 = 1 and 4 - 1 = 3; first states are worth (1 + 3) / 2.
    found = weighted_doubly_robust(
        REW, LOG_RATIO, TWO, 0.5, ONCE, q_N=np.ones(3), value_N=np.array([1.0, 2.0, 3.0]),
        value_next_N=np.array([2.0, 0.0, 0.0]),
    )  # fmt: skip
    assert found == pytest.approx(2 + (0.4 * 1 + 0.6 * 3) + 0.5 * 0.25 * 1)


def test_the_doubly_robust_estimate_is_the_published_sum():
    rng = np.random.default_rng(0)
    lengths, gamma = rng.integers(1, 6, size=7), 0.9
    episodes, num = Episodes.of(lengths), lengths.sum()
    rew, log_ratio, q, value = (rng.normal(size=num) for _ in range(4))
    ends = np.cumsum(lengths) - 1
    value_next = np.append(value[1:], 0.0)
    value_next[ends] = 0.0  # terminal

    rho = np.ones((lengths.max(), len(lengths)))
    for i, (start, length) in enumerate(zip(episodes.starts_E, lengths, strict=True)):
        for t in range(lengths.max()):
            rho[t, i] = np.exp(log_ratio[start : start + min(t + 1, length)].sum())
    w = rho / rho.sum(1, keepdims=True)
    expected = 0.0
    for i, (start, length) in enumerate(zip(episodes.starts_E, lengths, strict=True)):
        for t in range(length):
            before = w[t - 1, i] if t else 1 / len(lengths)
            row = start + t
            expected += gamma**t * (w[t, i] * rew[row] - (w[t, i] * q[row] - before * value[row]))
    found = weighted_doubly_robust(
        rew, log_ratio, episodes, gamma, np.ones((1, 7)), q_N=q, value_N=value, value_next_N=value_next
    )
    assert found == pytest.approx(expected, rel=1e-12)


# A tree: two actions in the first state lead to the states 1 and 2, whose actions end it. The behaviour chooses evenly,
# so that each of its four ways once is exactly how often it takes them.
WAYS = list(itertools.product((0, 1), repeat=2))
PI = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])  # of the states 0, 1, 2
REWARD = np.array([[1.0, -1.0], [2.0, 5.0], [3.0, 7.0]])
GAMMA = 0.8
TRUE_Q = np.array([REWARD[0] + GAMMA * (PI[1:] * REWARD[1:]).sum(1), REWARD[1], REWARD[2]])
TRUTH = float(PI[0] @ TRUE_Q[0])
STATE = np.array([s for first, _ in WAYS for s in (0, 1 + first)])
ACT = np.array([a for way in WAYS for a in way])
TREE = Episodes.of(np.full(4, 2))


def tree(ratio_error: float, q_SA: np.ndarray) -> dict[str, float]:
    """All estimates of the tree: with log ratios that are off by so much, and with those values as the model."""
    rew, log_ratio = REWARD[STATE, ACT], np.log(PI[STATE, ACT] / 0.5)
    log_ratio = log_ratio + ratio_error * np.arange(len(log_ratio))
    value = (PI * q_SA).sum(1)
    value_next = np.where(STATE == 0, value[1 + ACT], 0.0)
    model = {"q_N": q_SA[STATE, ACT], "value_N": value[STATE], "value_next_N": value_next}
    nothing = dict.fromkeys(model, np.zeros(8))
    columns = rew, log_ratio, TREE, GAMMA, np.ones((1, 4))
    return {
        "wis": float(weighted_importance_sampling(*columns)[0]),
        "pdwis": float(weighted_doubly_robust(*columns, **nothing)[0]),
        "dr": float(weighted_doubly_robust(*columns, **model)[0]),
    }


def test_with_true_propensities_every_estimate_is_the_true_value_whatever_the_model():
    assert tree(0.0, np.random.default_rng(0).normal(size=(3, 2))) == pytest.approx(
        {"wis": TRUTH, "pdwis": TRUTH, "dr": TRUTH}, rel=1e-12
    )


def test_with_true_values_the_doubly_robust_estimate_is_true_whatever_the_propensities():
    found = tree(0.5, TRUE_Q)
    assert found["dr"] == pytest.approx(TRUTH, rel=1e-12)
    assert abs(found["wis"] - TRUTH) > 0.05
    assert abs(found["pdwis"] - TRUTH) > 0.05


def test_the_behaviour_itself_has_equal_weights():
    lengths = np.array([3, 1, 4])
    even = weights(np.zeros(8), Episodes.of(lengths))
    assert effective_sample_size(even) == pytest.approx(3)
    rew = np.arange(8.0)
    assert weighted_importance_sampling(rew, np.zeros(8), Episodes.of(lengths), 1.0, np.ones((1, 3))) == pytest.approx(
        28 / 3
    )


def test_ratios_that_no_number_can_hold_are_weighed():
    # exp(-2000) is 0 and exp(2000) infinite in float64; what counts is that one is e times the other.
    for size in (-1000.0, 1000.0):
        found = weights(np.array([size, size, 2 * size + 1.0]), TWO)
        assert found == pytest.approx([1 / (1 + np.e), np.e / (1 + np.e)])


def test_episodes_that_the_policy_can_not_make_do_not_count_and_without_any_nothing_is_known():
    some = np.array([0.0, -np.inf, 0.0])
    assert weights(some, TWO) == pytest.approx([0, 1])
    assert weighted_importance_sampling(REW, some, TWO, 0.5, ONCE) == pytest.approx(4)
    none = np.full(3, -np.inf)
    assert np.isnan(weighted_importance_sampling(REW, none, TWO, 0.5, ONCE))
    assert np.isnan(effective_sample_size(weights(none, TWO)))
    assert np.isnan(weighted_doubly_robust(REW, none, TWO, 0.5, ONCE, q_N=NONE, value_N=NONE, value_next_N=NONE))


def repeated(counts: np.ndarray, lengths: np.ndarray, *columns: np.ndarray) -> tuple[Episodes, list[np.ndarray]]:
    """The recording with each episode as often as it counts."""
    starts = Episodes.of(lengths).starts_E
    order = [i for i, count in enumerate(counts) for _ in range(int(count))]
    rows = np.concatenate([np.arange(starts[i], starts[i] + lengths[i]) for i in order])
    return Episodes.of(lengths[order]), [column[rows] for column in columns]


def test_an_episode_that_counts_twice_is_as_one_that_was_recorded_twice():
    rng = np.random.default_rng(3)
    lengths, gamma = np.array([3, 1, 4, 2]), 0.9
    columns = [rng.normal(size=10) for _ in range(5)]
    counts = np.array([[2.0, 0, 1, 1], [0, 3, 0, 1], [1, 1, 1, 1]])
    rew, log_ratio, q, value, value_next = columns
    model = {"q_N": q, "value_N": value, "value_next_N": value_next}
    wis = weighted_importance_sampling(rew, log_ratio, Episodes.of(lengths), gamma, counts)
    dr = weighted_doubly_robust(rew, log_ratio, Episodes.of(lengths), gamma, counts, **model)
    for row, found_wis, found_dr in zip(counts, wis, dr, strict=True):
        episodes, (rew_, ratio_, *rest) = repeated(row, lengths, *columns)
        once = np.ones((1, len(episodes.lengths_E)))
        assert found_wis == pytest.approx(weighted_importance_sampling(rew_, ratio_, episodes, gamma, once)[0])
        model_ = dict(zip(model, rest, strict=True))
        assert found_dr == pytest.approx(weighted_doubly_robust(rew_, ratio_, episodes, gamma, once, **model_)[0])


def test_draws_take_as_many_episodes_as_there_are_and_their_mean_has_the_known_deviation(monkeypatch):
    episodes = Episodes.of(np.full(50, 2))
    counts = np.concatenate(list(episodes.draws(4000, seed=0)))
    assert counts.shape == (4000, 50)
    assert (counts.sum(1) == 50).all()
    values = np.random.default_rng(1).normal(size=50)
    assert mean_over_episodes(values, counts).std() == pytest.approx(values.std() / 50**0.5, rel=0.05)
    monkeypatch.setattr("bcq_exp.ope.importance.BLOCK", 50 * 1500)  # what is drawn does not depend on the blocks
    blocks = list(episodes.draws(4000, seed=0))
    assert [len(block) for block in blocks] == [1500, 1500, 1000]
    assert np.array_equal(np.concatenate(blocks), counts)
