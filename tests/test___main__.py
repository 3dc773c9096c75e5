"""The command `bcq`: its help, what it imports for it, and completion in bash."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import commands
import documents
from bcq_exp import dashboard, report
from bcq_exp.__main__ import COMMANDS, overview
from bcq_exp.analysis.datasets import convert, inspection
from bcq_exp.behaviours import treatment
from bcq_exp.command_line.choices import choices

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "numpy", "hydra", "omegaconf", "gymnasium", "matplotlib", "rich")


def test_each_command_is_a_module_and_is_named_in_the_help_and_the_page():
    page = (ROOT / "docs" / "command-line.md").read_text()
    for name in COMMANDS:
        assert callable(import_module(f"bcq_exp.{name}").main)
        assert f"\n  {name}  " in overview()
        assert f"| `bcq {name}` |" in page


def test_help_imports_nothing_heavy():
    code = f"import sys; sys.argv[:] = ['bcq', '--help']\nfrom bcq_exp.__main__ import main; main()\n" \
           f"print([name for name in {HEAVY} if name in sys.modules])"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{overview()}\n[]\n"


def test_no_command_imports_torchs_compiler_before_it_trains():
    code = f"import sys\nfor name in {list(COMMANDS)}: __import__(f'bcq_exp.{{name}}')\n" \
           "print('torch' in sys.modules, 'torch._dynamo' in sys.modules)"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]])
def test_a_reader_that_leaves_early_ends_help_quietly(words: list[str]):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "bcq_exp", *words]
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run(command, cwd=ROOT, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")


@pytest.mark.parametrize(
    ("command", "groups", "others"),
    [
        (
            "train",
            ["algorithm", "dataset", "network", "optimizer", "logger", "eval_ope", "search", "experiment"],
            ["behaviour", "protocol"],
        ),
        ("collect", ["dataset", "behaviour"], ["algorithm", "network", "logger", "experiment"]),
        ("export", [], ["algorithm", "dataset", "network"]),
    ],
)
def test_help_lists_the_groups_that_matter_with_all_their_choices(
    tmp_path: Path, command: str, groups: list[str], others: list[str]
):
    folder = tmp_path / "here"
    folder.mkdir()
    code, said = commands.give(folder, [command, "--help"])
    assert code == 0
    about, _, listed = said.partition("\n\n" + f"{groups[0]}=") if groups else (said, "", "")
    assert len([line for line in about.splitlines() if line]) <= 10
    assert about.count(f"  bcq {command} ") == 3
    assert "docs/command-line.md" in about
    assert len(listed.split()) == sum(len(choices(group)) + 1 for group in groups) - bool(groups)
    assert not [group for group in others if f"\n{group}=" in said]


PARSERS = {
    "report": report.parser(),
    "dashboard": dashboard.parser(),
    **{f"dashboard {name}": dashboard.parser_of(name) for name in dashboard.COMMANDS},
    "collect inspect": inspection.parser(),
    "collect convert": convert.parser(),
    "collect treatment": treatment.parser(),
}


@pytest.mark.parametrize("command", PARSERS)
def test_help_of_words_and_flags_has_the_same_form(command: str):
    about, _, listed = PARSERS[command].format_help().partition("\n\npositional arguments:\n")
    assert len([line for line in about.splitlines() if line]) <= 10
    assert max(map(len, about.splitlines())) <= 130
    assert f"\n\nbcq {command} " in about
    assert about.count(f"\n  bcq {command} ") == 3
    assert all((ROOT / page).is_file() for page in about.rpartition("Read on: ")[2].removesuffix(".").split(", "))
    assert "  -h, --help " in listed


@pytest.mark.parametrize("command", PARSERS)
def test_each_example_of_a_help_is_words_that_its_command_takes(command: str):
    for typed in re.findall(rf"^  bcq {command} (.+)$", PARSERS[command].format_help(), re.MULTILINE):
        words = shlex.split(typed)
        PARSERS[f"dashboard {words[0]}" if command == "dashboard" else command].parse_args(
            words[1:] if command == "dashboard" else words
        )
        if command == "report":
            directories, keys = report.sorted_words(words)
            assert bool(directories) != bool(report.wandb_project(keys))


@pytest.mark.parametrize("command", [name for name, command in COMMANDS.items() if command.config_name])
def test_each_example_of_a_help_of_hydras_is_composed(command: str):
    examples = re.findall(rf"^    bcq {command} (.+)$", (ROOT / f"conf/hydra/help/{command}.yaml").read_text(), re.M)
    assert len(examples) == 3
    for words in map(shlex.split, examples):
        if f"{command} {words[0]}" in PARSERS:
            PARSERS[f"{command} {words[0]}"].parse_args(words[1:])
        else:
            documents.composed_first(command, words)


def test_a_script_of_a_command_is_the_command(monkeypatch: pytest.MonkeyPatch):
    given = []
    monkeypatch.setattr("bcq_exp.__main__.give", lambda command: given.append((command, sys.argv)))
    main = import_module("bcq_exp.__main__").main
    for typed in (["/bin/bcq-train", "-m", "seed=0,1"], ["/bin/bcq", "train", "-m", "seed=0,1"]):
        monkeypatch.setattr("sys.argv", list(typed))
        main()
    assert given == [("train", ["/bin/bcq-train", "-m", "seed=0,1"])] * 2


COMPLETION = """
PATH=.:$PATH
eval "$(bcq -sc install=bash)"
complete() {{ COMP_LINE=$1; COMP_POINT=${{#1}}; local words=($1); COMP_CWORD=$((${{#words[@]}} - 1))
              hydra_bash_completion; echo "${{COMPREPLY[@]}}"; }}
complete "bcq eval"
complete "bcq train optimizer="
complete "bcq-train optimizer="
complete "bcq train algorithm=bcq algorithm.lm"
"""


def test_bash_completes_commands_groups_choices_and_keys(tmp_path: Path):
    if shutil.which("bash") is None:
        pytest.skip("bash is not here")
    for name in ("bcq", "bcq-train"):
        script = tmp_path / name
        lines = [f"#!{sys.executable}", "import sys", f"sys.path.insert(0, {str(ROOT)!r})",
                 "from bcq_exp.__main__ import main", "main()"]  # fmt: skip
        script.write_text("\n".join(lines))
        script.chmod(0o755)
    typed = COMPLETION.format()
    done = subprocess.run(["bash", "-c", typed], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "evaluate", "optimizer=adam optimizer=adamw", "optimizer=adam optimizer=adamw", "algorithm.lmbda=",
    ]  # fmt: skip
