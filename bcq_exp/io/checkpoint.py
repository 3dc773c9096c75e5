"""Checkpoints: nested state on disk, tensors as safetensors and the rest as JSON, each complete or absent.

    RUN/checkpoints/update_00001000/tensors.safetensors   every tensor, named by its keys, joined by `/`
    RUN/checkpoints/update_00001000/state.json            the nesting, every other value, the digests of both

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
    """Write `state` as the checkpoint of `update`.

    A process killed at any moment leaves complete checkpoints only. An existing checkpoint of `update` is removed once
    the new one is on disk.

    Args:
        directory: the run directory.
        update: number of updates made.
        state: dicts with str or int keys, lists and tuples of tensors, int, float, bool, str and None.

    Returns:
        The checkpoint's directory.

    Raises:
        ValueError: a key or value cannot be stored.
        OSError: a file cannot be written; nothing of the checkpoint remains.
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
    """Remove all checkpoints up to `update` but the last `num`.

    Later ones, left by a run that went back to an earlier checkpoint, stay until the run reaches them and do not count.

    Raises:
        ValueError: `num` is below 1.
    """
    if num < 1:
        raise ValueError(f"num_checkpoints={num}: at least 1 checkpoint is kept")
    for old in [path for path in _checkpoints(directory) if update_of(path) <= update][:-num]:
        _remove(old)


def remove_end(directory: Path, end: int, freqs: Sequence[int]) -> None:
    """Remove the final checkpoint of a run that shall now be longer, where a longer run would not have its last rows.

    A run logs and evaluates at its last update whatever the periods. A longer run that would have done neither there
    resumes from the checkpoint before, so its rows are those of a run that was never shorter.

    Args:
        directory: the run directory.
        end: updates of the shorter run.
        freqs: updates between two events, for each kind that writes rows.

    Raises:
        ValueError: there is no earlier checkpoint.
    """
    if all(end % freq == 0 for freq in freqs):
        return
    before = [path for path in _checkpoints(directory) if update_of(path) < end]
    if not before:
        raise ValueError(
            f"{directory} cannot become longer: a longer run would not have its last rows, of update {end}"
            f" (log_freq and eval_freq are {', '.join(map(str, freqs))}), and no checkpoint before update {end} is"
            " kept; begin anew in another directory"
        )
    for path in [path for path in _checkpoints(directory) if path not in before]:
        _remove(path)


def clear_partial_checkpoints(directory: Path) -> None:
    """Remove what a killed process left of a checkpoint half written, half removed or half replaced."""
    checkpoints = directory / "checkpoints"
    for old in checkpoints.glob(f".update_*{REPLACED}"):
        if (path := old.with_name(old.name[1:].removesuffix(REPLACED))).exists():
            shutil.rmtree(old)
        else:
            old.rename(path)
    if (partial := checkpoints / PARTIAL).exists():
        shutil.rmtree(partial)


def common_checkpoints(directories: Sequence[Path]) -> list[list[Path]]:
    """The updates at which every run directory has a checkpoint, newest first, damaged ones included.

    Args:
        directories: run directories: one, or those of a population's members.

    Returns:
        For each update the directories of its checkpoints, in the order of `directories`.
    """
    by_name = [{path.name: path for path in _checkpoints(directory)} for directory in directories]
    common = [name for name in by_name[0] if all(name in checkpoints for checkpoints in by_name)]
    return [[checkpoints[name] for checkpoints in by_name] for name in reversed(common)]


def update_of(path: Path) -> int:
    """The update of a checkpoint, from its directory."""
    return int(path.name.removeprefix("update_"))


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read the state that `save_checkpoint` wrote: equal bit by bit, tuples as tuples, int keys as ints.

    Args:
        path: the checkpoint's directory.
        device: of the tensors. States of random generators must be on the CPU.

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
        tree_sha256 = _sha256(json.dumps(tree).encode())
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Damaged(_altered(path / STATE)) from None
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path / STATE}: format version {version}, but this release reads {FORMAT_VERSION} only: go on with the"
            " release that wrote it (manifest.json of its run names it), or begin the run anew in another directory"
        )
    if tree_sha256 != state_sha256:
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
    """Load the newest common checkpoints that are whole: their directories and states, empty without checkpoints.

    Args:
        directories: as for `common_checkpoints`.

    Raises:
        ValueError: all of them are damaged, or one is of another format version.
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
    """The JSON form of `value`, whose keys are `name`; its tensors are added to `tensors`."""
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
    """Checkpoints by update; each was complete before it got its name."""
    paths = directory.glob("checkpoints/update_*")
    return sorted((p for p in paths if re.fullmatch(r"update_\d+", p.name) and p.is_dir()), key=update_of)


def _remove(path: Path) -> None:
    """Remove a checkpoint."""
    path.rename(path.with_name(PARTIAL))  # in one step, so a process killed meanwhile leaves no half checkpoint
    clear_partial_checkpoints(path.parents[1])


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _altered(file: Path) -> str:
    return f"{file} is truncated or altered"
