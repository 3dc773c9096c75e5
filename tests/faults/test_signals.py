"""A signal that asks a process to end saves its work, and the resumed run equals one without the signal."""

import os
import re
import signal
from pathlib import Path

import pytest

from bcq_exp.io.checkpoint import common_checkpoints, update_of
from bcq_exp.io.files import read_json
from processes import SMALL, begin, end, give, num_rows, on_file, result, wait_for


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, discrete_file: Path) -> Path:
    path = tmp_path_factory.mktemp("unbroken")
    assert give(path, "train", *SMALL, *on_file(discrete_file))[0] == 0
    return path / "run"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_run_is_saved_and_goes_on_to_the_same_end(
    tmp_path: Path, unbroken: Path, discrete_file: Path, signum: signal.Signals
):
    process = begin(tmp_path, "train", *SMALL, *on_file(discrete_file))
    run_dir = tmp_path / "run"
    wait_for(lambda: num_rows(run_dir) >= 2, process)
    process.send_signal(signum)
    code, said = end(process)
    assert code == 75
    line = said.splitlines()[-1]
    assert line == f"stopped by {signum.name}; to go on, python -m bcq_exp.train resume={run_dir}"
    (path,) = common_checkpoints([run_dir])[0]
    assert 100 <= update_of(path) < 600
    assert not (run_dir / "summary.json").exists()

    code, said = give(tmp_path, "train", f"resume={run_dir}")
    assert code == 0, said
    assert result(run_dir) == result(unbroken)
    summaries = [{**read_json(path / "summary.json"), "updates_per_second": 0, "overrides": 0}
                 for path in (run_dir, unbroken)]  # fmt: skip
    assert summaries[0] == summaries[1]


def test_a_second_signal_ends_the_process_at_once(tmp_path: Path, discrete_file: Path):
    process = begin(tmp_path, "train", *SMALL, *on_file(discrete_file))
    wait_for(lambda: num_rows(tmp_path / "run") >= 1, process)
    process.send_signal(signal.SIGSTOP)  # so that both have come before the first is answered
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGCONT)
    code, _ = end(process)
    assert code in (-signal.SIGTERM, -signal.SIGHUP)


def test_a_sweep_stops_too_and_the_same_command_goes_on(tmp_path: Path, discrete_file: Path):
    typed = ["-m", *SMALL[:-1], *on_file(discrete_file), "algorithm=bc_discrete,dqn", "hydra.sweep.dir=sweep"]
    process = begin(tmp_path, "train", *typed)
    wait_for(lambda: any(num_rows(path) >= 2 for path in tmp_path.glob("sweep/*/")), process)
    process.send_signal(signal.SIGTERM)
    code, said = end(process)
    assert code == 75
    assert said.splitlines()[-1] == "stopped by SIGTERM; to go on, give the same command again"
    assert len(list(tmp_path.glob("sweep/*/checkpoints/update_*"))) == 1
    code, said = give(tmp_path, "train", *typed)
    assert code == 0, said
    assert "from update_" in said
    assert len(list(tmp_path.glob("sweep/*/summary.json"))) == 2


def pids(sweep_dir: Path) -> list[int]:
    found = [re.findall(r"process (\d+):", path.read_text()) for path in sweep_dir.glob("groups/*.log")]
    return [int(each[-1]) for each in found if each]


EXECUTOR = ("hydra.launcher.executor=submitit_local", "hydra.launcher.num_processes=1", "hydra.sweep.dir=sweep")


@pytest.mark.executors
def test_a_stopped_sweep_stops_the_processes_of_its_groups(tmp_path: Path, discrete_file: Path):
    pytest.importorskip("submitit")
    typed = ["-m", *SMALL[:-1], *on_file(discrete_file), "algorithm=dqn", *EXECUTOR]
    process = begin(tmp_path, "train", *typed)
    wait_for(lambda: any(num_rows(path) >= 2 for path in tmp_path.glob("sweep/*/")), process)
    (pid,) = pids(tmp_path / "sweep")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does on Ctrl-C: all of them get it
    code, said = end(process)
    assert code == 75
    assert said.splitlines()[-1] == "stopped by SIGINT; to go on, give the same command again"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    (log,) = tmp_path.glob("sweep/groups/*.log")
    assert re.search(r"update \d+ is saved\n.*stopped by SIGTERM", log.read_text())
    assert len(list(tmp_path.glob("sweep/*/checkpoints/update_*"))) == 1


@pytest.mark.executors
def test_a_job_that_slurm_warns_is_saved_and_put_in_the_queue_again(tmp_path: Path, discrete_file: Path):
    pytest.importorskip("submitit")
    typed = ["-m", *SMALL[:-1], *on_file(discrete_file), "algorithm=dqn", *EXECUTOR]
    process = begin(tmp_path, "train", *typed)
    wait_for(lambda: any(num_rows(path) >= 2 for path in tmp_path.glob("sweep/*/")), process)
    (first,) = pids(tmp_path / "sweep")
    os.kill(first, signal.SIGUSR2)  # what submitit has SLURM send before a job's time is over
    code, said = end(process)
    assert code == 0, said  # submitit has started it again, and it has gone on to its end
    (log,) = tmp_path.glob("sweep/groups/*.log")
    (saved,) = re.findall(r"update (\d+) is saved", log.read_text())
    assert f"from update_{int(saved):08d}" in log.read_text()
    assert pids(tmp_path / "sweep") != [first]
    assert len(list(tmp_path.glob("sweep/*/summary.json"))) == 1
