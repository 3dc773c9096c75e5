"""CSV files on disk: rows as they are logged, resumed files, and files that were cut or altered."""

import csv
import math
import os
from pathlib import Path

import pytest

from bcq_exp.io.loggers.csv import CSVLogger, CSVLoggerConfig
from bcq_exp.io.loggers.form import LoggedRun

COLUMNS = ["critic_loss", "vae_loss", "return"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_metrics_of_one_update_share_a_row(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    logger = CSVLogger(path, COLUMNS)
    logger.log(500, {"critic_loss": 0.1, "vae_loss": 2})
    logger.log(1000, {"critic_loss": 123456.789012345, "vae_loss": 1e-17})
    logger.log(1000, {"return": -180.5, "vae_loss": 3})
    logger.log(1500, {"return": 0.12345678901234567, "vae_loss": 2})
    logger.log(1500, {"return": math.nan, "critic_loss": math.inf, "vae_loss": -math.inf})
    # Read before the logger is finished: each row is on disk when it is logged.
    assert path.read_text() == (
        "update,critic_loss,vae_loss,return\n500,0.1,2.0,\n1000,123456.789012345,3.0,-180.5\n1500,inf,-inf,nan\n"
    )
    logger.finish({})


def test_values_round_trip_exactly(tmp_path: Path) -> None:
    values = [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    logger = CSVLogger(tmp_path / "metrics.csv", ["loss"])
    for update, value in enumerate(values):
        logger.log(update, {"loss": value})
    read = [float(row["loss"]) for row in rows(tmp_path / "metrics.csv")]
    assert [value.hex() for value in read] == [value.hex() for value in values]


def test_an_unknown_metric_or_an_earlier_update_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    logger = CSVLogger(path, COLUMNS)
    logger.log(20, {"critic_loss": 1.0})
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"metrics\.csv: no column for \['actor_loss'\]"):
        logger.log(30, {"critic_loss": 1.0, "actor_loss": 2.0})
    with pytest.raises(ValueError, match="no column for \\['update'\\]"):
        logger.log(30, {"update": 30})
    with pytest.raises(ValueError, match="update 10 after update 20"):
        logger.log(10, {"critic_loss": 1.0})
    assert path.read_bytes() == before


def test_a_resumed_file_equals_one_that_was_never_interrupted(tmp_path: Path) -> None:
    whole, resumed = CSVLogger(tmp_path / "whole.csv", COLUMNS), CSVLogger(tmp_path / "resumed.csv", COLUMNS)
    texts = []
    for update in (0, 100, 200, 300):
        for logger in (whole, resumed):
            logger.log(update, {"critic_loss": update / 7})
        texts.append(resumed.read())
    # The checkpoint was of update 200; the process was killed in the middle of a row.
    with (tmp_path / "resumed.csv").open("a") as file:
        file.write("400,0.1")
    resumed = CSVLogger(tmp_path / "resumed.csv", COLUMNS)
    resumed.begin(texts[2])
    assert [row["update"] for row in rows(tmp_path / "resumed.csv")] == ["0", "100", "200"]
    resumed.log(200, {"return": 1.5})
    resumed.log(300, {"critic_loss": 300 / 7})
    for logger in (whole, resumed):
        logger.log(400, {"critic_loss": 0.5, "return": 2.5})
    expected = (tmp_path / "whole.csv").read_text().replace(f"{200 / 7},,\n", f"{200 / 7},,1.5\n")
    assert (tmp_path / "resumed.csv").read_text() == expected
    assert sorted(os.listdir(tmp_path)) == ["resumed.csv", "whole.csv"]


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (b"update,critic_loss,vae_loss,return\n0,0.0,,\n", "was cut or altered"),
        (b"update,critic_loss,vae_loss,return\n0,0.5,,\n10,10.0,,\n", "was cut or altered"),
        (b"update,critic_loss,vae_loss,return\n10,10.0,,\n20,20.0,,\n", "was cut or altered"),
        (b"\xff\xfe\0", "was cut or altered"),
        (b"", "was missing"),
        (None, "was missing"),
    ],
    ids=["cut", "altered", "a row less", "no text", "empty", "none"],
)
def test_rows_that_a_checkpoint_knows_are_restored_and_it_is_said(
    tmp_path: Path, damaged: bytes | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.csv"
    logger = CSVLogger(path, COLUMNS)
    for update in (0, 10):
        logger.log(update, {"critic_loss": update})
    text = logger.read()
    path.unlink() if damaged is None else path.write_bytes(damaged)
    logger = CSVLogger(path, COLUMNS)
    logger.begin(text)
    assert path.read_text() == text
    assert [record.message for record in caplog.records] == [
        f"{path} {said}; its rows are restored from the checkpoint"
    ]
    assert list(logger.rows()) == [(0, {"critic_loss": 0.0}), (10, {"critic_loss": 10.0})]


def test_rows_behind_the_checkpoint_go_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = CSVLogger(tmp_path / "metrics.csv", COLUMNS)
    logger.log(0, {"critic_loss": 1.0})
    text = logger.read()
    logger.log(10, {"critic_loss": 2.0})
    CSVLogger(tmp_path / "metrics.csv", COLUMNS).begin(text)
    assert (tmp_path / "metrics.csv").read_text() == text
    assert not caplog.records


def test_an_interrupted_restoration_keeps_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.csv"
    logger = CSVLogger(path, COLUMNS)
    for update in range(5):
        logger.log(update, {"critic_loss": update})
    before = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        logger.begin(before.decode().partition("\n")[0] + "\n")
    assert path.read_bytes() == before


@pytest.mark.parametrize("found", [b"update,loss\n1,2.0\n", b"\xff\0notes", b"my own notes"])
def test_a_file_of_other_columns_is_refused_and_kept(tmp_path: Path, found: bytes) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(found)
    with pytest.raises(
        ValueError, match=r"metrics\.csv: its first line is not update,critic_loss,.* move the file away"
    ):
        CSVLogger(path, COLUMNS).begin()
    assert path.read_bytes() == found


def test_a_row_is_on_disk_before_a_checkpoint_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(os.pread(descriptor, 99, 0))
        fsync(descriptor)

    logger = CSVLogger(tmp_path / "metrics.csv", ["loss"])
    logger.log(1, {"loss": 0.5})
    monkeypatch.setattr(os, "fsync", spy)
    assert logger.read() == "update,loss\n1,0.5\n"
    assert synced == [b"update,loss\n1,0.5\n"]


def test_alone_it_logs_nowhere_else(tmp_path: Path):
    logger = CSVLoggerConfig(name="csv").begin(LoggedRun(tmp_path, "bcq-pendulum-seed0", "bcq-pendulum", "bcq", {}))
    logger.log(1, {"loss": 0.5})
    logger.finish({})
    assert list(tmp_path.iterdir()) == []
