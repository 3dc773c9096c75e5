"""Policies that act together against each of them alone."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bcq_exp.engine import acting
from bcq_exp.engine.acting import ActingPopulation
from bcq_exp.engine.population import Population
from bcq_exp.envs.evaluation import evaluate, evaluate_together
from bcq_exp.training.experiment import make_population
from cases import checked, random_walk
from pixels import ENV, recording
from populations import ALGORITHMS, MASKED, SMALL, population_of

DISCRETE = {name for name, (typed, _) in ALGORITHMS.items() if "dataset=cartpole-noisy" in typed}


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def stacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members act as one program, whatever is quicker."""
    monkeypatch.setattr(acting, "FEWEST", 1)
    monkeypatch.setattr(acting, "is_quicker_stacked", lambda policy: True)


def trained(name: str, *typed: str) -> Population:
    """Three members; those that explore do so in a third of the steps."""
    population = population_of(name, [0, 1, 2], *(("algorithm.eval_eps=0.3",) if name in DISCRETE else ()), *typed)
    population.advance(3)
    return population


def observations(name: str, *shape: int) -> NDArray[np.float64]:
    drawn: NDArray[np.float64] = np.random.default_rng(0).normal(size=(*shape, 4 if name in DISCRETE else 3))
    return drawn


def check_against_each_alone(population: Population, obs: NDArray, mask: NDArray | None) -> None:
    """Compare the actions for observations (2, 3, N, S): in a first step of all members, in a second of two of them."""
    policies, steps = population.policies, [([0, 1, 2], obs[0]), ([2, 0], obs[1, [2, 0]])]
    masks = [None, None] if mask is None else [mask[0], mask[1, [2, 0]]]
    seeds = {member: 10 + member for member in range(3)}
    together = ActingPopulation(policies, population.nets)
    together.seed_acting(seeds)
    found = [together.compute_actions(*step, mask=own) for step, own in zip(steps, masks, strict=True)]
    for member, seed in seeds.items():
        policies[member].eval().seed_acting(seed)
    for (members, seen), own, acts in zip(steps, masks, found, strict=True):
        for row, member in enumerate(members):
            act = policies[member].compute_action(seen[row], mask=None if own is None else own[row])
            assert acts[row].shape == act.shape
            assert np.abs(acts[row] - act).max() < 1e-10
    assert len({acts.tobytes() for acts in found[0]}) == 3


@pytest.mark.parametrize(
    ("name", "typed", "has_masks"),
    [(name, (), False) for name in sorted(ALGORITHMS)] + [(name, typed, True) for name, typed in MASKED.items()],
)
@pytest.mark.usefixtures("float64", "stacked")
def test_three_members_choose_together_what_each_chooses_alone(name: str, typed: tuple[str, ...], has_masks: bool):
    obs = observations(name, 2, 3, 30)
    mask = np.eye(2)[np.random.default_rng(1).integers(2, size=(2, 3, 30))] if has_masks else None
    if mask is not None:
        mask[:, :, ::2] = 1
    check_against_each_alone(trained(name, *typed), obs, mask)


@pytest.mark.parametrize("typed", [("algorithm=td3_bc", "dataset=pendulum-noisy"), ("algorithm=dqn",)])
@pytest.mark.usefixtures("float64", "stacked")
def test_members_that_normalise_their_observations_choose_together_what_each_chooses_alone(typed: tuple[str, ...]):
    lists = [[*typed, *SMALL, "dataset.normalize_obs=true", f"seed={seed}"] for seed in range(3)]
    is_discrete = "algorithm=dqn" in typed
    population = make_population([checked(*words) for words in lists], random_walk(5, is_discrete=is_discrete))
    check_against_each_alone(population, 3 * observations("dqn" if is_discrete else "td3", 2, 3, 40), None)


@pytest.mark.parametrize("is_stacked", [True, False])
def test_members_on_images_choose_together_what_each_chooses_alone(is_stacked: bool, monkeypatch: pytest.MonkeyPatch):
    """One by one, as is quicker on a CPU, and as one program."""
    if is_stacked:
        monkeypatch.setattr(acting, "FEWEST", 1)
        monkeypatch.setattr(acting, "is_quicker_stacked", lambda policy: True)
    data = recording(3, is_perfect=False)
    typed = ("algorithm=discrete_bcq", "network=nature_cnn", "network.hidden_sizes=[8]", "batch_size=4", "dataset=h5",
             f"dataset.env={ENV}", "dataset.path=none.h5", "compile=never", "algorithm.eval_eps=0.3")  # fmt: skip
    population = make_population([checked(*typed, f"seed={seed}") for seed in range(3)], data)
    assert ActingPopulation(population.policies, population.nets).num_at_once == (3 if is_stacked else 1)
    check_against_each_alone(population, np.stack([data.obs[:6].reshape(3, 2, *data.obs.shape[1:])] * 2), None)


# The evaluation of a population against the policies' own ones. A deterministic actor, one that explores, one that
# samples few candidates, and one whose many candidates are computed member by member.
EVALUATED = {"td3_bc": (), "discrete_bcq": (), "vae_bc": (), "bear": ("algorithm.forward_sampled_times=3",), "bcq": ()}


@pytest.mark.parametrize("name", EVALUATED)
@pytest.mark.parametrize("is_stacked", [True, False])
@pytest.mark.usefixtures("float64")
def test_a_population_is_evaluated_as_its_members_are(name: str, is_stacked: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(acting, "FEWEST", 1 if is_stacked else 9)
    population, seeds = trained(name, *EVALUATED[name]), {2: 5, 0: 5, 1: 6}
    env_id = "CartPole-v1" if name in DISCRETE else "Pendulum-v1"
    found = evaluate_together(
        ActingPopulation(population.policies, population.nets), env_id, 4, seeds, max_steps=30, num_envs=3
    )
    for member, seed in seeds.items():
        alone = evaluate(population.policies[member], env_id, 4, seed, max_steps=30, num_envs=3)
        np.testing.assert_array_equal(found[member].lengths, alone.lengths)
        np.testing.assert_array_equal(found[member].returns, alone.returns)
    assert len({evaluation.mean for evaluation in found.values()}) == 3


def test_who_acts_at_random_acts_as_before_whoever_acts_beside_it():
    """A member's stream is its own: the draws of others, and their number, change nothing."""
    population, obs = trained("bear"), observations("bear", 3, 10)
    acts = []
    for members in ([0, 1, 2], [1], [1, 2]):
        together = ActingPopulation(population.policies, population.nets)
        together.seed_acting(dict.fromkeys(members, 4))
        acts.append([together.compute_actions(members, obs[members])[members.index(1)] for _ in range(2)])
    for other in acts[1:]:
        np.testing.assert_allclose(other, acts[0], rtol=1e-5)
    assert np.abs(acts[0][0] - acts[0][1]).max() > 1e-3
