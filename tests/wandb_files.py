"""The files of W&B's offline runs, read back."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a `.wandb` file: a header of 7 bytes, then LevelDB's log format."""
    pytest.importorskip("wandb").teardown()  # W&B's own process may still be writing
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    data, offset, record = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while offset + 7 <= len(data):
        if 32768 - offset % 32768 < 7:  # the rest of a block is too short for a record's header
            offset += 32768 - offset % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, offset)
        record += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield pb.Record.FromString(record)
            record = b""


def wandb_values(items: Any) -> dict[str, Any]:
    """Keys and values of a W&B config, history or summary."""
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
