"""An installed package works outside the checkout: the wheel is built, installed elsewhere, and run."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bcq_exp.io.files import read_json

ROOT = Path(__file__).parents[1]


def run(*command: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, env={**os.environ, **env})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_runs_where_there_is_no_checkout(tmp_path: Path, discrete_file: Path):
    pytest.importorskip("hatchling")
    python = sys.executable
    run(python, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT), cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel), cwd=tmp_path)
    where = "import bcq_exp.io.source as c; print(c.__file__); print(c.CONF_DIR)"
    installed = run(python, "-c", where, cwd=work, PYTHONPATH=str(site)).split()
    assert installed == [str(site / "bcq_exp" / "io" / "source.py"), str(site / "bcq_exp" / "conf")]
    typed = ["num_updates=20", "eval_freq=20", "eval_episodes=1", "dataset=h5", f"dataset.path={discrete_file}",
             "dataset.env=CartPole-v1"]  # fmt: skip
    run(
        python, "-m", "bcq_exp.train", "-m", *typed, "seed=0,1", "hydra.sweep.dir=sweep", cwd=work, PYTHONPATH=str(site)
    )
    assert len([read_json(path) for path in (work / "sweep").rglob("summary.json")]) == 2
    shipped = site / "bcq_exp" / "behaviours" / "shipped"
    assert {path.name for path in shipped.iterdir()} >= {"cartpole.safetensors", "cartpole.json"}


def test_the_page_on_installation_has_a_row_for_each_extra():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "install.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted({*declared["optional-dependencies"]} - {"dev"})
    pythons = [line.rpartition(" ")[2] for line in declared["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert f"Python {', '.join(pythons[:-1])} or {pythons[-1]}, on Linux" in (ROOT / "docs" / "install.md").read_text()
    assert declared["requires-python"] == f">={pythons[0]}"
