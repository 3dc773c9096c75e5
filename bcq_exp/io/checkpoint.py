"""Nested state on disk: tensors as safetensors, all else as JSON, each checkpoint complete or absent.

    RUN/checkpoints/update_00001000/tensors.safetensors   every tensor, named by its keys joined with `/`
    RUN/checkpoints/update_00001000/state.json            the nesting, every other value, the sums of both

JSON has neither tensors, tuples, keys that are integers nor numbers that are not finite. They are objects with one key:
`{"$tensor": name}`, `{"$tuple": [...]}`, `{"$items": [[key, value], ...]}`, `{"$float": "nan"}`.
"""

import hashlib
import json
import logging
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

from bcq_exp.io.files import sync, write_bytes

FORMAT_VERSION = 2
TENSORS = "tensors.safetensors"
STATE = "state.json"
PARTIAL, REPLACED = ".partial", ".replaced"

log = logging.getLogger(__name__)


class Damaged(ValueError):
    """A checkpoint is not as it was written."""


def save_checkpoint(directory: Path, update: int, state: Mapping[str, Any]) -> Path:
    """Writes `state` as the checkpoint of `update`.

    A process killed at any moment leaves complete checkpoints only. One of `update` that is there already goes when the
    new one is on disk.

    Args:
        directory: the run directory.
        update: number of updates made.
        state: dicts with str or int keys, lists and tuples of tensors, int, float, bool, str and None.

    Returns:
        The checkpoint's directory.

    Raises:
        ValueError: a key or value cannot be stored.
        OSError: the disk refuses it; nothing is left of it.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_encode(state, "", tensors))
    data = safetensors.save(tensors)
    header = {"version": FORMAT_VERSION, "tensors_sha256": _sha256(data), "state_sha256": _sha256(tree.encode())}

    checkpoints = directory / "checkpoints"
    path, partial = checkpoints / f"update_{update:08d}", checkpoints / PARTIAL
    clear_partial_checkpoints(directory)
    try:
        partial.mkdir(parents=True)
        write_bytes(partial / TENSORS, data)
        write_bytes(partial / STATE, f'{json.dumps(header)[:-1]}, "state": {tree}}}\n'.encode())
        if path.exists():
            path.rename(path.with_name(f".{path.name}{REPLACED}"))
        partial.rename(path)
        sync(checkpoints)
    finally:
        clear_partial_checkpoints(directory)
    return path


def keep_checkpoints(directory: Path, num: int, update: int) -> None:
    """Removes the checkpoints before `update` but for the last `num`, that of `update` among them.

    Later ones, which a run that has gone back to an earlier one left, stay until it comes to them: they say nothing of
    how many of those before may go.

    Raises:
        ValueError: `num` is below 1.
    """
    if num < 1:
        raise ValueError(f"num_checkpoints={num}: at least 1 checkpoint is kept")
    for old in [path for path in _checkpoints(directory) if update_of(path) <= update][:-num]:
        _remove(old)


def remove_end(directory: Path, end: int, freqs: Sequence[int]) -> None:
    """Removes the checkpoint of an end that is no end any more, where its last rows would not have been written.

    The last update of a run is an event of every kind: a longer run that would not have logged or evaluated there goes
    on from the checkpoint before, and comes by the same rows as one that was never shorter.

    Args:
        directory: the run directory.
        end: number of updates that the run had ended with.
        freqs: updates between two events of each kind that writes rows.

    Raises:
        ValueError: there is no checkpoint before.
    """
    if all(end % freq == 0 for freq in freqs):
        return
    before = [path for path in _checkpoints(directory) if update_of(path) < end]
    if not before:
        raise ValueError(
            f"{directory} cannot go on for longer: its last rows, of update {end}, are none of a longer run"
            f" (log_freq and eval_freq are {', '.join(map(str, freqs))}), and no checkpoint before update {end} is"
            " kept; begin anew in another directory"
        )
    for path in [path for path in _checkpoints(directory) if path not in before]:
        _remove(path)


def clear_partial_checkpoints(directory: Path) -> None:
    """Removes what a killed process left of a checkpoint half written, half removed or half replaced."""
    checkpoints = directory / "checkpoints"
    for old in checkpoints.glob(f".update_*{REPLACED}"):
        if (path := old.with_name(old.name[1:].removesuffix(REPLACED))).exists():
            shutil.rmtree(old)
        else:
            old.rename(path)
    if (partial := checkpoints / PARTIAL).exists():
        shutil.rmtree(partial)


def common_checkpoints(directories: Sequence[Path]) -> list[list[Path]]:
    """The checkpoints of the updates that every run directory has one of, the newest update first; damaged ones too.

    Args:
        directories: of one run, or of the members of a population.

    Returns:
        For each update the checkpoints' directories, one a run directory, in their order; `update_of` tells the update.
    """
    found = [{path.name: path for path in _checkpoints(directory)} for directory in directories]
    common = [name for name in found[0] if all(name in checkpoints for checkpoints in found)]
    return [[checkpoints[name] for checkpoints in found] for name in reversed(common)]


def update_of(path: Path) -> int:
    """The number of updates that had been made when a checkpoint was written."""
    return int(path.name.removeprefix("update_"))


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads the state that `save_checkpoint` wrote: equal in every bit, tuples as tuples, int keys as ints.

    Args:
        path: the checkpoint's directory.
        device: where the tensors go. States of random generators belong on the CPU.

    Raises:
        Damaged: a file is missing, truncated or altered, or cannot be read.
        ValueError: the checkpoint is of another format version.
    """
    try:
        text = (path / STATE).read_text(encoding="utf-8")
        data = (path / TENSORS).read_bytes()
    except FileNotFoundError as error:
        raise Damaged(f"{error.filename} is missing") from None
    except OSError as error:
        raise Damaged(f"{error.filename} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Damaged(_altered(path / STATE)) from None
    try:
        content = json.loads(text)
        version = content["version"]
        tensors_sha256, state_sha256, tree = content["tensors_sha256"], content["state_sha256"], content["state"]
        found_sha256 = _sha256(json.dumps(tree).encode())
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Damaged(_altered(path / STATE)) from None
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path / STATE}: format version {version}, but this release reads {FORMAT_VERSION} only: go on with the"
            " release that wrote it (manifest.json of its run names it), or begin the run anew in another directory"
        )
    if found_sha256 != state_sha256:
        raise Damaged(_altered(path / STATE))
    if _sha256(data) != tensors_sha256:
        raise Damaged(_altered(path / TENSORS))
    try:
        tensors = {name: tensor.to(device) for name, tensor in safetensors.load(data).items()}
        state: dict[str, Any] = _decode(tree, tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        raise Damaged(_altered(path)) from None
    if not isinstance(state, dict):
        raise Damaged(_altered(path / STATE))
    return state


def newest_states(directories: Sequence[Path]) -> tuple[list[Path], list[dict[str, Any]]]:
    """The newest of the common checkpoints that are whole, with what they hold; empty where there is none.

    Args:
        directories: as for `common_checkpoints`.

    Raises:
        ValueError: there are some, but none is whole, or one is of another format version.
    """
    damaged: list[str] = []
    for paths in common_checkpoints(directories):
        try:
            return paths, [load_checkpoint(path) for path in paths]
        except Damaged as error:
            log.warning("%s; the checkpoint before is used", error)
            damaged.append(str(error))
    if damaged:
        raise ValueError(
            f"{'; '.join(damaged)}; no checkpoint of {directories[0]} is whole: restore one, or remove"
            f" {directories[0] / 'checkpoints'} to begin from the first update"
        )
    return [], []


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
    """Checkpoints by number of updates; each had all its files when it came to its name."""
    found = directory.glob("checkpoints/update_*")
    return sorted((p for p in found if re.fullmatch(r"update_\d+", p.name) and p.is_dir()), key=update_of)


def _remove(path: Path) -> None:
    """Removes a checkpoint."""
    path.rename(path.with_name(PARTIAL))  # at once no checkpoint any more, however long the rest takes
    clear_partial_checkpoints(path.parents[1])


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _altered(file: Path) -> str:
    return f"{file} is truncated or altered"
