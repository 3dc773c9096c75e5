"""The identity of a run: its configuration, the code and the data, compared whenever a run is resumed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bcq_exp.data import Transitions
from bcq_exp.data.frames import FrameStacks
from bcq_exp.data.storage import chunks
from bcq_exp.data.transitions import OPTIONAL
from bcq_exp.io.differences import NOT_SET, code_difference, difference, differing, flatten
from bcq_exp.io.masking import masked
from bcq_exp.io.source import source_digest

# Keys that change no result. The place of the data is among them: the data themselves are compared.
FREE = frozenset(
    {
        "num_threads",
        "updates_per_launch",
        "storage",
        "checkpoint_freq",
        "num_checkpoints",
        "resume",
        "allow_code_change",
        "allow_modules",
        "dataset.path",
    }
)
FREE_SECTION = "logger"


@dataclass(frozen=True)
class Identity:
    """All that decides a run's results.

    Args:
        config: values of all keys but the free ones, by dotted name.
        source_sha256: digest of the code.
        dataset_sha256: digest of the transitions, preprocessed.
    """

    config: Mapping[str, Any]
    source_sha256: str
    dataset_sha256: str

    @classmethod
    def of(cls, resolved: Mapping[str, Any], *, is_compiled: bool, dataset_sha256: str) -> Self:
        """The identity of a run of this process's code.

        Args:
            resolved: the whole configuration as plain values.
            is_compiled: whether the update is compiled, in place of the key `compile`.
            dataset_sha256: as `dataset_digest` returns it.
        """
        flat = {key: masked(value, key) for key, value in flatten(resolved).items() if not is_free(key)}
        flat |= {"compile": is_compiled, "device": str(flat["device"]).partition(":")[0]}
        return cls(json.loads(json.dumps(flat)), source_digest(), dataset_sha256)

    @classmethod
    def kept(cls, manifest: Mapping[str, Any], path: Path) -> Self:
        """Read the identity from a manifest.

        Raises:
            ValueError: the manifest has none, as those of earlier versions.
        """
        match manifest:
            case {"config": dict(config), "source_sha256": str(source), "dataset": {"sha256": str(dataset)}}:
                return cls(config, source, dataset)
        raise ValueError(
            f"{path} does not say what its run is, as files of an earlier version; the run can be reported and"
            " evaluated, but not resumed: begin anew in another directory"
        )

    def account(self) -> dict[str, Any]:
        """The manifest's entries that `kept` reads; further facts of the dataset may be added."""
        return {
            "config": dict(self.config),
            "source_sha256": self.source_sha256,
            "dataset": {"sha256": self.dataset_sha256},
        }

    def differences(self, now: "Identity", *, allow_code_change: bool) -> list[str]:
        """The reasons why `now` cannot resume this run, a line each.

        A larger `num_updates` is no difference where it leaves the first updates as they were.

        Args:
            now: the identity that is asked for.
            allow_code_change: whether other code may resume the run.
        """
        lines = [self._difference(key, now) for key in differing(self.config, now.config)]
        if self.source_sha256 != now.source_sha256 and not allow_code_change:
            lines.append(code_difference(self.source_sha256, now.source_sha256))
        if self.dataset_sha256 != now.dataset_sha256:
            lines.append(
                f"the data has changed: sha256 {self.dataset_sha256[:12]} before, {now.dataset_sha256[:12]} now"
            )
        return [line for line in lines if line]

    def _difference(self, key: str, now: "Identity") -> str | None:
        """The difference of a key in words; None where the run only becomes longer."""
        before, after = (each.config.get(key, NOT_SET) for each in (self, now))
        if key == "num_updates" and isinstance(before, int) and after > before:
            decays = [f"{key}={value}" for key, value in now.config.items() if key.endswith(".lr_decay") and value]
            if not decays:
                return None
            return f"num_updates: {before} before, {after} now; {', '.join(decays)} would have been slower"
        return difference(key, self.config, now.config)


def is_free(key: str) -> bool:
    """Whether a key, given by its dotted name, may differ when a run is resumed."""
    return key in FREE or key.partition(".")[0] == FREE_SECTION


def dataset_digest(*parts: Transitions) -> str:
    """Sha256 over all columns of a dataset's parts, whatever its file; of stacked images, over frames and places."""
    sha = hashlib.sha256()
    columns: list[Any] = []
    for transitions in parts:
        for obs in (transitions.obs, transitions.obs_next):
            columns += [obs.frames, obs.newest] if isinstance(obs, FrameStacks) else [obs]
        columns += [transitions.act, transitions.rew, transitions.terminated, transitions.truncated]
        columns += [column for name in OPTIONAL if (column := getattr(transitions, name)) is not None]
    digested: set[int] = set()
    for column in columns:
        if id(column) not in digested:  # both columns of stacks share their frames
            sha.update(f"{column.dtype}{column.shape}".encode())
            for rows in chunks(column):
                sha.update(column[rows].tobytes())
        digested.add(id(column))
    return sha.hexdigest()
