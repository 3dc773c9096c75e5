"""Nested state on disk: tensors as safetensors, all else as JSON, each checkpoint complete or absent.

    RUN/checkpoints/update_00001000/tensors.safetensors   every tensor, named by its keys joined with `/`
    RUN/checkpoints/update_00001000/state.json            the nesting, every other value, the sums of both

JSON has neither tensors, tuples, keys that are integers nor numbers that are not finite. They are objects with one key:
`{"$tensor": name}`, `{"$tuple": [...]}`, `{"$items": [[key, value], ...]}`, `{"$float": "nan"}`.
"""

import hashlib
import json
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from bcq_exp.files import sync, write_bytes

FORMAT_VERSION = 1
TENSORS = "tensors.safetensors"
STATE = "state.json"
PARTIAL = ".partial"


def save_checkpoint(directory: Path, update: int, state: Mapping[str, Any], *, keep: int) -> Path:
    """Writes `state` as the checkpoint of `update` and removes all checkpoints but the last `keep`.

    A process killed at any moment leaves complete checkpoints only, and the one before stays until the new one is on
    disk.

    Args:
        directory: the run directory.
        update: number of updates made.
        state: dicts with str or int keys, lists and tuples of tensors, int, float, bool, str and None.
        keep: at least 1.

    Returns:
        The checkpoint's directory.

    Raises:
        ValueError: a key or value cannot be stored, or `keep` is below 1.
    """
    if keep < 1:
        raise ValueError(f"keep={keep}: at least 1 checkpoint is kept")
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_encode(state, "", tensors))
    data = safetensors.save(tensors)
    header = {"version": FORMAT_VERSION, "tensors_sha256": _sha256(data), "state_sha256": _sha256(tree.encode())}

    checkpoints = directory / "checkpoints"
    path = checkpoints / f"update_{update:08d}"
    _remove(path)
    partial = checkpoints / PARTIAL
    partial.mkdir(parents=True)
    write_bytes(partial / TENSORS, data)
    write_bytes(partial / STATE, f'{json.dumps(header)[:-1]}, "state": {tree}}}\n'.encode())
    partial.rename(path)
    sync(checkpoints)

    for old in _checkpoints(directory)[:-keep]:
        _remove(old)
    return path


def latest_checkpoints(directories: Sequence[Path]) -> list[Path]:
    """The complete checkpoints of most updates that every run directory has, one each; empty where there are none."""
    found = [{path.name: path for path in _checkpoints(directory)} for directory in directories]
    common = [name for name in found[0] if all(name in checkpoints for checkpoints in found)]
    return [checkpoints[common[-1]] for checkpoints in found] if common else []


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads the state that `save_checkpoint` wrote: equal in every bit, tuples as tuples, int keys as ints.

    Args:
        path: the checkpoint's directory.
        device: where the tensors go. States of random generators belong on the CPU.

    Raises:
        ValueError: a file is missing, truncated, altered, or of another format version.
    """
    try:
        text = (path / STATE).read_text(encoding="utf-8")
        data = (path / TENSORS).read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(_damaged(path, getattr(error, "filename", None) or path / STATE)) from error
    try:
        content = json.loads(text)
        version = content["version"]
        tensors_sha256, state_sha256, tree = content["tensors_sha256"], content["state_sha256"], content["state"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(_damaged(path, path / STATE)) from error
    if version != FORMAT_VERSION:
        raise ValueError(f"{path / STATE}: format version {version}, but this release reads {FORMAT_VERSION} only")
    if _sha256(json.dumps(tree).encode()) != state_sha256:
        raise ValueError(_damaged(path, path / STATE))
    if _sha256(data) != tensors_sha256:
        raise ValueError(_damaged(path, path / TENSORS))
    try:
        tensors = {name: tensor.to(device) for name, tensor in safetensors.load(data).items()}
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(_damaged(path, path / TENSORS)) from error
    try:
        state = _decode(tree, tensors)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(_damaged(path, path / STATE)) from error
    if not isinstance(state, dict):
        raise ValueError(_damaged(path, path / STATE))
    return state


def _encode(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The JSON form of `value`, which lies at `name`; its tensors go into `tensors`."""
    match value:
        case Tensor():
            if name in tensors:
                raise ValueError(f"two tensors of the state have the name {name!r}; rename a key")
            # A copy: safetensors refuses tensors that share memory.
            tensors[name] = value.detach().to("cpu", copy=True).contiguous()
            return {"$tensor": name}
        case float() if not math.isfinite(value):
            return {"$float": str(float(value))}
        case None | bool() | int() | float() | str():
            return value
        case list():
            return [_encode(item, _join(name, index), tensors) for index, item in enumerate(value)]
        case tuple():
            return {"$tuple": _encode(list(value), name, tensors)}
        case Mapping():
            items = [[_key(key, name), _encode(item, _join(name, key), tensors)] for key, item in value.items()]
            is_plain = all(isinstance(key, str) and not key.startswith("$") for key, _ in items)
            return dict(items) if is_plain else {"$items": items}
        case _:
            raise ValueError(f"{name!r} of the state is a {type(value).__name__}, which a checkpoint cannot store")


def _decode(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    match tree:
        case {"$tensor": name}:
            return tensors[name]
        case {"$float": text}:
            return float(text)
        case {"$tuple": items}:
            return tuple(_decode(item, tensors) for item in items)
        case {"$items": items}:
            return {key: _decode(item, tensors) for key, item in items}
        case dict():
            return {key: _decode(item, tensors) for key, item in tree.items()}
        case list():
            return [_decode(item, tensors) for item in tree]
        case _:
            return tree


def _key(key: Any, name: str) -> str | int:
    if not isinstance(key, str | int):
        raise ValueError(f"{name!r} of the state has the key {key!r}; a checkpoint stores keys that are str or int")
    return key


def _join(name: str, key: object) -> str:
    return f"{name}/{key}" if name else str(key)


def _checkpoints(directory: Path) -> list[Path]:
    """Complete checkpoints, by number of updates."""
    found = [path for path in directory.glob("checkpoints/update_*") if re.fullmatch(r"update_\d+", path.name)]
    complete = [path for path in found if (path / TENSORS).is_file() and (path / STATE).is_file()]
    return sorted(complete, key=lambda path: int(path.name.removeprefix("update_")))


def _remove(path: Path) -> None:
    """Removes a checkpoint that may exist, and whatever a killed process left half written or half removed."""
    partial = path.with_name(PARTIAL)
    if partial.exists():
        shutil.rmtree(partial)
    if path.exists():
        path.rename(partial)  # at once no checkpoint any more, however long the rest takes
        shutil.rmtree(partial)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _damaged(path: Path, file: Path | str) -> str:
    return f"{file}: missing, truncated or altered; delete the checkpoint {path}, and the one before it is used"
