import subprocess
import sys
from pathlib import Path


def test_a_directory_without_runs_is_one_short_message(tmp_path: Path):
    command = [sys.executable, "-m", "bcq_exp.report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"error: no summary.json below {tmp_path}: no run has ended there\n"
