"""A small simulated treatment of patients in shock: 25 doses, masks, and an outcome at the end alone.

It is made up, and no model of any illness. What it shares with logs of intensive care (arXiv:1811.12927 looks at such
ones) is their form: two drugs in five levels, vital signs every four hours, and survival as the only reward.
"""

import math
from typing import Any, NamedTuple, Self

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from bcq_exp.envs.observations import MASK

LEVELS = 5  # of each drug
NUM_DOSES = LEVELS * LEVELS
NUM_STEPS = 18  # of four hours: three days
HOURS = 4
VITALS = ("pressure", "lactate", "overload", "ischaemia", "vasopressor", "hour")
LARGEST_STEP = 2  # levels by which the vasopressor may change at once
OVERLOADED, OVERLOADED_FLUID = 0.6, 2  # above that overload no more fluid than this
NOISE = (0.06, 0.10)  # deviations of what happens to the infection and the pressure by itself
# The doses' names, by their numbers.
DOSES = tuple(f"F{fluid} V{vasopressor}" for fluid in range(LEVELS) for vasopressor in range(LEVELS))


def dose_of(fluid: int, vasopressor: int) -> int:
    """The number of a dose, of two levels from 0 to 4."""
    return LEVELS * fluid + vasopressor


def levels_of(dose: int) -> tuple[int, int]:
    """The levels of fluid and vasopressor of a dose, 0 to 24."""
    return dose // LEVELS, dose % LEVELS


class Patient(NamedTuple):
    """A patient's state, from 0 (well) to 1 (as bad as it gets), before a dose.

    Args:
        infection: its severity, which drives the shock and is seen as lactate.
        shock: lack of blood pressure.
        overload: fluid in the tissues.
        ischaemia: lack of blood in hands, feet and gut.
        vasopressor: level of the last dose, 0 to 4.
        step: doses so far.
    """

    infection: float
    shock: float
    overload: float = 0.0
    ischaemia: float = 0.0
    vasopressor: int = 0
    step: int = 0

    def after(self, dose: int, noise: tuple[float, float] = (0.0, 0.0)) -> Self:
        """The state four hours later.

            infection' = 0.9 infection + noise_1
            shock'     = 0.5 shock + 0.85 infection' - 0.14 fluid (1 - overload) - 0.12 vasopressor + noise_2
            overload'  = 0.8 overload + 0.07 fluid
            ischaemia' = 0.7 ischaemia + 0.025 vasopressor^2

        Each is cut to [0, 1]. Fluid works less the more of it there is, and a high vasopressor harms four times as much
        as one of half that level: much of either is worse than some of both.

        Args:
            dose: 0 to 24.
            noise: added to infection and shock.
        """
        fluid, vasopressor = levels_of(dose)
        infection = cut(0.9 * self.infection + noise[0])
        relief = 0.14 * fluid * (1 - self.overload) + 0.12 * vasopressor
        return self._replace(
            infection=infection,
            shock=cut(0.5 * self.shock + 0.85 * infection - relief + noise[1]),
            overload=cut(0.8 * self.overload + 0.07 * fluid),
            ischaemia=cut(0.7 * self.ischaemia + 0.025 * vasopressor**2),
            vasopressor=vasopressor,
            step=self.step + 1,
        )

    @property
    def risk(self) -> float:
        """The probability of death in the four hours that led here:

        1 / (1 + exp(8.5 - 7 shock - 5 overload - 5 ischaemia)).
        """
        return 1 / (1 + math.exp(8.5 - 7 * self.shock - 5 * self.overload - 5 * self.ischaemia))

    @property
    def available(self) -> NDArray[np.bool_]:
        """The doses that the ward's rules allow, (25,): see `LARGEST_STEP` and `OVERLOADED`."""
        fluid, vasopressor = np.divmod(np.arange(NUM_DOSES), LEVELS)
        is_slow = np.abs(vasopressor - self.vasopressor) <= LARGEST_STEP
        return np.asarray(is_slow & ((self.overload <= OVERLOADED) | (fluid <= OVERLOADED_FLUID)))

    @property
    def vitals(self) -> NDArray[np.float32]:
        """What is measured, (6,): mean arterial pressure (mmHg), lactate (mmol/l), overload and ischaemia (0 to 1), the
        last vasopressor level, and hours since admission."""
        pressure, lactate = 85 - 50 * self.shock, 1 + 9 * self.infection
        hour = HOURS * self.step
        return np.array([pressure, lactate, self.overload, self.ischaemia, self.vasopressor, hour], np.float32)


def cut(value: float) -> float:
    """The value, or the nearer end of [0, 1]."""
    return min(max(value, 0.0), 1.0)


class Treatment(gym.Env[NDArray[np.float32], np.int64]):
    """Patients in shock, a dose of fluid and vasopressor every four hours for three days.

    Actions are the 25 doses of `dose_of`. Observations are `Patient.vitals`, which hide nothing but the noise. The
    reward is 1 in the last step of a patient who lives to its end, and 0 in every other, so a policy's return is the
    share of patients who live. Death ends the episode. `info["action_mask"]` has the doses that are available.
    """

    def __init__(self) -> None:
        high = np.array([85, 10, 1, 1, LEVELS - 1, HOURS * NUM_STEPS], np.float32)
        self.observation_space = gym.spaces.Box(np.array([35, 1, 0, 0, 0, 0], np.float32), high)
        self.action_space = gym.spaces.Discrete(NUM_DOSES)
        self.patient = Patient(0, 0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Admit a patient, whose infection and shock are uniform in [0.4, 1] and [0.2, 0.8]."""
        super().reset(seed=seed, options=options)
        self.patient = Patient(float(self.np_random.uniform(0.4, 1.0)), float(self.np_random.uniform(0.2, 0.8)))
        return self.patient.vitals, {MASK: self.patient.available}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Give a dose; raises ValueError for one that is not available."""
        if not self.patient.available[action]:
            raise ValueError(f"dose {action} is not available to {self.patient}")
        infection, shock = (float(self.np_random.normal(0, deviation)) for deviation in NOISE)
        self.patient = self.patient.after(int(action), (infection, shock))
        has_died = bool(self.np_random.random() < self.patient.risk)
        has_lived = not has_died and self.patient.step == NUM_STEPS
        return self.patient.vitals, float(has_lived), has_died or has_lived, False, {MASK: self.patient.available}
