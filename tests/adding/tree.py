"""A copy of the program in a temporary folder, to which a kind is added as CONTRIBUTING says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from documents import blocks

ROOT = Path(__file__).parents[2]


class Tree:
    """The program's own files: the package, its plugins and `conf/`.

    Args:
        root: a new folder that they are copied to.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.touched = root, set[str]()
        for name in ("bcq_exp", "hydra_plugins", "conf"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))

    def write(self, path: str, text: str) -> None:
        """A new file."""
        target = self.root / path
        assert not target.exists(), f"{path} is there already"
        self.touched.add(path)
        target.write_text(text)

    def write_documented(self, path: str) -> None:
        """A new file as `docs/adding.md` shows it."""
        (text,) = [block.text for block in blocks(ROOT / "docs" / "adding.md") if block.title == path]
        self.write(path, text)

    def replace(self, path: str, before: str, after: str) -> None:
        """Other text in a file, in one place."""
        target = self.root / path
        text = target.read_text()
        assert text.count(before) == 1, f"{path} has {before!r} {text.count(before)} times"
        self.touched.add(path)
        target.write_text(text.replace(before, after))

    def give(self, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        """A command of the copy, `-m bcq_exp.train ...`, given in `cwd`."""
        env = {**os.environ, "PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
