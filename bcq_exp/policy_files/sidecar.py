"""The JSON file beside a policy file: what goes in and comes out, which run it is of, and how to run it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bcq_exp.analysis.trained_runs import TrainedRun
from bcq_exp.io.differences import difference
from bcq_exp.io.files import read_json, sha256
from bcq_exp.policy_files.agreement import Agreement
from bcq_exp.policy_files.program import Program
from bcq_exp.policy_files.request import ExportConfig
from bcq_exp.selection.chosen_run import ChosenRun
from bcq_exp.training.directories import MANIFEST, read_manifest
from bcq_exp.training.identity import Identity
from bcq_exp.training.manifest import versions

PACKAGES = ("bcq_exp", "torch", "numpy")  # besides those of the format
NAMES = ("directory", "algorithm", "seed")  # of a run
DATA_NAMES = ("obs_names", "action_names")  # in the order of the file's inputs and actions


def sidecar_of(file: Path) -> Path:
    """The path of the sidecar of a policy file."""
    return file.with_name(f"{file.name}.json")


def run_account(run: TrainedRun) -> dict[str, Any]:
    """The run that a policy is of: its place, its identity and its last checkpoint.

    `identity` is None for a run whose manifest has none, as those of earlier versions.
    """
    manifest = read_manifest(run.directory) or {}
    try:
        identity = Identity.kept(manifest, run.directory / MANIFEST).account()
    except ValueError:
        identity = None
    return {
        "directory": run.directory.resolve().name,
        "checkpoint": run.checkpoint.name,
        "algorithm": run.cfg.algorithm.name,
        "seed": run.cfg.schedule.seed,
        "online_return": run.online_return,
        "identity": identity,
    }


def dataset_account(run: TrainedRun) -> dict[str, Any]:
    """The dataset that a policy learned from: its name, and size and hash where the manifest has them; the names of
    observations and actions where they have names."""
    kept = (read_manifest(run.directory) or {}).get("dataset", {})
    facts = {key: kept.get(key) for key in ("sha256", "num_transitions", "num_episodes")}
    return {"name": run.cfg.dataset.name, **facts, **{key: kept[key] for key in DATA_NAMES if key in kept}}


def check_vacant_or_same(file: Path, run: TrainedRun) -> None:
    """Check that a file may be written: nothing is there, or an export of the same run, trained on or not.

    Raises:
        ValueError: another file is there, or an export of another run.
    """
    remedy = "give another out=FILE, or remove it"
    sidecar = sidecar_of(file)
    if not sidecar.exists():
        if file.exists():
            raise ValueError(f"{file} is there and has no {sidecar.name}, so it is no export of this run; {remedy}")
        return
    before = read_json(sidecar, remedy).get("run")
    if not isinstance(before, dict):
        raise ValueError(f"{sidecar} names no run, so {file.name} is no export of this run; {remedy}")
    if lines := differences(before, run_account(run), sidecar):
        raise ValueError(f"{file} is of another run, {before.get('directory')} ({'; '.join(lines[:3])}); {remedy}")


def differences(before: Mapping[str, Any], now: Mapping[str, Any], sidecar: Path) -> list[str]:
    """What tells two runs of sidecars apart, a line each: their identities, or where one has none, their names."""
    one, other = before.get("identity"), now["identity"]
    if not isinstance(one, dict) or other is None:
        return [difference(key, before, now) for key in NAMES if before.get(key) != now[key]]
    return Identity.kept(one, sidecar).differences(Identity.kept(other, sidecar), allow_code_change=True)


def account(
    file: Path,
    written: Path,
    run: TrainedRun,
    choice: ChosenRun | None,
    settings: ExportConfig,
    program: Program,
    agreement: Agreement,
    eval_eps: float,
) -> dict[str, Any]:
    """The content of a sidecar.

    Args:
        file: the name that the policy file will have.
        written: where it is now.
        run: that it is of.
        choice: of the run among others; None where the user named it.
        settings: of the export.
        program: in the file.
        agreement: with the policy.
        eval_eps: probability of a random action in evaluation, which is left out of the file.
    """
    return {
        "file": file.name,
        "format": settings.format,
        "sha256": sha256(written),
        "inputs": [port.account() for port in program.inputs],
        "outputs": [port.account() for port in program.outputs],
        "noise_seed": settings.noise_seed,
        "left_out": f"random actions, which evaluation takes with probability {eval_eps:g}" if eval_eps else None,
        "usage": settings.kind.usage(file.name, program.inputs),
        "agreement": {"rows_of": settings.rows, **agreement.account()},
        "dataset": dataset_account(run),
        "environment": run.cfg.dataset.env,
        "run": run_account(run),
        "choice": None if choice is None else choice.account,
        "packages": versions((*PACKAGES, *settings.kind.packages)),
    }
