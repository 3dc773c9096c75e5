"""Run directories: made new, claimed before anything is written; files of others are never removed.

RUN/manifest.json   the run's identity (`bcq_exp.training.identity`), and the processes that trained it
RUN/.hydra/         the resolved configuration, Hydra's own part of it, and the overrides
RUN/run.lock        held by the process that writes to RUN
"""

import resource
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from bcq_exp.io.differences import code_difference, refusal
from bcq_exp.io.files import read_json, write_bytes, write_json
from bcq_exp.io.masking import masked, masked_words
from bcq_exp.io.source import source_digest
from bcq_exp.training.identity import Identity
from bcq_exp.training.saved import later_keys

MANIFEST = "manifest.json"
BEGIN_ANEW = "choose another directory to begin anew: hydra.run.dir=DIR"
LOCK = "run.lock"
ACCOUNT = "sweep.json"  # of a sweep, in the directory that its runs' lie in
# Files of a run; where they stand without a manifest, they are not ours.
WRITTEN = ("metrics.csv", "summary.json", "checkpoints", "train.log", "wandb.json", ".hydra")
FILES_OF_A_RUN = 4  # open as long as it trains: its lock, its metrics, and those of a logger
OTHER_FILES = 64  # that a process has open besides
# Keys that a manifest keeps under `earlier` for each process but the last.
PROCESS = ("command", "host", "git_revision", "source_sha256", "packages", "device", "num_threads")


class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """YAML for OmegaConf: a string that looks like a number is quoted."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        float(text)
    except ValueError:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'")


Dumper.add_representer(str, _quoted)


def missing_folders(path: Path) -> list[Path]:
    """The folders that do not exist yet among `path` and its parents, outermost first."""
    path = path.absolute()
    return [folder for folder in (*reversed(path.parents), path) if not folder.exists()]


def make_new(path: Path) -> Path:
    """Make the folder `path`, or `path-2` and so on where it exists; each of several processes gets its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, made = 1, path
    while True:
        try:
            made.mkdir()
            return made
        except FileExistsError:
            number += 1
            made = path.with_name(f"{path.name}-{number}")


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove the empty ones of the folders, innermost first."""
    for folder in sorted(folders, reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


@dataclass(frozen=True)
class Kept:
    """A run's configuration as `.hydra` keeps it.

    Args:
        resolved: the whole configuration as plain values.
        overrides: the words that were typed.
        hydra: Hydra's own part of the configuration; None where the directory has it.
    """

    resolved: Mapping[str, Any]
    overrides: Sequence[str]
    hydra: Mapping[str, Any] | None

    def files(self, run_dir: Path) -> dict[Path, Any]:
        """The content of each file, by path."""
        folder = run_dir / ".hydra"
        own = {folder / "config.yaml": masked(self.resolved), folder / "overrides.yaml": masked_words(self.overrides)}
        return own if self.hydra is None else {**own, folder / "hydra.yaml": {"hydra": masked(self.hydra)}}

    def write(self, run_dir: Path) -> list[Path]:
        """Write the files that Hydra writes, those that are not there as they are; returns their paths."""
        files = self.files(run_dir)
        for path, content in files.items():
            data = yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True).encode()
            if not path.exists() or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(path, data)
        return [*files]


def read_manifest(run_dir: Path) -> dict[str, Any] | None:
    """The manifest of a run directory; None where no run has begun there. Raises ValueError where it is damaged."""
    path = run_dir / MANIFEST
    return read_json(path) if path.exists() else None


def check_vacant_or_same(runs: Mapping[Path, Identity], *, allow_code_change: bool, remedy: str) -> None:
    """Check that each run can begin or resume in its directory; nothing is written.

    Args:
        runs: the runs' identities, by directory.
        allow_code_change: whether this code may resume runs of other code.
        remedy: how to begin anew, the end of the message.

    Raises:
        ValueError: a directory holds another run, or files that no run of this program wrote.
    """
    lines: dict[Path, list[str]] = {}
    for run_dir, identity in runs.items():
        manifest = read_manifest(run_dir)
        if manifest is None:
            # A configuration and a lock without a manifest: a start of ours that was killed before writing it.
            ours = {".hydra"} if (run_dir / LOCK).exists() else set()
            if others := [name for name in WRITTEN if name not in ours and (run_dir / name).exists()]:
                raise ValueError(
                    f"{run_dir} has {', '.join(others)} but no {MANIFEST}, so no run of this program is there, and"
                    f" nothing is written over; {remedy}"
                )
            continue
        begun = _begun(manifest, run_dir)
        if differences := begun.differences(identity, allow_code_change=allow_code_change):
            lines[run_dir] = differences
    if lines:
        raise refusal(lines, remedy)


def _begun(manifest: Mapping[str, Any], run_dir: Path) -> Identity:
    """The identity that a run began with; keys that came since have the values of `conf/`."""
    kept = Identity.kept(manifest, run_dir / MANIFEST)
    return replace(kept, config={**later_keys(kept.config), **kept.config})


def check_code(run_dir: Path) -> None:
    """Raise ValueError where other code than this process's began a directory's run."""
    manifest = read_manifest(run_dir)
    if manifest is not None:
        begun, now = Identity.kept(manifest, run_dir / MANIFEST).source_sha256, source_digest()
        if begun != now:
            raise refusal({run_dir: [code_difference(begun, now)]}, BEGIN_ANEW)


def check_configuration(run_dir: Path, resolved: Mapping[str, Any]) -> None:
    """Raise ValueError where a directory's configuration differs from its manifest's; nothing is imported."""
    known = _begun(read_manifest(run_dir) or {}, run_dir)
    is_compiled = bool(known.config.get("compile"))
    now = Identity.of(resolved, is_compiled=is_compiled, dataset_sha256=known.dataset_sha256)
    if lines := known.differences(now, allow_code_change=True):
        raise refusal({run_dir: lines}, "its configuration has changed since it began; the same command writes it anew")


@dataclass(frozen=True)
class Claim:
    """A run directory that is locked for this process until `release`."""

    run_dir: Path
    identity: Identity
    lock: FileLock

    @property
    def shorter(self) -> int | None:
        """The earlier `num_updates` of a run that is now asked for more; None for any other run."""
        before = (read_manifest(self.run_dir) or {}).get("config", {}).get("num_updates")
        return before if before is not None and before < self.identity.config["num_updates"] else None

    def begin(self, kept: Kept, account: Mapping[str, Any]) -> None:
        """Write the configuration and the manifest, with this process as the one that trains the run."""
        before, is_longer = read_manifest(self.run_dir) or {}, self.shorter is not None
        earlier = before.get("earlier", [])
        if "command" in before:
            earlier = [*earlier, {key: before[key] for key in PROCESS if key in before}]
        content = {**self.identity.account(), **account, "earlier": earlier}
        kept.write(self.run_dir)  # first, so that a directory with a manifest can always be resumed
        write_json(self.run_dir / MANIFEST, content)
        if is_longer:
            (self.run_dir / "summary.json").unlink(missing_ok=True)  # of the shorter run

    def release(self) -> None:
        """Unlock the directory."""
        self.lock.release()


def writer(run_dir: Path) -> str:
    """The process that holds a directory, as its manifest names it."""
    manifest = read_manifest(run_dir) or {}
    where = f" ({manifest['pid']} on {manifest['host']})" if {"pid", "host"} <= manifest.keys() else ""
    return f"another process{where}"


def most_runs() -> int:
    """Runs that one process can train at a time, by the files that it may open; raises its limit to the largest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(soft, 2**13) if hard == resource.RLIM_INFINITY else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):  # the system has another limit, besides the one that it tells
        most = soft
    return max(1, (most - OTHER_FILES) // FILES_OF_A_RUN)


def claim(runs: Mapping[Path, Identity], *, allow_code_change: bool, remedy: str) -> list[Claim]:
    """Lock the directories of all runs, or none.

    Args:
        runs, allow_code_change, remedy: as for `check_vacant_or_same`.

    Raises:
        ValueError: as `check_vacant_or_same`, or another process holds a directory, or the runs are more than a
            process can have.
    """
    if len(runs) > (most := most_runs()):
        raise ValueError(
            f"{len(runs)} runs in one process need more open files than the system allows it: allowed are {most} runs;"
            " raise the limit (ulimit -n)"
        )
    check_vacant_or_same(runs, allow_code_change=allow_code_change, remedy=remedy)
    claims: list[Claim] = []
    try:
        for run_dir, identity in runs.items():
            run_dir.mkdir(parents=True, exist_ok=True)
            lock = FileLock(run_dir / LOCK)
            lock.acquire(timeout=0)
            claims.append(Claim(run_dir, identity, lock))
        check_vacant_or_same(
            runs, allow_code_change=allow_code_change, remedy=remedy
        )  # again, now that they are locked
    except (Timeout, ValueError) as error:
        for made in claims:
            made.release()
        if isinstance(error, Timeout):
            raise ValueError(f"{writer(run_dir)} writes to {run_dir}; wait for its end, or {remedy}") from None
        raise
    return claims
