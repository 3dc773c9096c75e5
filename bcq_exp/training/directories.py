"""Run directories: made new, claimed before anything is written, and never cleared of what others made.

RUN/manifest.json   what the run is (`bcq_exp.training.identity`), and by which processes it was trained
RUN/.hydra/         the configuration, with nothing left to resolve; Hydra's own part of it; what was typed
RUN/run.lock        held by the process that writes to RUN
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from bcq_exp.io.differences import refusal
from bcq_exp.io.files import read_json, write_bytes, write_json
from bcq_exp.io.masking import masked, masked_words
from bcq_exp.training.identity import Identity

MANIFEST = "manifest.json"
LOCK = "run.lock"
# What a run writes beside its manifest; without one these are somebody else's.
WRITTEN = ("metrics.csv", "summary.json", "checkpoints", "train.log", "wandb.json", ".hydra")
# What a manifest keeps of each process but the last under `earlier`.
PROCESS = ("command", "host", "git_revision", "source_sha256", "packages", "device", "num_threads")


class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """YAML as OmegaConf reads it: a string that it would take for a number is quoted."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        float(text)
    except ValueError:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'")


Dumper.add_representer(str, _quoted)


def missing_folders(path: Path) -> list[Path]:
    """The folders that making `path` makes too, and `path`, the outermost first."""
    path = path.absolute()
    return [folder for folder in (*reversed(path.parents), path) if not folder.exists()]


def make_new(path: Path) -> Path:
    """Make the folder `path`, or where it exists `path-2` and so on: of several processes each gets its own."""
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
    """Remove those of the folders that are empty, the innermost first."""
    for folder in sorted(folders, reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


@dataclass(frozen=True)
class Kept:
    """How a run's configuration is kept in `.hydra`.

    Args:
        resolved: the whole configuration as plain values.
        overrides: what was typed.
        hydra: Hydra's own part of the configuration; None where the directory has it.
    """

    resolved: Mapping[str, Any]
    overrides: Sequence[str]
    hydra: Mapping[str, Any] | None

    def files(self, run_dir: Path) -> dict[Path, Any]:
        """What each file of a run directory holds."""
        folder = run_dir / ".hydra"
        own = {folder / "config.yaml": masked(self.resolved), folder / "overrides.yaml": masked_words(self.overrides)}
        return own if self.hydra is None else {**own, folder / "hydra.yaml": {"hydra": masked(self.hydra)}}

    def write(self, run_dir: Path) -> None:
        """Write the files that Hydra writes."""
        for path, content in self.files(run_dir).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True).encode())


def read_manifest(run_dir: Path) -> dict[str, Any] | None:
    """The manifest of a run directory; None where nothing has begun there. Raises ValueError where it is damaged."""
    path = run_dir / MANIFEST
    return read_json(path) if path.exists() else None


def check_vacant_or_same(runs: Mapping[Path, Identity], *, allow_code_change: bool, remedy: str) -> None:
    """Check that each run can begin, or go on, in its directory; nothing is written.

    Args:
        runs: what shall run, by directory.
        allow_code_change: whether runs that other code began may go on.
        remedy: how to begin anew, the end of the message.

    Raises:
        ValueError: a directory holds another run, or files that no run of this program wrote.
    """
    lines: dict[Path, list[str]] = {}
    for run_dir, identity in runs.items():
        manifest = read_manifest(run_dir)
        if manifest is None:
            # With a lock beside it a configuration is that of a start that was killed before its manifest was there.
            ours = {".hydra"} if (run_dir / LOCK).exists() else set()
            if others := [name for name in WRITTEN if name not in ours and (run_dir / name).exists()]:
                raise ValueError(
                    f"{run_dir} has {', '.join(others)} but no {MANIFEST}, so no run of this program is there, and"
                    f" nothing is written over; {remedy}"
                )
            continue
        begun = Identity.kept(manifest, run_dir / MANIFEST)
        if found := begun.differences(identity, allow_code_change=allow_code_change):
            lines[run_dir] = found
    if lines:
        raise refusal(lines, remedy)


def check_configuration(run_dir: Path, resolved: Mapping[str, Any]) -> None:
    """Raise ValueError where a directory's configuration is not as its manifest knows it; nothing is imported."""
    known = Identity.kept(read_manifest(run_dir) or {}, run_dir / MANIFEST)
    is_compiled = bool(known.config.get("compile"))
    now = Identity.of(resolved, is_compiled=is_compiled, dataset_sha256=known.dataset_sha256)
    if lines := known.differences(now, allow_code_change=True):
        raise refusal({run_dir: lines}, "its configuration has changed since it began; the same command writes it anew")


@dataclass(frozen=True)
class Claim:
    """A run directory that no other process writes to until `release`."""

    run_dir: Path
    identity: Identity
    lock: FileLock

    @property
    def shorter(self) -> int | None:
        """The number of updates that the run was to have before it was asked for more; None where it was not."""
        before = (read_manifest(self.run_dir) or {}).get("config", {}).get("num_updates")
        return before if before is not None and before < self.identity.config["num_updates"] else None

    def begin(self, kept: Kept, account: Mapping[str, Any]) -> None:
        """Write what the run is, and that this process trains it."""
        before, is_longer = read_manifest(self.run_dir) or {}, self.shorter is not None
        earlier = before.get("earlier", [])
        if "command" in before:
            earlier = [*earlier, {key: before[key] for key in PROCESS if key in before}]
        content = {**self.identity.account(), **account, "earlier": earlier}
        kept.write(self.run_dir)  # first, so that whatever has a manifest can be gone on with
        write_json(self.run_dir / MANIFEST, content)
        if is_longer:
            (self.run_dir / "summary.json").unlink(missing_ok=True)  # of the shorter run; the longer one ends anew

    def release(self) -> None:
        """Let other processes in."""
        self.lock.release()


def writer(run_dir: Path) -> str:
    """The process that writes to a directory, as its manifest names it."""
    manifest = read_manifest(run_dir) or {}
    where = f" ({manifest['pid']} on {manifest['host']})" if {"pid", "host"} <= manifest.keys() else ""
    return f"another process{where}"


def claim(runs: Mapping[Path, Identity], *, allow_code_change: bool, remedy: str) -> list[Claim]:
    """Claim the directory of each run, or none.

    Args:
        runs, allow_code_change, remedy: as for `check_vacant_or_same`.

    Raises:
        ValueError: as `check_vacant_or_same`, or another process writes to a directory.
    """
    check_vacant_or_same(runs, allow_code_change=allow_code_change, remedy=remedy)
    claims: list[Claim] = []
    try:
        for run_dir, identity in runs.items():
            run_dir.mkdir(parents=True, exist_ok=True)
            lock = FileLock(run_dir / LOCK)
            lock.acquire(timeout=0)
            claims.append(Claim(run_dir, identity, lock))
        check_vacant_or_same(runs, allow_code_change=allow_code_change, remedy=remedy)  # nobody was faster
    except (Timeout, ValueError) as error:
        for made in claims:
            made.release()
        if isinstance(error, Timeout):
            raise ValueError(f"{writer(run_dir)} writes to {run_dir}; wait for its end, or {remedy}") from None
        raise
    return claims
