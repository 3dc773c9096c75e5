"""The rest of an offline file, for a server that has its first rows."""

from pathlib import Path
from typing import Any

import pytest

from bcq_exp.dashboards.upload import OfflineRun
from bcq_exp.io.loggers.wandb_file import joined, split
from wandb_files import wandb_records, wandb_values

pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
NUM_ROWS = 40


def items(values: dict[str, str]) -> list[dict[str, Any]]:
    return [{"nested_key": [key], "value_json": value} for key, value in values.items()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with records that are longer than a block, and others that end near its edge."""
    config = {"update": items({"long": f'"{"x" * 70_000}"'})}
    history = [
        pb.Record(history={"item": items({"loss": f'"{"y" * (900 * row)}"'}), "step": {"num": 10 * row}})
        for row in range(NUM_ROWS)
    ]
    records = [pb.Record(run={"run_id": "abcd1234", "project": "p", "config": config}), *history,
               pb.Record(exit={"exit_code": 0})]  # fmt: skip
    path = tmp_path / "run-abcd1234.wandb"
    path.write_bytes(joined(record.SerializeToString() for record in records))
    return path


@pytest.mark.parametrize("num_sent", [0, 1, 17, NUM_ROWS])
def test_the_rest_has_the_later_rows_and_all_that_is_no_row(num_sent: int, path: Path, tmp_path: Path):
    run = OfflineRun.read(path)
    assert (run.run_id, run.project, run.entity) == ("abcd1234", "p", "")
    assert run.steps == list(range(0, 10 * NUM_ROWS, 10))
    rest = tmp_path / "rest.wandb"
    rest.write_bytes(run.rest(num_sent))
    records = list(wandb_records(rest))
    assert [r.history.step.num for r in records if r.HasField("history")] == run.steps[num_sent:]
    assert [wandb_values(r.run.config.update)["long"] for r in records if r.HasField("run")] == ["x" * 70_000]
    assert records[-1].HasField("exit")


def test_a_file_that_was_cut_gives_the_records_before_the_cut(path: Path):
    content = path.read_bytes()
    whole = list(split(content))
    assert joined(whole) == content
    for length in (7, 100, 70_000, len(content) // 2, len(content) - 1):
        found = list(split(content[:length]))
        assert found == whole[: len(found)]
        assert len(found) < len(whole)
