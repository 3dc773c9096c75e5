"""`docs/mistakes.md` says what each command answers, word for word but for paths and numbers."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

import commands
from processes import num_rows, small_disk

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "mistakes.md").read_text()
MISTAKES = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
TYPED = re.compile(r"^    \$ (.+)\n((?:    (?!\$ ).+\n)*)", re.MULTILINE)


def masked(said: str) -> str:
    """Without what differs from machine to machine: folders, and numbers behind a space or a colon."""
    said = re.sub(r"(?<![\w.])/[\w./-]*/", "PATH/", said)
    return re.sub(r"(?:^|(?<=[ :]))\d[\d.:]*", "N", said, flags=re.MULTILINE).replace(
        "PATH/.installed", ".venv/.installed"
    )


def pattern(shown: str) -> str:
    """A regular expression for what the page shows."""
    lines = "".join(line.removeprefix("    ") for line in shown.splitlines(keepends=True))
    whole = re.escape(masked(lines))
    return whole.replace(re.escape("...\n"), r"[\s\S]*").replace(re.escape("..."), ".*")


def old_python(folder: Path) -> str:
    """A folder of programs with a Python that says it is 3.10."""
    program = folder / "python3.10"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.version_info = (3, 10, 14)\nexec(sys.argv[2])\n")
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def give(folder: Path, line: str, mistake: str) -> str:
    """What a command of the page says."""
    program, *words = shlex.split(line)
    if program == "make":
        env = os.environ | {"PATH": old_python(folder)}
        command = ["make", *words, f"VENV={folder}/.venv"]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        return done.stdout + done.stderr
    output = folder.with_name("said")
    blocked = "tensorboard" if mistake.startswith("An extra") else None
    process = commands.begin(folder, output, words, blocked)
    if mistake == "Ctrl-C":
        while not num_rows(folder / "run") and process.is_alive():
            time.sleep(0.01)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
    process.join(120)
    assert process.exitcode == {"Ctrl-C": 75, "The same command twice": 0}.get(mistake, 1)
    return output.read_text()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_answered_as_the_page_says(tmp_path: Path, discrete_file: Path, mistake: str):
    if mistake == "An old Python" and shutil.which("make") is None:
        pytest.skip("make is not here")
    folder = tmp_path / "me"
    folder.mkdir()
    with small_disk(folder) if mistake == "No space" else nullcontext():
        shutil.copy(discrete_file, folder / "mine.h5")
        (folder / "empty").mkdir()
        if mistake == "No space":
            status = os.statvfs(folder)
            (folder / "filler").write_bytes(b"0" * (status.f_bavail * status.f_frsize - 16_384))
        answers = [(give(folder, line, mistake), shown) for line, shown in TYPED.findall(MISTAKES[mistake])]
    assert answers
    for said, shown in answers:
        assert re.fullmatch(pattern(shown), masked(said)), masked(said)


def test_there_are_ten():
    assert len(MISTAKES) == 10
