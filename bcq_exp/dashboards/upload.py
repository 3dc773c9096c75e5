"""The upload of one run by `wandb sync`, each row once.

Measured with wandb 0.31: `wandb sync` appends a file's rows to those that the server has, so what is uploaded again is
there twice. It ends with code 0 and leaves its mark `.wandb.synced` after uploads that failed, too. So the server is
asked for its rows: before the call, which is given the others only, and after it.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from bcq_exp.io.endings import first_line
from bcq_exp.io.files import write_bytes
from bcq_exp.io.loggers.wandb import is_logged_in
from bcq_exp.io.loggers.wandb_artifact import RunArtifact
from bcq_exp.io.loggers.wandb_file import joined, split
from bcq_exp.io.wandb_runs import set_limits

OUTPUT, PART = "sync.log", "sync"  # in RUN/wandb: what the last call of `wandb sync` said; the file that it uploads
COMMITTED = "COMMITTED"  # state of an artifact that is there whole
PATIENCE = 60.0  # seconds to wait for another upload of the same run, and for W&B to count rows that it has taken
LOGIN = "not logged in to W&B: `wandb login`, or set WANDB_API_KEY (a key: https://wandb.ai/authorize)"


class NoAnswer(ValueError):
    """W&B's server cannot be asked."""


class Server:
    """W&B's server, by its public API.

    Attributes:
        is_left: set where uploads are to end at once.
        projects: addresses of the projects that runs were found in.
        entity: the user's own, under which runs are that name none.

    Raises:
        ValueError: as `is_logged_in`.
        NoAnswer: nobody is logged in, or the server does not answer.
    """

    def __init__(self) -> None:
        set_limits()
        import wandb  # takes a second
        from wandb.errors import CommError
        from wandb.sdk.lib.service.service_connection import WandbApiFailedError

        self.is_left, self.projects = threading.Event(), set[str]()
        self._lock, self._refusals = threading.Lock(), (CommError, WandbApiFailedError)
        try:
            wandb.setup(settings=wandb.Settings(silent=True, mode="online"))  # WANDB_MODE is of runs
            if not is_logged_in():
                raise NoAnswer(LOGIN)
            self._api = wandb.Api(timeout=30)
            self.entity = self._api.default_entity
        except wandb.Error as error:
            raise NoAnswer(first_line(error)) from error

    def find(self, run: "OfflineRun") -> "Found":
        """What the server has of a run.

        Raises:
            NoAnswer: the server does not answer.
        """
        with self._asking():
            found = self._run(run)
            if found is None:
                return Found(0, -1, False)
            self.projects.add(found.url.partition("/runs/")[0])
            return Found(found.history_line_count or 0, found.lastHistoryStep, found.state == "finished")

    def has_artifact(self, run: "OfflineRun", digest: str) -> bool:
        """Whether the server has all of an artifact of a run, by W&B's digest of it.

        Raises:
            NoAnswer: the server does not answer.
        """
        with self._asking():
            found = self._run(run)
            artifacts = found.logged_artifacts() if found is not None else []
            return any(each.digest == digest and each.state == COMMITTED for each in artifacts)

    def _run(self, run: "OfflineRun") -> Any:
        """The run as W&B's API has it; None where there is no such run."""
        self._api.flush()  # type: ignore[no-untyped-call]
        try:
            return self._api.run(f"{run.entity or self.entity}/{run.project}/{run.run_id}")
        except self._refusals as error:
            if isinstance(getattr(error, "exc", None), ValueError):
                return None
            raise

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Ask one question at a time; raises NoAnswer where it is not answered."""
        with self._lock:
            try:
                yield
            except self._refusals as error:
                raise NoAnswer(first_line(error)) from error


class Found(NamedTuple):
    """What the server has of a run: how many rows, the last one's step, and whether the run has ended well."""

    num_rows: int
    last_step: int
    is_finished: bool


@dataclass(frozen=True)
class OfflineRun:
    """What is in the file of an offline run.

    Args:
        path: the file.
        entity: user or team; empty for the user's own.
        project, run_id: W&B's project and the run's id.
        steps: of its rows, in their order.
        records: all of it.
    """

    path: Path
    entity: str
    project: str
    run_id: str
    steps: list[int]
    records: list[Any]

    @classmethod
    def read(cls, path: Path) -> "OfflineRun":
        """Read a file that `write_offline_run` wrote."""
        record = import_module("wandb.proto.wandb_internal_pb2").Record
        records = [record.FromString(data) for data in split(path.read_bytes())]
        run = next(each.run for each in records if each.HasField("run"))
        steps = [each.history.step.num for each in records if each.HasField("history")]
        return cls(path, run.entity, run.project, run.run_id, steps, records)

    @property
    def begun(self) -> Any:
        """The record that names it."""
        return next(each.run for each in self.records if each.HasField("run"))

    @property
    def mark(self) -> Path:
        """W&B's mark that the file was uploaded; it is empty where W&B has made it."""
        return self.path.with_suffix(".wandb.synced")

    @property
    def is_uploaded(self) -> bool:
        """Whether an upload was found complete."""
        return self.mark.exists() and self.mark.stat().st_size > 0

    def rest(self, num_rows: int, others: Sequence[Any] = ()) -> bytes:
        """The content of a file without the first rows, with other records before the last one, the run's end."""
        kept, seen = [], 0
        for record in self.records:
            seen += record.HasField("history")
            if seen > num_rows or not record.HasField("history"):
                kept.append(record)
        return joined(each.SerializeToString(deterministic=True) for each in (*kept[:-1], *others, kept[-1]))


def upload(run: OfflineRun, server: Server, artifact: RunArtifact | None = None) -> bool:
    """Upload the rows that the server lacks, and an artifact; returns whether there was anything to do.

    Raises:
        ValueError: it did not succeed; the reason in a line. What was taken is not sent again.
    """
    folder = run.path.parents[1]
    with _only_upload(folder / OUTPUT, server) as output:
        if run.is_uploaded and artifact is None:
            return False
        found = _checked(run, server.find(run))
        if found.is_finished and found.num_rows == len(run.steps) and artifact is None:  # logged live
            _mark(run)
            return False
        part = folder / PART
        shutil.rmtree(part, ignore_errors=True)
        try:
            path = part / run.path.parent.name / run.path.name  # `wandb sync` wants a folder `offline-...`
            files = path.parent / "files"
            files.mkdir(parents=True)
            others = [] if artifact is None else artifact.records(run.begun, run.entity or server.entity, files)
            write_bytes(path, run.rest(found.num_rows, others))
            _call(path, output, server)
            said = [line for line in output.read().splitlines() if "ERROR" in line]
            is_marked = path.with_suffix(".wandb.synced").exists()
        finally:
            shutil.rmtree(part, ignore_errors=True)
        if said or not is_marked:
            reason = " ".join(said[0].partition("ERROR")[2].split()) if said else "W&B said nothing"
            raise ValueError(f"{reason} ({folder / OUTPUT})")
        _wait_for_rows(run, server)
        _mark(run)
        if artifact is not None:
            if not server.has_artifact(run, artifact.draft.digest):
                raise ValueError(f"all rows are there, but W&B did not take the artifact {artifact.name}")
            artifact.keep_account(folder.parent)
        return True


def _checked(run: OfflineRun, found: Found) -> Found:
    """What the server has of a run, as given; raises ValueError where these are not the run's first rows."""
    number, step, rows = found.num_rows, found.last_step, len(run.steps)
    if number > rows:
        raise ValueError(f"W&B has {number} rows and metrics.csv {rows}: train the run on first, resume=RUN")
    if number and step != run.steps[number - 1]:
        raise ValueError(
            f"the row {number} is update {step} in W&B and {run.steps[number - 1]} in metrics.csv: these are two runs;"
            " remove wandb.json and wandb/ from the run directory, and it is uploaded as a new one"
        )
    return found


def _wait_for_rows(run: OfflineRun, server: Server) -> None:
    """Wait until the server counts all rows; raises ValueError where it does not."""
    end = time.monotonic() + PATIENCE
    while (number := server.find(run).num_rows) != len(run.steps):
        if time.monotonic() > end or number > len(run.steps):
            raise ValueError(f"W&B has {number} rows of {len(run.steps)}")
        _pause(1, server)


def _mark(run: OfflineRun) -> None:
    last = f", the last one update {run.steps[-1]}" if run.steps else ""
    write_bytes(run.mark, f"{len(run.steps)} rows{last}\n".encode())


@contextmanager
def _only_upload(path: Path, server: Server) -> Iterator[TextIO]:
    """Hold a run's output file, which all processes of an upload have open until they end.

    A killed command leaves `wandb sync` at work for a while, so its lock must not end with it: the lock belongs to the
    open file, which that process writes to.

    Raises:
        ValueError: another upload did not end.
    """
    with path.open("a+", encoding="utf-8") as file:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise ValueError("another process has been uploading it for a minute") from None
                _pause(0.1, server)
        file.truncate(0)
        yield file


def _call(path: Path, output: TextIO, server: Server) -> None:
    """Have `wandb sync` upload one file."""
    env = {key: value for key, value in os.environ.items() if key not in ("WANDB_MODE", "WANDB_SERVICE")}
    env["WANDB_DIR"] = str(path.parents[1])  # of its own log, which would be in the current folder
    command = [sys.executable, "-m", "wandb", "sync", str(path)]
    with subprocess.Popen(command, stdin=output, stdout=output, stderr=output, env=env, start_new_session=True) as call:
        while call.poll() is None:
            try:
                _pause(0.02, server)
            except ValueError:
                call.kill()
                raise
    output.seek(0)


def _pause(seconds: float, server: Server) -> None:
    if server.is_left.wait(seconds):
        raise ValueError("stopped")
