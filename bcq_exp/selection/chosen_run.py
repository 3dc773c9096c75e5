"""The run that a sweep's `selection.json` names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcq_exp.io.files import read_json

SELECTION = "selection.json"
REMEDY = "choose again: bcq-evaluate with select=true writes it anew"


@dataclass(frozen=True)
class ChosenRun:
    """A run and why it was chosen.

    Args:
        directory: of the run.
        checkpoint: the name of the one that was judged.
        account: what decided, for people: setting, estimator, estimate with its interval, and the part judged on.
    """

    directory: Path
    checkpoint: str
    account: dict[str, Any]


def chosen_run(sweep: Path) -> ChosenRun | None:
    """The run that was chosen below a directory; None where nobody has chosen there.

    Raises:
        ValueError: no run was worth choosing, the chosen one is gone, or the file is damaged.
        OSError: the file cannot be read.
    """
    path = sweep / SELECTION
    if not path.exists():
        return None
    kept = read_json(path, REMEDY)
    try:
        if (chosen := kept["chosen"]) is None:
            raise ValueError(f"{path} chose no run: {'; '.join(kept['estimators'].values())}; name a run, or {REMEDY}")
        directory, name = sweep / chosen["run"], kept["decided_by"]
        runs = {run["run"]: run for setting in kept["settings"] for run in setting["runs"]}
        estimate = runs[chosen["run"]]["estimates"][name]
        account = {"setting": chosen["setting"], "decided_by": name, "estimate": estimate, "part": kept["judged_on"]}
        found = ChosenRun(directory, str(chosen["checkpoint"]), account)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} has not the form of a choice ({error!r}), so it was damaged; {REMEDY}") from None
    if not directory.is_dir():
        raise ValueError(f"{path} chose {directory}, which is not there; restore it from a copy, or {REMEDY}")
    return found
