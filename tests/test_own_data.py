"""`docs/own-data.md` from its first command to its last script, on fewer patients and updates."""

import csv
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bcq_exp.envs.treatment import DOSES
from bcq_exp.io.files import read_json
from documents import ROOT, blocks, commands

BLOCKS = blocks(ROOT / "docs" / "own-data.md")
COMMANDS = [words for block in BLOCKS if block.language == "sh" for words in commands(block)]
SCRIPTS = [block.text for block in BLOCKS if block.language == "python"]
# What each command gets besides: 150 patients for 2,000, 60 updates for 3,000 and 4,000. That is too few for fitted
# values, so importance weights decide, of any effective sample size.
FIT = ("network.hidden_sizes=[8]", "compile=never", "num_threads=1")
SMALL = {
    "bcq_exp.collect treatment": ("--patients", "150"),
    "bcq_exp.train": ("num_updates=60", "eval_freq=60", "log_freq=60", "eval_ope.num_updates=10", *FIT),
    "bcq_exp.evaluate": ("num_updates=60", "num_resamples=100", "min_ess=1", *FIT),
}
# Runs modules one after the other, so that torch is imported once.
RUN_ALL = """
import json, runpy, sys
for module, *words in json.load(sys.stdin):
    print(f"{chr(10)}$ {module}", flush=True)
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.stdout.flush()
"""
IMPORTED = "\nimport sys\nprint(json.dumps([name for name in sys.modules if '.' not in name]))\n"


def at_small_budget(command: Sequence[str]) -> list[str]:
    """Module and words, with those of `SMALL`."""
    python, flag, *words = command
    assert (python, flag) == ("python", "-m")
    return [*words, *next((small for start, small in SMALL.items() if " ".join(words).startswith(start)), ())]


def ran(cwd: Path, code: str, stdin: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, input=stdin, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_goes_from_a_csv_file_to_a_policy_that_acts_alone(tmp_path: Path):
    for package in ("pyarrow", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    typed = [at_small_budget(command) for command in COMMANDS]
    assert [words[0].removeprefix("bcq_exp.") for words in typed] == [
        "collect", "collect", "train", "report", "evaluate", "export",
    ]  # fmt: skip
    _, log, inspected, trained, report, chosen, exported = ran(tmp_path, RUN_ALL, json.dumps(typed)).split("\n$ ")
    assert "150 patients, " in log
    for word in ("a time limit marked as terminal?", "rewards only at ends", "actions that are rarely taken"):
        assert f"warning: {word}" in inspected
    for table in (trained, report):
        assert "mean fqe estimates on held-out episodes after 60 updates, over seeds" in table
    assert "wis: decides" in chosen
    sweep = tmp_path / "outputs" / "sweeps" / "doses"
    kept, sidecar = read_json(sweep / "selection.json"), read_json(tmp_path / "doses.onnx.json")
    assert [len(setting["seeds"]) for setting in kept["settings"]] == [3] * 12
    assert kept["judged_on"] == "held-out episodes"
    assert exported.splitlines()[1].endswith(
        f"{kept['chosen']['run']}: chosen by wis, setting {kept['chosen']['setting']}"
    )
    assert (sidecar["run"]["directory"], sidecar["environment"]) == (kept["chosen"]["run"], None)
    assert sidecar["dataset"]["action_names"] == list(DOSES)
    looked, acted, treated = (
        ran(tmp_path, script + end) for script, end in zip(SCRIPTS, ("", IMPORTED, ""), strict=True)
    )
    assert looked.startswith(f"{kept['chosen']['setting']} by wis on {kept['num_episodes']} held-out episodes\n")
    *lines, modules = acted.splitlines()
    with (tmp_path / "treatment.csv").open(newline="") as file:
        given = [
            f"hour {row['hour']}: given {row['dose']}, advised " for row in itertools.islice(csv.DictReader(file), 5)
        ]
    assert [line[: len(start)] for line, start in zip(lines, given, strict=True)] == given
    assert {line.partition("advised ")[2] for line in lines} <= {*DOSES}
    assert {"numpy", "onnxruntime"} <= {*json.loads(modules)}
    assert not {"bcq_exp", "torch", "gymnasium"} & {*json.loads(modules)}
    assert re.match(r"\d+\.\d% of 1,000 new patients live\n", treated)
