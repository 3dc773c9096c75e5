"""A policy chosen from a log alone, in the hidden simulator: `python -m experiments.offline_choice.treatment`.

Five logs of the simulated treatment, of 2,000 patients each. On each one discrete BCQ trains with twelve thresholds and
three seeds and without an environment, a fifth of the patients held out; `bcq-evaluate select=true` chooses. Only then
every policy treats 1,000 patients of the simulator. The same command goes on where this program was stopped.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from bcq_exp.analysis.trained_runs import load_policy, trained_runs
from bcq_exp.behaviours.treatment import log
from bcq_exp.data.formats.tables.arrow import write
from bcq_exp.envs.evaluation import evaluate
from bcq_exp.envs.treatment import NUM_STEPS
from bcq_exp.io.files import read_json, write_json
from experiments.offline_choice.known import (
    arguments,
    chosen_from,
    correlation,
    finish,
    regrets,
    rows,
    with_interval,
    written,
)

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ENV = "bcq_exp/Treatment-v0"
LOGS, NUM_PATIENTS, NUM_TREATED = range(5), 2000, 1000
BEHAVIOUR_SEED, PATIENT_SEED = 1000, 5000  # of patients that no log has
UNCONSTRAINED, DEFAULT = (f"discrete_bcq unlikely_action_threshold={threshold}" for threshold in (0, 0.3))
SWEEP = (
    "algorithm=discrete_bcq", "dataset=treatment", "dataset.holdout=0.2", "network.hidden_sizes=[64,64]",
    "num_updates=3000", "eval_freq=3000", "algorithm.target_update_freq=500", "compile=always", "num_threads=1",
    "algorithm.unlikely_action_threshold=0,0.05,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1", "seed=0,1,2",
)  # fmt: skip
ASKED = ("ope=[fqe,wis,dr]", "network.hidden_sizes=[64,64]", "num_updates=4000", "compile=always", "num_threads=1")


def selection(number: int, folder: Path) -> dict[str, Any]:
    """Make a log, train, choose, treat; returns `selection.json` with survival as online return, and `behaviour`."""
    place, path = folder / f"sweep-{number}", folder / f"log-{number}.csv"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write(path, [log(NUM_PATIENTS, number)])
    found = chosen_from(place, (*SWEEP, f"dataset.path={path}"), ASKED)
    if not (place / "survival.json").exists():
        survival = {
            run.directory.relative_to(place).as_posix(): evaluate(
                load_policy(run), ENV, NUM_TREATED, PATIENT_SEED, max_steps=NUM_STEPS
            ).mean
            for run in trained_runs(place, "cpu")
        }
        behaviour = log(NUM_PATIENTS, BEHAVIOUR_SEED + number)["survived"].sum() / NUM_PATIENTS
        write_json(place / "survival.json", {**survival, "behaviour": float(behaviour)})
    survival = read_json(place / "survival.json")
    for setting in found["settings"]:
        for run in setting["runs"]:
            run["online_return"] = survival[run["run"]]
    return {**found, "behaviour": survival["behaviour"]}


def survivals(chosen: Mapping[str, Any]) -> dict[str, float]:
    """The share of patients who live, by whose policy treats them; of several runs the mean."""
    runs = rows(chosen)

    def mean(setting: str | None = None) -> float:
        return float(np.mean([run["online"] for run in runs if setting in (None, run["setting"])]))

    return {
        "chosen": next(run["online"] for run in runs if run["run"] == chosen["chosen"]["run"]),
        "behaviour": chosen["behaviour"],
        "unconstrained (threshold 0)": mean(UNCONSTRAINED),
        "default (threshold 0.3)": mean(DEFAULT),
        "random choice": mean(),
        "best member": max(run["online"] for run in runs),
    }


def table(choices: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a policy: the share who live, and by how much the chosen one's is larger, over logs."""
    lines = ["| treated by | share who live [95 %] | more by the chosen [95 %] |", "| --- | --- | --- |"]
    by_log = [survivals(chosen) for chosen in choices]
    for name in by_log[0]:
        gains = [each["chosen"] - each[name] for each in by_log]
        gain = "-" if name == "chosen" else with_interval(gains, 3)
        lines.append(f"| {name} | {with_interval([each[name] for each in by_log], 3)} | {gain} |")
    taken = [regrets(chosen, DEFAULT) for chosen in choices]
    for rule in ("mean in place of lower end", "highest estimate of a run"):
        lines.append(f"| regret of: {rule} | {with_interval([each[rule] for each in taken], 3)} | - |")
    lines.append(f"| Spearman of estimates | {with_interval([correlation(chosen) for chosen in choices])} | - |")
    return lines


def picture(choices: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the share who live against the threshold, a panel a log, and the chosen run."""
    figure, panels = plt.subplots(1, len(choices), figsize=(14, 3.4), layout="constrained", sharey=True, squeeze=False)
    for axes, number, chosen in zip(panels[0], LOGS, choices, strict=True):
        runs = rows(chosen)
        axes.plot(
            [threshold(run) for run in runs], [run["online"] for run in runs], "o", ms=4, color="#999999", label="run"
        )
        taken = next(run for run in runs if run["run"] == chosen["chosen"]["run"])
        axes.plot(threshold(taken), taken["online"], "o", ms=11, mfc="none", color="#d55e00", label="chosen")
        axes.axhline(chosen["behaviour"], color="#0072b2", label="behaviour")
        axes.set(title=f"log {number}", xlabel="threshold")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylabel("share who live")
    finish(figure, panels, path)


def threshold(run: Mapping[str, Any]) -> float:
    """The threshold of a run."""
    return float(run["setting"].rpartition("=")[2])


def main() -> None:
    """Run the study; write the table, the picture and the runs."""
    args = arguments(__doc__, "outputs/offline_choice/treatment")
    choices = [selection(number, args.folder) for number in LOGS]
    lines = table(choices)
    print("\n".join(lines))
    if args.write is not None:
        named = (({"log": number}, chosen) for number, chosen in zip(LOGS, choices, strict=True))
        written(args.write / "treatment", lines, named)
        picture(choices, args.write / "treatment.png")


if __name__ == "__main__":
    main()
