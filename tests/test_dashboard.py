"""`bcq-dashboard` as its users run it."""

import signal
import time
from pathlib import Path

import psutil
import pytest

from bcq_exp import dashboard
from processes import begin, give, wait_for
from synced import clone
from trained import on_file, train_run
from wandb_server import WandbServer


def test_help_names_each_command_and_what_it_does(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("sys.argv", ["bcq-dashboard", "--help"])
    with pytest.raises(SystemExit) as ended:
        dashboard.main()
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    for name, command in dashboard.COMMANDS.items():
        assert f"{name} {' '.join(command.__doc__.splitlines()[0].split())}" in said


def test_a_mistake_is_one_line_and_a_code(tmp_path: Path):
    assert give(tmp_path, "dashboard", "sync", "nowhere") == (1, "error: no such directory: nowhere\n")


def test_ctrl_c_ends_sync_with_its_uploads(tmp_path: Path, discrete_file: Path, wandb_server: WandbServer):
    trained = train_run(tmp_path / "trained", *on_file(discrete_file), "algorithm=dqn", "logger=csv")
    clone(trained, tmp_path / "run", 0, 30)
    wandb_server.fail("hang", after=4)  # in the midst of the upload
    process = begin(tmp_path, "dashboard", "sync", "run")
    wait_for(lambda: wandb_server.requests.count("UpsertBucket") > 0, process)
    calls = [each for each in psutil.Process(process.pid).children() if "sync" in each.cmdline()]
    assert calls
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 75
    assert "stopped by SIGINT; to go on, give the same command again" in said
    assert "Traceback" not in said
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in calls)
