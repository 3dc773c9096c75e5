"""Write a log of the simulated treatment, as a table.

Of 5,000 patients each, 35 % live with doses at random, 64 % with the habits of the log and 82 % with the rule
`informed`; the standard errors are 0.7 points at most.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bcq_exp.data.formats.tables.arrow import check_new, write
from bcq_exp.envs.treatment import DOSES, LEVELS, NUM_DOSES, VITALS, Patient, Treatment
from bcq_exp.io.arguments import Parser

Rule = Callable[[Patient, np.random.Generator], int]

EXAMPLES = ("LOG.csv", "LOG.parquet", "LOG.csv --patients 500 --seed 1")
NUM_PATIENTS = 2000
OFF_PROTOCOL = 0.05  # share of the doses that are drawn from all available ones, most of which are rare otherwise
SPREAD = 0.6  # levels, around the dose that a habit means
PREFIX = "may "  # of a dose's name: the column that says whether it is available
FLUID, VASOPRESSOR = np.divmod(np.arange(NUM_DOSES), LEVELS)


def at_random(patient: Patient, rng: np.random.Generator) -> int:
    """Any available dose."""
    return int(rng.choice(np.flatnonzero(patient.available)))


def habit(rng: np.random.Generator) -> Rule:
    """A clinician's rule: more of both drugs the worse the patient, by habit rather of fluid or of vasopressor.

    The habit h, uniform in [0, 1], means the levels fluid = 1 + 4 h need and vasopressor = 3 (1 - h) need with need =
    shock + infection / 2; a dose is drawn with a probability that falls as the normal density with its distance. So
    everybody gets fluid, and most get more of it than does them good.

    Args:
        rng: draws the habit.
    """
    share = rng.random()

    def choose(patient: Patient, rng: np.random.Generator) -> int:
        if rng.random() < OFF_PROTOCOL:
            return at_random(patient, rng)
        need = patient.shock + patient.infection / 2
        distance = (FLUID - 1 - 4 * share * need) ** 2 + (VASOPRESSOR - 3 * (1 - share) * need) ** 2
        weights = np.exp((distance.min() - distance) / (2 * SPREAD**2)) * patient.available
        return int(rng.choice(NUM_DOSES, p=weights / weights.sum()))

    return choose


def informed(patient: Patient, rng: np.random.Generator) -> int:
    """The dose with the least harm of all available ones, four hours later and without noise.

    It knows the simulator. Overload counts twice and ischaemia one and a half times as much as in `Patient.risk`, since
    both last. It is better than any habit, and not the best rule that there is.
    """
    after = {int(dose): patient.after(int(dose)) for dose in np.flatnonzero(patient.available)}
    return min(after, key=lambda dose: 7 * after[dose].shock + 10 * after[dose].overload + 7.5 * after[dose].ischaemia)


def log(num_patients: int, seed: int, rule: Rule | None = None) -> dict[str, Any]:
    """Treat patients one after the other, and keep a row a dose.

    Args:
        num_patients: at least 1.
        seed: at least 0; of patients, habits and doses.
        rule: of all patients; None gives each a clinician with a habit.

    Returns:
        Columns of a table: `patient`, counted from 0, the `VITALS`, `dose` by its name, `survived` (the reward),
        `ended` (1 in a patient's last row) and, by `PREFIX`, whether each dose was available.
    """
    rng, env = np.random.default_rng(seed), Treatment()
    rows: list[tuple[Any, ...]] = []
    for number in range(num_patients):
        vitals, _ = env.reset(seed=int(rng.integers(2**31)))
        choose, has_ended = rule or habit(rng), False
        while not has_ended:
            available = env.patient.available
            dose = choose(env.patient, rng)
            after, survived, has_ended, _, _ = env.step(np.int64(dose))
            rows.append((number, *vitals, DOSES[dose], int(survived), int(has_ended), *available.astype(int)))
            vitals = after
    names = ("patient", *VITALS, "dose", "survived", "ended", *(PREFIX + dose for dose in DOSES))
    return {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def parser() -> Parser:
    """What `bcq collect treatment` takes."""
    made = Parser("bcq collect treatment", __doc__, EXAMPLES, "docs/own-data.md")
    made.add_argument("out", type=Path, metavar="OUT", help="a new file that ends in .csv or .parquet")
    made.add_argument("--patients", type=int, default=NUM_PATIENTS, metavar="N", help=f"default: {NUM_PATIENTS}")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    return made


def main(arguments: Sequence[str]) -> None:
    """Write a log of the simulated treatment."""
    options = parser().parse_args(arguments)
    if options.patients < 1 or options.seed < 0:
        parser().error("--patients must be at least 1, and --seed at least 0")
    check_new(options.out)
    columns = log(options.patients, options.seed)
    write(options.out, [columns])
    num = len(columns["patient"])
    lived = columns["survived"].sum() / options.patients
    print(f"{options.patients:,} patients, {num:,} doses, {lived:.1%} survive: written to {options.out}")
