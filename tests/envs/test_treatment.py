import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from bcq_exp.envs.environments import make_env, spaces
from bcq_exp.envs.masks import gives_masks
from bcq_exp.envs.treatment import NUM_STEPS, Patient, Treatment, dose_of, levels_of

ENV = "bcq_exp/Treatment-v0"


def test_doses_are_numbered_by_fluid_then_vasopressor() -> None:
    assert (dose_of(0, 0), dose_of(0, 4), dose_of(1, 0), dose_of(4, 4)) == (0, 4, 5, 24)
    assert [levels_of(dose) for dose in (0, 4, 5, 24)] == [(0, 0), (0, 4), (1, 0), (4, 4)]


def test_a_dose_by_hand() -> None:
    """0.9 * 0.8 = 0.72; 0.5 * 0.6 + 0.85 * 0.72 - 0.14 * 2 * 0.75 - 0.12 * 3 = 0.342; 0.8 * 0.25 + 0.14 = 0.34;
    0.7 * 0.1 + 0.025 * 9 = 0.295."""
    patient = Patient(infection=0.8, shock=0.6, overload=0.25, ischaemia=0.1, vasopressor=1, step=4)
    after = patient.after(dose_of(2, 3))
    assert after == pytest.approx((0.72, 0.342, 0.34, 0.295, 3, 5))
    assert after.risk == pytest.approx(1 / (1 + np.exp(8.5 - 7 * 0.342 - 5 * 0.34 - 5 * 0.295)))
    np.testing.assert_allclose(after.vitals, [85 - 50 * 0.342, 1 + 9 * 0.72, 0.34, 0.295, 3, 20], rtol=1e-6)


def test_noise_is_added_and_states_stay_in_their_range() -> None:
    """The noise of the infection reaches the shock: 0.5 * 0.2 + 0.85 * (0.45 + 0.1) - 0.05 = 0.5175."""
    assert Patient(0.5, 0.2).after(0, (0.1, -0.05))[:2] == pytest.approx((0.55, 0.5175))
    assert Patient(1.0, 1.0).after(0, (1.0, 1.0))[:2] == (1, 1)
    assert Patient(0.0, 0.0).after(dose_of(0, 4), (-1.0, -1.0))[:2] == (0, 0)


@pytest.mark.parametrize(
    ("patient", "fluids", "vasopressors"),
    [
        (Patient(0, 0), range(5), range(3)),
        (Patient(0, 0, vasopressor=2), range(5), range(5)),
        (Patient(0, 0, overload=0.6, vasopressor=4), range(5), range(2, 5)),
        (Patient(0, 0, overload=0.61, vasopressor=4), range(3), range(2, 5)),
    ],
)
def test_the_wards_rules(patient: Patient, fluids: range, vasopressors: range) -> None:
    expected = {dose_of(fluid, vasopressor) for fluid in fluids for vasopressor in vasopressors}
    assert set(np.flatnonzero(patient.available)) == expected


def test_an_unavailable_dose_is_refused() -> None:
    env = Treatment()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="dose 4 is not available"):
        env.step(np.int64(dose_of(0, 4)))


def test_a_return_is_one_for_a_patient_who_lives_three_days() -> None:
    env, ends = make_env(ENV), set()
    for seed in range(30):
        _, info = env.reset(seed=seed)
        total, num_steps, has_ended = 0.0, 0, False
        while not has_ended:
            assert info["action_mask"][6]
            _, rew, has_ended, truncated, info = env.step(6)
            assert not truncated
            total, num_steps = total + rew, num_steps + 1
        ends.add((total, num_steps == NUM_STEPS))
    assert {(1.0, True), (0.0, False)} <= ends <= {(1.0, True), (0.0, False), (0.0, True)}


def test_death_comes_with_its_risk() -> None:
    """Untreated patients die within four hours as often as the formula says, over 4,000 of them."""
    env, deaths, risks = Treatment(), [], []
    for seed in range(4000):
        env.reset(seed=seed)
        deaths.append(env.step(np.int64(0))[2])
        risks.append(env.patient.risk)
    assert abs(np.mean(deaths) - np.mean(risks)) < 3 * np.std(deaths) / 4000**0.5


def test_it_is_registered_and_has_masks() -> None:
    observation_space, action_space = spaces(ENV)
    assert observation_space.shape == (6,)
    assert action_space == gym.spaces.Discrete(25)
    assert gives_masks(ENV)
    env = Treatment()
    env.reset(seed=1)
    assert env.observation_space.contains(env.step(np.int64(0))[0])


@pytest.mark.filterwarnings("ignore")
def test_gymnasium_finds_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its check draws from the action space, which knows no masks: here every dose is available."""
    monkeypatch.setattr(Patient, "available", property(lambda patient: np.ones(25, np.bool_)))
    check_env(Treatment(), skip_render_check=True)
