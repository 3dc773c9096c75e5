from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.optim import Adam

from bcq_exp.networks import MLP, Critic
from bcq_exp.ope.fitted_q import FittedQ, NumberedBuffer, fitted_values
from bcq_exp.ope.fitting import Fitting

GAMMA = 0.5
# A chain of three states; action 1 moves on, action 0 stays. Moving on from the last one ends it, with a reward of 4;
# staying there is where a time limit cuts, which ends nothing.
STATES = np.eye(3, dtype=np.float32)
ROWS = [  # state, action, reward, next state, terminated, truncated
    (0, 0, 1.0, 0, False, False),
    (0, 1, 0.0, 1, False, False),
    (1, 0, 1.0, 1, False, False),
    (1, 1, 0.0, 2, False, False),
    (2, 0, 1.0, 2, False, True),
    (2, 1, 4.0, 2, True, False),
]


def chain() -> NumberedBuffer:
    state, act, rew, state_next, terminated, truncated = map(np.array, zip(*ROWS, strict=True))
    return NumberedBuffer(
        obs=STATES[state], act=act, rew=rew.astype(np.float32), terminated=terminated, truncated=truncated,
        obs_next=STATES[state_next],
    )  # fmt: skip


def fitting(space: gym.Space, **changed) -> Fitting:
    settings = {"num_updates": 1500, "batch_size": 16, "seed": 0, "statistics": None} | changed
    return Fitting(
        make_optimizer=partial(Adam, lr=0.05),
        make_schedule=lambda optimizer: None,
        is_compiled=False,
        device=torch.device("cpu"),
        action_space=space,
        obs_eps=1e-3,
        **settings,
    )


def table_like() -> MLP:
    return MLP(3, 2, hidden_sizes=[], activation="relu")


def fit_chain(pi_SA: list[torch.Tensor], **changed) -> list[FittedQ | None]:
    buffer = chain()
    next_states = [row[3] for row in ROWS]
    return fitted_values(
        buffer, [pi[next_states] for pi in pi_SA], table_like, fitting(gym.spaces.Discrete(2), **changed), "chain",
        gamma=GAMMA, target_update_freq=10,
    )  # fmt: skip


ON = torch.tensor([[0.0, 1.0]] * 3)
STAY = torch.tensor([[1.0, 0.0]] * 3)
MIXED = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.5, 0.5]])


@pytest.fixture(scope="module")
def members() -> list[FittedQ | None]:
    return fit_chain([ON, STAY, MIXED])


@pytest.mark.parametrize(
    ("member", "pi_SA", "values"),
    [
        (0, ON, [1.0, 2.0, 4.0]),  # 4 at the end, halved for each step before it
        (1, STAY, [2.0, 2.0, 2.0]),  # 1 for ever, through the time limit as well: 1 / (1 - 1/2)
        (2, MIXED, [10 / 12, 10 / 6, 10 / 3]),  # V = (1 + V/2) / 2 + 4 / 2 in the last state
    ],
    ids=["member0", "member1", "member2"],
)
def test_values_on_a_chain_are_those_worked_by_hand(members, member: int, pi_SA: torch.Tensor, values: list[float]):
    assert members[member].of_states(STATES, pi_SA) == pytest.approx(values, abs=1e-3)


def test_action_values_are_those_of_taking_the_action_first(members):
    # Staying once and then moving on: 1 + V/2. The end is worth its reward alone.
    found = members[0].of_actions(STATES[[0, 1, 2, 2]], torch.tensor([0, 0, 0, 1]))
    assert found == pytest.approx([1.5, 2.0, 3.0, 4.0], abs=1e-3)


def test_a_member_of_a_population_is_fitted_as_it_is_alone(members):
    (alone,) = fit_chain([STAY])
    every = [STATES[[0, 0, 1, 1, 2, 2]], torch.tensor([0, 1] * 3)]
    assert alone.of_actions(*every) == pytest.approx(members[1].of_actions(*every), abs=1e-4)


def test_members_differ_in_their_policy_alone():
    one, other = fit_chain([STAY, STAY], num_updates=20)
    assert (one.of_states(STATES, STAY) == other.of_states(STATES, STAY)).all()


def test_standardised_observations_are_values_of_the_same_states():
    statistics = STATES.mean(0).astype(float), STATES.std(0).astype(float)
    (found,) = fit_chain([ON], statistics=statistics)
    assert found.of_states(STATES, ON) == pytest.approx([1.0, 2.0, 4.0], abs=1e-2)


def test_a_loss_that_is_not_finite_leaves_nothing():
    bad = STAY.clone()
    bad[0] = torch.nan
    good, none = fit_chain([STAY, bad], num_updates=100)
    assert none is None
    assert np.isfinite(good.of_states(STATES, STAY)).all()


def test_what_stands_in_a_terminal_row_does_not_matter():
    table = ON.clone()[[row[3] for row in ROWS]]
    table[5] = torch.nan
    (found,) = fitted_values(
        chain(), [table], table_like, fitting(gym.spaces.Discrete(2)), "chain", gamma=GAMMA, target_update_freq=10
    )
    assert found.of_states(STATES, ON) == pytest.approx([1.0, 2.0, 4.0], abs=1e-3)


def test_a_continuous_action_is_valued_where_the_policy_takes_it():
    # One state, one step: the reward is the action, so Q(s, a) = a and the policy that does 0.5 is worth 0.5.
    rng = np.random.default_rng(0)
    act = rng.uniform(-1, 1, (64, 1)).astype(np.float32)
    obs = np.ones((64, 1), np.float32)
    buffer = NumberedBuffer(obs=obs, act=act, rew=act[:, 0], terminated=np.ones(64, bool),
                            truncated=np.zeros(64, bool), obs_next=obs)  # fmt: skip
    critic = partial(Critic, 1, 1, hidden_sizes=[], activation="relu")
    (found,) = fitted_values(
        buffer, [torch.full((64, 1), 9.0)], critic, fitting(gym.spaces.Box(-1, 1, (1,)), num_updates=500), "step",
        gamma=GAMMA, target_update_freq=10,
    )  # fmt: skip
    assert found.of_states(obs[:2], torch.tensor([[0.5], [-1.0]])) == pytest.approx([0.5, -1.0], abs=1e-2)
