"""The artifact of a run in W&B: its policy, and the files of its directory that say what it is.

The paths in it are those of the run directory, so a downloaded artifact is one, for `bcq-evaluate` and `bcq-report`.
RUN/wandb.json keeps the name and the digests of what W&B has.
"""

import json
import re
import secrets
import shutil
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcq_exp.io.animation import animation_of
from bcq_exp.io.checkpoint import load_checkpoint
from bcq_exp.io.files import read_json, sha256, write_json
from bcq_exp.io.loggers.form import LoggedRun
from bcq_exp.io.loggers.wandb_file import KEPT
from bcq_exp.io.summary import SUMMARY, read_summary

if TYPE_CHECKING:
    import wandb

KIND = "model"  # W&B's type of artifact
MAX_NAME = 128  # characters that W&B takes
SENT = "artifact"  # key of RUN/wandb.json
FILES = ("manifest.json", SUMMARY, "metrics.csv", ".hydra/config.yaml", ".hydra/overrides.yaml")
FIGURES = ("algorithm", "dataset", "env", "seed", "num_updates", "final_return", "final_normalized_score",
           "final_estimate", "behaviour_return")  # fmt: skip
VIDEO = "eval/video"  # key of the animation in the summary of a W&B run


@dataclass(frozen=True)
class RunArtifact:
    """The artifact of a run that has finished.

    Args:
        name: its name in W&B, which has a version for each content.
        metadata: what W&B shows of it: figures of the summary, digest of the dataset, revision of the code.
        files: by their paths in the artifact.
        animation: path in it of the episode that the policy is shown in, where there is one.
    """

    name: str
    metadata: dict[str, Any]
    files: dict[str, Path]
    animation: str

    @classmethod
    def due(cls, run: LoggedRun, run_id: str) -> "RunArtifact | None":
        """The artifact of a run with this id in W&B; None where the run has not finished, or W&B has the same files.

        Raises:
            ValueError: a file is damaged, or there is no checkpoint of the last update.
            OSError: a file cannot be read.
        """
        if not (run.run_dir / SUMMARY).exists():
            return None
        summary = read_summary(run.run_dir)
        if summary["status"] != "finished":
            return None
        checkpoint = run.run_dir / "checkpoints" / f"update_{summary['num_updates']:08d}"
        if not checkpoint.is_dir():
            raise ValueError(f"there is no policy to upload, {checkpoint} is missing; resume={run.run_dir} writes it")
        paths = [run.run_dir / name for name in FILES]
        paths += [*sorted(checkpoint.iterdir()), animation_of(checkpoint)]
        metadata = {key: summary[key] for key in FIGURES if summary.get(key) is not None}
        metadata |= {
            "dataset_sha256": run.manifest.get("dataset", {}).get("sha256"),
            "git_revision": run.manifest.get("git_revision"),
        }
        files = {path.relative_to(run.run_dir).as_posix(): path for path in paths if path.exists()}
        artifact = cls(artifact_name(run.name, run_id), metadata, files, animation_of(checkpoint).name)
        if artifact.account == read_json(run.run_dir / KEPT).get(SENT):
            return None
        load_checkpoint(checkpoint)
        return artifact

    @cached_property
    def account(self) -> dict[str, Any]:
        """What RUN/wandb.json keeps of it: its name, and the sha256 of each file."""
        return {"name": self.name, "files": {name: sha256(path) for name, path in self.files.items()}}

    def keep_account(self, run_dir: Path) -> None:
        """Keep in RUN/wandb.json that W&B has it."""
        write_json(run_dir / KEPT, {**read_json(run_dir / KEPT), SENT: self.account})

    @cached_property
    def draft(self) -> "wandb.Artifact":
        """W&B's own object, for its client to upload; the files are neither copied nor removed."""
        import wandb

        draft = wandb.Artifact(self.name, KIND, metadata=self.metadata)
        for name, path in self.files.items():
            draft.add_file(str(path), name, policy="immutable", skip_cache=True)
        return draft

    def records(self, run: Any, entity: str | None, folder: Path) -> list[Any]:
        """The records with which `wandb sync` uploads it, and shows its animation in the summary of the run.

        It gets copies of the files: these may change meanwhile, and wandb 0.28 removed what it had uploaded, as its
        core/pkg/artifacts/saver.go has it. (0.31 does not.)

        Args:
            run: the record that names the run.
            entity: under which the run is in W&B.
            folder: the folder `files` beside the `.wandb` file.
        """
        pb: Any = import_module("wandb.proto.wandb_internal_pb2")
        copies = folder.parent / "artifact"
        copies.mkdir()
        record = pb.ArtifactRecord(
            run_id=run.run_id,
            entity=entity,
            project=run.project,
            type=KIND,
            name=self.name,
            digest=self.draft.digest,
            digest_algorithm=self.draft.digest_algorithm,
            metadata=json.dumps(self.draft.metadata),
            aliases=["latest"],
            finalize=True,
            client_id=secrets.token_hex(64),
            sequence_client_id=secrets.token_hex(64),
            manifest={
                "version": self.draft.manifest.version(),
                "storage_policy": self.draft.manifest.storage_policy.name(),
            },
        )
        for key, value in self.draft.manifest.storage_policy.config().items():
            record.manifest.storage_policy_config.add(key=key, value_json=json.dumps(value))
        for number, (name, path) in enumerate(sorted(self.files.items())):
            copy = Path(shutil.copyfile(path, copies / str(number))).resolve()
            entry = self.draft.manifest.entries[name]
            known = {"path": name, "digest": entry.digest, "size": entry.size}
            record.manifest.contents.add(**known, local_path=str(copy), skip_cache=True)
        return [pb.Record(artifact=record), *self._video_records(pb, folder)]

    def _video_records(self, pb: Any, folder: Path) -> list[Any]:
        """The records that upload the animation and name it in the summary; in the history it would be one more row."""
        if (animation := self.files.get(self.animation)) is None:
            return []
        name = f"media/videos/{VIDEO}_{self.animation}"
        (folder / name).parent.mkdir(parents=True)
        shutil.copyfile(animation, folder / name)
        value = {
            "_type": "video-file",
            "path": name,
            "sha256": self.account["files"][self.animation],
            "size": animation.stat().st_size,
        }
        return [
            pb.Record(files={"files": [{"path": name, "policy": "NOW", "type": "MEDIA"}]}),
            pb.Record(summary={"update": [{"nested_key": [VIDEO], "value_json": json.dumps(value)}]}),
        ]


def artifact_name(name: str, run_id: str) -> str:
    """Algorithm, dataset and seed, the first word of a run's name, and its id, in the letters that W&B takes.

    What was typed is left out: a run that is resumed with more updates has another version of the same artifact.
    """
    words = re.sub(r"[^A-Za-z0-9_.]+", "-", name.partition(" ")[0]).strip("-")
    return f"{words[: MAX_NAME - len(run_id) - 1]}-{run_id}"
