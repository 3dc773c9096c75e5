import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bcq_exp
from bcq_exp.io.source import git_revision

ROOT = Path(__file__).parents[2]


def test_the_revision_is_gits_own():
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        pytest.skip("not a git checkout")
    assert git_revision().removesuffix("-dirty") == head.stdout.strip()


def test_the_digest_is_that_of_every_source_file_and_of_the_plugins(tmp_path: Path):
    package = Path(bcq_exp.__file__).parent
    for name in (package, package.parent / "hydra_plugins"):
        shutil.copytree(name, tmp_path / name.name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))

    def digest() -> str:
        script = "import bcq_exp.io.source as s; print(s.PACKAGE, s.source_digest())"
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        place, found = done.stdout.split()
        assert Path(place).parent == tmp_path
        return found

    first = digest()
    assert digest() == first
    for changed in ("bcq_exp/ops/td.py", "hydra_plugins/bcq_exp_population.py"):
        path = tmp_path / changed
        text = path.read_text()
        path.write_text(text + "# other\n")
        assert digest() != first
        path.write_text(text)
