"""NumPy's `.npz` archives, with the column names of the project or of D4RL."""

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from bcq_exp.data import d4rl
from bcq_exp.data.h5 import COLUMNS
from bcq_exp.data.steps import from_steps
from bcq_exp.data.transitions import (
    Array,
    Transitions,
    as_act,
    as_flag,
    as_float,
    as_obs,
    check_keys,
    check_lengths,
    check_obs_next,
    episode_sums,
)

KEYS = {**d4rl.KEYS, "obs_next": "next_observations"}
DAMAGED = (  # what numpy, zipfile and zlib raise for bytes that were changed
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    RuntimeError,
    MemoryError,
    ArithmeticError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


def read_npz(path: str | Path) -> Transitions:
    """Read and check an archive of plain arrays; nothing in it is ever unpickled.

    The columns are named like those of `Transitions`, or like D4RL's: `observations`, `actions`, `rewards`,
    `terminals`, and `timeouts`, `next_observations` or both. Actions of one axis are discrete.

    With `next_observations` every row is a transition. Episodes end at `terminals` and `timeouts`, or, where there are
    no `timeouts`, at `terminals` and where the next row begins with another observation than the one that was reached.

    Without `next_observations` they are those of `from_steps`. A row with both flags terminates its episode; an
    archive that ends inside an episode is one cut short: that episode is truncated.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged or holds bad values, naming the file, the key and the first bad row.
    """
    source, columns = str(path), read_columns(path)
    if "obs" in columns:
        return Transitions.from_columns(columns, source)
    check_keys(columns, d4rl.REQUIRED, source)
    check_lengths(columns, source)
    if "timeouts" not in columns and "next_observations" not in columns:
        raise ValueError(
            f"{source}: missing dataset timeouts or next_observations; without both nothing says where an episode that "
            "did not terminate ends; add timeouts, 1 in the last row of each such episode"
        )
    obs = as_obs(columns["observations"], "observations", source)
    act = as_act(columns["actions"], "actions", source, is_discrete=columns["actions"].ndim == 1)
    rew = as_float(columns["rewards"], "rewards", source, (1,), "(N,)")
    terminated = as_flag(columns["terminals"], "terminals", source)
    has_timeouts = "timeouts" in columns
    ends = terminated | as_flag(columns["timeouts"], "timeouts", source) if has_timeouts else terminated.copy()
    ends[-1] = True
    if "next_observations" not in columns:
        return from_steps(obs=obs, act=act, rew=rew, terminated=terminated, ends=ends, source=source, keys=KEYS)

    obs_next = as_obs(columns["next_observations"], "next_observations", source)
    check_obs_next(obs_next, obs, KEYS, source)
    if not has_timeouts:
        ends[:-1] |= (obs_next[:-1] != obs[1:]).any(axis=tuple(range(1, obs.ndim)))
    return Transitions(
        obs=obs,
        act=act,
        rew=rew,
        terminated=terminated,
        truncated=ends & ~terminated,
        obs_next=obs_next,
        episode_returns=episode_sums(rew, ends),
        source=source,
        keys=KEYS,
    )


def read_columns(path: str | Path) -> dict[str, Array]:
    """The known columns that an archive has, unchecked; raises like `read_npz`."""
    known, key = (*COLUMNS, *KEYS.values()), ""
    try:
        with np.load(path, allow_pickle=False) as archive:
            for member in archive.zip.namelist():
                archive.zip.open(member).close()  # refuses a name that the archive's list has otherwise than the member
            found = {}
            for key in archive.files:
                if key in known:
                    found[key] = archive[key]
                    if not isinstance(found[key], np.ndarray):  # numpy hands on the bytes of any other member
                        raise ValueError(f"{key} is no array")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except DAMAGED as error:
        said = f"at the key {key}: {error}" if key else str(error)
        raise ValueError(
            f"{path}: not a readable .npz archive of plain arrays, truncated or damaged ({said})"
        ) from None
    return found
