"""Imports point down only."""

import ast
from pathlib import Path

import pytest

import bcq_exp

PACKAGE = Path(bcq_exp.__file__).parent
FLOORS = [
    {"io", "envs", "ops", "fields"},
    {"data", "networks"},
    {"algorithms", "behaviours"},
    {"policies"},
    {"engine"},
    {"training"},
    {"analysis"},
    {"ope", "sweeps"},
    {"train", "collect", "evaluate", "report"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_from_its_own_floor_or_below(path: Path):
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "bcq_exp" and len(parts) > 1:
            assert parts[1] in FLOOR, f"{name}: place this room on a floor"
            assert FLOOR[parts[1]] <= FLOOR[room(path)], f"{path} imports {name} from above"


def test_heavy_and_framework_packages_stay_in_their_rooms():
    allowed = {
        "wandb": {"io"},
        "hydra": {"train", "collect", "evaluate"},
        "omegaconf": {"training", "analysis", "ope", "train", "collect", "evaluate"},
        "stable_baselines3": {"behaviours"},
        "matplotlib": {"analysis", "ope"},
        "psutil": {"sweeps", "data"},
        "minari": {"data"},
        "submitit": {"sweeps"},
        "ray": {"sweeps"},
    }
    for path in FILES:
        for name in imports(path):
            package = name.split(".")[0]
            assert room(path) in allowed.get(package, {room(path)}), f"{path} imports {package}"


def test_files_stay_short():
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length > 320} == {}
    assert {name: lengths[name] for name in ("train.py", "collect.py", "evaluate.py") if lengths[name] > 100} == {}
