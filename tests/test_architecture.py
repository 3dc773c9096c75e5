"""How the house is built: imports point down only, files and folders stay small, tests mirror what they test."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bcq_exp

ROOT = Path(__file__).parents[1]
PACKAGE = Path(bcq_exp.__file__).parent
FLOORS = [
    {"io", "envs", "ops", "fields"},
    {"data", "networks"},
    {"algorithms", "behaviours"},
    {"policies"},
    {"engine"},
    {"training", "ope"},
    {"analysis"},
    {"selection", "sweeps", "search", "policy_files", "dashboards", "command_line"},
    {"train", "collect", "evaluate", "report", "export", "dashboard", "__main__"},
]
ENTRY_POINTS = FLOORS[-1]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
LARGEST_FILE, LARGEST_ENTRY_POINT = 300, 100  # lines
LARGEST_ROOM, LARGEST_TOP = 15, 10  # modules
TESTS_OF_ALL_KINDS = ("registry", "contract", "compiled")  # `tests/ROOM/test_WORD.py` takes each kind of the room

# Names that other packages do not promise to keep. Nothing public does the same.
PRIVATE = {
    "_functorch": "torch: equal expressions of a graph are computed once",
    "_inductor": "torch: a pass over the graph that is compiled",
    "_convolution_pointwise": "torch: a convolution that rectifies its own result",
    "_is_mkldnn_bf16_supported": "torch: whether this processor has units for bf16",
    "_pytree": "torch: containers of tensors are taken apart and put together",
    "_foreach_copy_": "torch: many small tensors are copied by one call",
    "_subclasses": "torch: tensors without memory, on which an update is traced",
    "_python_dispatch": "torch: every call is seen, to measure memory",
    "_get_torch_save_params": "stable-baselines3: which tensors of an agent are saved",
    "_internal": "hydra: its sweeper is the base of ours, and its flags are checked before it reads them",
    "_option_string_actions": "argparse: the flags of a parser",
    "_parse_config": "hydra: the sweeper's own `params`",
    "_trial_id": "optuna: its number of a trial in the storage, to go on with one that was asked",
    "_to_model": "wandb-workspaces: what it would save, to write it to a file",
    "_process": "submitit: its local job would end its process after a second",
}


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
        "wandb": {"io", "dashboards"},
        "wandb_workspaces": {"dashboards"},
        "hydra": {"command_line", "train", "collect", "evaluate", "export"},
        "omegaconf": {
            "command_line",
            "training",
            "analysis",
            "selection",
            "policy_files",
            "train",
            "collect",
            "evaluate",
            "export",
        },
        "stable_baselines3": {"behaviours"},
        "matplotlib": {"analysis", "selection", "search"},
        "psutil": {"sweeps", "data", "engine"},
        "minari": {"data"},
        "pyarrow": {"data"},
        "submitit": {"sweeps"},
        "ray": {"sweeps"},
        "optuna": {"search"},
    }
    for path in FILES:
        for name in imports(path):
            package = name.split(".")[0]
            assert room(path) in allowed.get(package, {room(path)}), f"{path} imports {package}"


def test_files_stay_short():
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length > LARGEST_FILE} == {}
    entry_points = {name: lengths[f"{name}.py"] for name in ENTRY_POINTS}
    assert {name: length for name, length in entry_points.items() if length >= LARGEST_ENTRY_POINT} == {}


def test_folders_stay_small():
    sizes: dict[Path, int] = {}
    for path in FILES:
        if path.name != "__init__.py":
            folder = path.parent.relative_to(PACKAGE)
            sizes[folder] = sizes.get(folder, 0) + 1
    del sizes[Path("algorithms")]  # a paper, a file
    assert sizes.pop(Path()) <= LARGEST_TOP
    assert {str(folder): size for folder, size in sizes.items() if size > LARGEST_ROOM} == {}


def test_configurations_begin_with_a_sentence_that_says_what_they_are():
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
        assert lines[0].startswith("# "), path
        assert max(map(len, lines)) <= 120, path


def has_source(test: Path) -> bool:
    """Whether a test `ROOM/test_NAME.py`, or `ROOM/test_NAME_PART.py`, has the module NAME in that room."""
    name, room = test.stem.removeprefix("test_"), PACKAGE / test.parent
    modules = {path.stem for path in room.glob("*.py")}
    return name in TESTS_OF_ALL_KINDS or any(name == module or name.startswith(f"{module}_") for module in modules)


def test_tests_mirror_the_package():
    tests = [path.relative_to(ROOT / "tests") for path in sorted((ROOT / "tests").rglob("test_*.py"))]
    in_rooms = [test for test in tests if test.parts[0] in FLOOR]
    assert [str(test) for test in in_rooms if not has_source(test)] == []
    others = {test.parts[0] for test in tests if len(test.parts) > 1} - FLOOR.keys()
    assert others <= {"adding", "experiments", "faults"}
    experiments = {path.stem for path in (ROOT / "experiments").rglob("*")}
    assert {test.stem.removeprefix("test_") for test in tests if test.parts[0] == "experiments"} <= experiments


def defined_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()) | ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name


def used_names(tree: ast.AST) -> Iterator[str]:
    """Parts of the names that are imported, of attributes, and of strings by which either is looked up."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (part for alias in node.names for part in alias.name.split("."))
            case ast.ImportFrom():
                yield from [*str(node.module).split("."), *(alias.name for alias in node.names)]
            case ast.Attribute():
                yield node.attr
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called)):
                if called in ("getattr", "hasattr", "setattr", "import_module", "find_spec", "attrgetter"):
                    words = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                    yield from (part for word in words if isinstance(word, str) for part in word.split("."))


def private_names(trees: list[ast.Module]) -> set[str]:
    """Private names that are used and defined in none of the files: they are other packages' own."""
    own = {name for tree in trees for name in defined_names(tree)}
    used = {name for tree in trees for name in used_names(tree)}
    return {name for name in used - own if name.startswith("_") and not name.startswith("__")}


def test_private_names_of_other_packages_are_few():
    plugins = sorted((ROOT / "hydra_plugins").glob("*.py"))
    assert private_names([ast.parse(path.read_text()) for path in [*FILES, *plugins]]) == set(PRIVATE)


@pytest.mark.parametrize(
    "source",
    [
        "import torch._dynamo",
        "from torch._dynamo import reset",
        "from torch import _dynamo",
        "torch._dynamo.reset()",
        "getattr(torch, '_dynamo', None)",
        "importlib.import_module('torch._dynamo.config')",
    ],
)
def test_a_private_name_is_seen_in_every_form(source: str):
    assert private_names([ast.parse(source)]) == {"_dynamo"}


def test_own_private_names_are_free():
    source = "class A:\n    def __init__(self, _x):\n        self._y = _x\n    def _z(self):\n        return self._y"
    assert private_names([ast.parse(source), ast.parse("a._y, a._z")]) == set()
