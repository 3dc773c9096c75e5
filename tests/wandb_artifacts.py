"""The part of the stand-in for W&B's server that keeps artifacts.

An artifact is begun, its files are uploaded, then its manifest, then it is committed; a version of its collection has
one content, and a file that the server has is not asked for again (wandb/wandb, core/pkg/artifacts/saver.go).
"""

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

PENDING, COMMITTED = "PENDING", "COMMITTED"
MANIFEST = "wandb_manifest.json"


class Refusal(Exception):
    """What the server says of a request that it understood."""


@dataclass
class Artifact:
    """An artifact as the server has it.

    Args:
        number: the server's own id of it, counted from 1.
        said: what `CreateArtifact` said of it.
        version: in its collection.
        state: PENDING until it is committed.
        md5: of its files by name, as the client announced them.
        manifest: of the files, as it was uploaded.
    """

    number: int
    said: Mapping[str, Any]
    version: int
    state: str = PENDING
    md5: dict[str, str] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.said["artifactCollectionName"]

    @property
    def metadata(self) -> dict[str, Any]:
        return json.loads(self.said.get("metadata") or "{}")

    def node(self, project: Callable[[str], Any]) -> dict[str, Any]:
        """What GraphQL says of it."""
        collection = {"name": self.name, "project": project(self.said["projectName"])}
        return {
            "__typename": "Artifact",
            "id": f"artifact-{self.number}",
            "artifactSequence": {**collection, "__typename": "ArtifactSequence", "latestArtifact": None},
            "versionIndex": self.version,
            "artifactType": {"name": self.said["artifactTypeName"]},
            "description": None,
            "metadata": json.dumps(self.metadata),
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": self.state,
            "size": sum(entry["size"] for entry in self.manifest.get("contents", {}).values()),
            "digest": self.said["digest"],
            "digestAlgorithm": self.said["digestAlgorithm"],
            "commitHash": None,
            "fileCount": len(self.md5),
            "createdAt": "2026-01-01T00:00:00",
            "updatedAt": None,
            "aliases": [],
        }


class ArtifactStore:
    """All artifacts, and the contents of their files.

    Attributes:
        artifacts: in the order in which they were begun.
        contents: by the md5 of each, in base64 as W&B's client has it.
        is_full: whether artifacts are refused, as where the account's storage is used up.
        is_taking: whether files are taken; those that come meanwhile wait.
    """

    def __init__(self, address: Callable[[], str], project: Callable[[str], Any]) -> None:
        self.artifacts: list[Artifact] = []
        self.contents: dict[str, bytes] = {}
        self.is_full = False
        self.is_taking = threading.Event()
        self.is_taking.set()
        self._address, self._project = address, project

    def committed(self, run_name: str | None = None) -> list[Artifact]:
        """Those that are whole, of a run or of all."""
        whole = [each for each in self.artifacts if each.state == COMMITTED]
        return [each for each in whole if run_name in (None, each.said.get("runName"))]

    def files(self, artifact: Artifact) -> dict[str, bytes]:
        """The files of an artifact as one who downloads it finds them: those that its manifest names."""
        return {name: self.contents[entry["digest"]] for name, entry in artifact.manifest["contents"].items()}

    def find(self, key: str) -> Artifact:
        return self.artifacts[int(key.removeprefix("artifact-")) - 1]

    def mutations(self) -> dict[str, Any]:
        return {
            "createArtifact": self._create,
            "createArtifactManifest": self._create_manifest,
            "createArtifactFiles": self._create_files,
            "commitArtifact": self._commit,
        }

    def collection(self, name: str) -> dict[str, Any] | None:
        """The newest of a collection, as a project's `artifact` gives it."""
        found = [each for each in self.artifacts if each.name == name]
        return found[-1].node(self._project) if found else None

    def _create(self, input: Mapping[str, Any]) -> dict[str, Any]:
        name = input["artifactCollectionName"]
        if not input["entityName"]:
            raise KeyError("an artifact without an entity")
        if self.is_full:
            raise Refusal("storage quota exceeded")
        versions = [each for each in self.artifacts if each.name == name]
        same = [each for each in versions if each.said["digest"] == input["digest"]]
        if not same:
            same = [Artifact(len(self.artifacts) + 1, dict(input), len(versions))]
            self.artifacts += same
        return {"artifact": same[0].node(self._project)}

    def _create_manifest(self, input: Mapping[str, Any]) -> dict[str, Any]:
        address = f"{self._address()}/artifacts/{input['artifactID']}/manifest"
        file = {"id": f"manifest-of-{input['artifactID']}", "uploadUrl": address, "uploadHeaders": []}
        return {"artifactManifest": {"id": file["id"], "file": file}}

    def _create_files(self, input: Mapping[str, Any]) -> dict[str, Any]:
        edges = []
        for spec in input["artifactFiles"]:
            artifact = self.find(spec["artifactID"])
            artifact.md5[spec["name"]] = spec["md5"]
            address = f"{self._address()}/artifacts/{spec['artifactID']}/files/{spec['name']}"
            edges.append(
                {
                    "node": {
                        "storagePath": None,
                        "uploadUrl": None if spec["md5"] in self.contents else address,
                        "uploadHeaders": [],
                        "uploadMultipartUrls": None,
                        "artifact": {"id": spec["artifactID"]},
                    }
                }
            )
        return {"files": {"edges": edges}}

    def _commit(self, input: Mapping[str, Any]) -> dict[str, Any]:
        artifact = self.find(input["artifactID"])
        entries = artifact.manifest["contents"].items()
        if lacking := [name for name, entry in entries if entry["digest"] not in self.contents]:
            raise KeyError(f"committed without {lacking}")
        artifact.state = COMMITTED
        return {"artifact": artifact.node(self._project)}

    def keep(self, key: str, name: str, content: bytes) -> None:
        """Keep an uploaded file; raises KeyError where it is not what was announced."""
        artifact = self.find(key)
        if name == "manifest":
            artifact.manifest = json.loads(content)
            return
        digest = base64.b64encode(hashlib.md5(content).digest()).decode()
        if artifact.md5[name.removeprefix("files/")] != digest:
            raise KeyError(f"{name} is not the file that was announced")
        self.contents[digest] = content
