"""Where runs are shown by W&B: an address of its server, or files for `wandb leet` and `bcq-dashboard sync`."""

import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bcq_exp.io.files import read_json
from bcq_exp.io.loggers.wandb_file import FOLDER, KEPT


def places(run_dirs: Sequence[Path], directory: Path) -> list[str]:
    """Lines with the addresses of runs at W&B's server, and the commands that show and upload those in offline files.

    Offline files of several runs are linked from `directory/wandb`, so that `wandb leet` shows all of them.

    Args:
        run_dirs: directories of runs; those without W&B's files are left out.
        directory: of the sweep that they belong to, or of the one run.
    """
    kept = [read_json(path) for run_dir in run_dirs if (path := run_dir / KEPT).exists()]
    pages = sorted({page(each, is_alone=len(run_dirs) == 1) for each in kept if each.get("address")})
    lines = [f"W&B:              {address}" for address in pages]
    files = [path for run_dir in run_dirs for path in sorted((run_dir / FOLDER).glob("offline-run-*"))]
    if files:
        link([path for path in files if path.parent != directory / FOLDER], directory / FOLDER)
        shown, quoted = shlex.quote(str(directory / FOLDER)), shlex.quote(str(directory))
        number = "1 run" if len(files) == 1 else f"{len(files)} runs"
        lines.append(f"W&B, offline:     {number}: see `wandb leet {shown}`, upload with `bcq-dashboard sync {quoted}`")
    return lines


def page(kept: dict[str, str], *, is_alone: bool) -> str:
    """The address of a run that its `wandb.json` has, or of its group."""
    return kept["address"] if is_alone else f"{kept['address'].rpartition('/runs/')[0]}/groups/{kept['group']}"


def link(paths: Sequence[Path], folder: Path) -> None:
    """Link directories from a folder, in which links to what is no longer there are removed.

    On a file system without links, or one that is read-only, there are none.
    """
    with suppress(OSError):
        for old in folder.glob("offline-run-*"):
            if old.is_symlink() and not old.exists():
                old.unlink()
        for path in paths:
            folder.mkdir(exist_ok=True)
            if not (folder / path.name).is_symlink():
                (folder / path.name).symlink_to(os.path.relpath(path, folder))
