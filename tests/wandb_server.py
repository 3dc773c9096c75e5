"""A stand-in for W&B's server on loopback: it answers W&B's own client, keeps what it is sent, and fails on demand.

What it does is what the client (wandb 0.31, wandb-workspaces 0.4.13) can see. `file_stream` keeps lines by their
offset, as W&B's own test double does (wandb/wandb, tests/fixtures/wandb_backend_spy/spy.py); GraphQL answers the
queries of runs, projects, views and histories that the client makes. What it does not know is in `unknown`.
"""

import base64
import gzip
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from graphql_query import Query, UnknownFieldError
from wandb_artifacts import ArtifactStore, Refusal

ENTITY = "stand-in"
KEY = "0123456789" * 4
CREATED = "2026-01-01T00:00:00"
# error: answers 500; hang: never answers; vanish: takes the request and drops the connection without answering or
# keeping it; unanswered: keeps the request, then drops the connection; refuse: nothing listens.
Fault = Literal["error", "hang", "vanish", "unanswered", "refuse"]


@dataclass
class Run:
    """A run as the server has it.

    Args:
        project: its project.
        name: its id.
        number: the server's own id of it.
        attributes: what `UpsertBucket` said last of each key.
        files: lines of streamed files, by name and offset.
        uploads: whole files, by name.
        state: running, finished, failed or crashed.
        lines_sent: lines of history that came, those that came again included.
    """

    project: str
    name: str
    number: int
    attributes: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[int, str]] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    state: str = "running"
    lines_sent: int = 0

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of its history, in the order of their offsets."""
        lines = self.files.get("wandb-history.jsonl", {})
        return [json.loads(lines[offset]) for offset in sorted(lines)]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows without W&B's own keys."""
        return [{key: value for key, value in row.items() if not key.startswith("_")} for row in self.history]

    @property
    def summary(self) -> dict[str, Any]:
        """The last summary that came."""
        lines = self.files.get("wandb-summary.json", {})
        return json.loads(lines[max(lines)] if lines else self.attributes.get("summaryMetrics") or "{}")

    @property
    def config(self) -> dict[str, Any]:
        """Its configuration, without W&B's own keys."""
        config = json.loads(self.attributes.get("config") or "{}")
        return {key: item["value"] for key, item in config.items() if not key.startswith("_")}

    def lines(self, name: str) -> int:
        """How many lines of a streamed file there are."""
        return len(self.files.get(name, {}))

    def node(self) -> dict[str, Any]:
        """What GraphQL says of it."""
        said, rows = self.attributes, self.history
        return {
            "__typename": "Run",
            "id": f"run-{self.number}",
            "name": self.name,
            "projectId": "1",
            "displayName": said.get("displayName") or self.name,
            "description": said.get("description") or "",
            "notes": said.get("notes") or "",
            "config": said.get("config") or "{}",
            "tags": said.get("tags") or [],
            "group": said.get("groupName") or "",
            "groupName": said.get("groupName") or "",
            "jobType": said.get("jobType") or "",
            "commit": said.get("commit") or "",
            "sweepName": None,
            "state": self.state,
            "readOnly": False,
            "createdAt": CREATED,
            "heartbeatAt": CREATED,
            "user": viewer(),
            "stopped": False,
            "shouldStop": False,
            "fileCount": len(self.uploads),
            "summaryMetrics": json.dumps(self.summary),
            "systemMetrics": "{}",
            "wandbConfig": lambda keys: json.dumps({"t": {}}),
            "historyLineCount": len(rows),
            "logLineCount": self.lines("output.log"),
            "eventsLineCount": self.lines("wandb-events.jsonl"),
            "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]),
            "eventsTail": "[]",
            "historyKeys": {"keys": {}, "lastStep": rows[-1]["_step"] if rows else -1, "sets": []},
            "history": self._page,
            "sampledHistory": lambda specs: [self._sample(json.loads(spec)) for spec in specs],
            "parquetHistory": lambda liveKeys: {
                "parquetUrls": [],
                "liveData": [{"_step": row["_step"]} for row in rows],
            },
            "project": {"id": self.project, "name": self.project, "entity": entity(), "organization": None},
        }

    def _page(self, minStep: int = 0, maxStep: int = 2**62, samples: int = 500) -> list[str]:
        rows = [json.dumps(row) for row in self.history if minStep <= row["_step"] < maxStep]
        return rows[:: max(1, -(-len(rows) // samples))]  # the real one samples as well

    def _sample(self, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
        keys, first, end = spec.get("keys"), spec.get("minStep", 0), spec.get("maxStep", 2**62)
        rows = [row for row in self.history if first <= row["_step"] <= end]  # its last step counts, unlike `_page`'s
        if keys:
            rows = [{key: row[key] for key in keys} for row in rows if all(key in row for key in keys)]
        return rows[:: max(1, -(-len(rows) // int(spec.get("samples", 500))))]


def entity() -> dict[str, Any]:
    return {"id": "1", "name": ENTITY, "organization": None, "isTeam": False}


def viewer() -> dict[str, Any]:
    return {
        "id": "1",
        "entity": ENTITY,
        "username": ENTITY,
        "name": ENTITY,
        "email": "",
        "admin": False,
        "flags": "{}",
        "deletedAt": None,
        "apiKeys": {"edges": []},
        "teams": {"edges": []},
        "organizations": [],
    }


def value_of(node: Mapping[str, Any], key: str) -> Any:
    """The value that a filter of runs means by `key`."""
    first, _, rest = key.partition(".")
    if first in ("config", "summary_metrics", "summaryMetrics"):
        found = json.loads(node["config" if first == "config" else "summaryMetrics"])
        for part in rest.split("."):
            found = (found or {}).get(part)
        return found
    aliases = {"display_name": "displayName", "jobType": "jobType", "job_type": "jobType", "created_at": "createdAt"}
    return node[aliases.get(key, key)]


def is_one_of(found: Any, wanted: list[Any]) -> bool:
    return any(value in wanted for value in (found if isinstance(found, list) else [found]))


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda found, wanted: is_one_of(found, [wanted]),
    "$ne": lambda found, wanted: not is_one_of(found, [wanted]),
    "$in": is_one_of,
    "$nin": lambda found, wanted: not is_one_of(found, wanted),
    "$regex": lambda found, wanted: re.search(wanted, str(found)) is not None,
    "$gte": lambda found, wanted: found >= wanted,
    "$lte": lambda found, wanted: found <= wanted,
}


def matches(node: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    """Whether a run passes a filter in MongoDB's language, of which this is a part."""
    for key, wanted in filters.items():
        if key in ("$and", "$or"):
            if not (all if key == "$and" else any)(matches(node, each) for each in wanted):
                return False
            continue
        found = value_of(node, key)
        tests = wanted if isinstance(wanted, dict) else {"$eq": wanted}
        if not all(OPERATORS[name](found, operand) for name, operand in tests.items()):
            return False
    return True


def page(items: list[Any], after: str | None, first: int | None) -> dict[str, Any]:
    """A page of a list, as GraphQL's connections have it."""
    start = int(after or 0)
    shown = items[start : start + (first or 50)]
    end = start + len(shown)
    return {
        "edges": [{"node": item, "cursor": str(start + number)} for number, item in enumerate(shown, 1)],
        "pageInfo": {"__typename": "PageInfo", "endCursor": str(end), "hasNextPage": end < len(items)},
        "totalCount": len(items),
    }


class WandbServer:
    """The server, on a free port of 127.0.0.1.

    Attributes:
        address: what WANDB_BASE_URL is set to.
        runs: the runs, by id.
        projects: the names of the projects.
        views: workspaces and reports, by id: what `upsertView` was told of each.
        store: the artifacts.
        requests: the name of each request, in their order.
        unknown: requests that were not understood; a test should find none.
    """

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.projects: list[str] = []
        self.views: dict[str, dict[str, Any]] = {}
        self.store = ArtifactStore(lambda: self.address, self._project)
        self.requests: list[str] = []
        self.unknown: list[str] = []
        self._lock = threading.RLock()
        self._fault: Fault | None = None
        self._left = 0
        self._healed = threading.Event()
        self._http: ThreadingHTTPServer | None = None
        self._listen(0)
        assert self._http is not None
        self._port = self._http.server_address[1]
        self.address = f"http://127.0.0.1:{self._port}"

    def close(self) -> None:
        """Stop listening, and let go of those that wait for an answer."""
        self._healed.set()
        self.store.is_taking.set()
        with self._lock:
            http, self._http = self._http, None
        if http is not None:
            http.shutdown()
            http.server_close()

    def fail(self, fault: Fault, after: int = 0) -> None:
        """Fail from now on, or when `after` more requests have been answered."""
        with self._lock:
            self._healed.clear()
            self._fault, self._left = fault, after
        if fault == "refuse" and not after:
            self.close()

    def heal(self) -> None:
        """Answer again; requests that hang are dropped."""
        with self._lock:
            self._fault = None
        self._healed.set()
        if self._http is None:
            self._listen(self._port)

    def _listen(self, port: int) -> None:
        handler = type("Handler", (Handler,), {"stand_in": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def fault_now(self) -> Fault | None:
        """The fault that this request meets."""
        with self._lock:
            if self._fault is None:
                return None
            if self._left > 0:
                self._left -= 1
                return None
            fault = self._fault
        if fault == "hang":
            self._healed.wait()
        elif fault == "refuse":
            threading.Thread(target=self.close, daemon=True).start()
        return fault

    # What is asked

    def graphql(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a query."""
        with self._lock:
            query = Query(body["query"], body.get("variables"))
            self.requests.append(query.name)
            try:
                return {"data": query.answer(self._mutations() if query.kind == "mutation" else self._queries())}
            except Refusal as error:
                return {"errors": [{"message": str(error)}], "data": None}
            except (UnknownFieldError, TypeError, KeyError) as error:
                self.unknown.append(f"{type(error).__name__}: {error}: {body}")
                return {"errors": [{"message": str(error)}], "data": None}

    def _queries(self) -> dict[str, Any]:
        return {
            "viewer": viewer(),
            "serverInfo": {"features": [], "cliVersionInfo": {}, "latestLocalVersionInfo": None},
            "project": lambda name, entityName=None: self._project(name),
            "model": lambda name, entityName=None: self._project(name),
            "models": lambda entityName=None, after=None, first=50: page(
                [self._project(name) for name in self.projects], after, first
            ),
            "entity": lambda name: {**entity(), "name": name},
            "organization": lambda name: None,
            "view": lambda id: self._view(id),
            "artifact": lambda id: self.store.find(id).node(self._project),
        }

    def _mutations(self) -> dict[str, Any]:
        return {
            "upsertBucket": self._upsert_run,
            "createRunFiles": self._create_files,
            "upsertView": self._upsert_view,
            "upsertModel": self._upsert_project,
            **self.store.mutations(),
        }

    def _project(self, name: str | None) -> dict[str, Any] | None:
        if name not in self.projects:
            return None
        runs = [run for run in self.runs.values() if run.project == name]

        def chosen(filters: str | None) -> list[dict[str, Any]]:
            nodes = [run.node() for run in runs]
            return [node for node in nodes if matches(node, json.loads(filters or "{}"))]

        def one(name: str, missingOk: bool = False) -> dict[str, Any] | None:
            return next((run.node() | {"outputArtifacts": outputs(run.name)} for run in runs if run.name == name), None)

        def outputs(name: str) -> Callable[..., dict[str, Any]]:
            nodes = [each.node(self._project) for each in self.store.artifacts if each.said.get("runName") == name]
            return lambda after=None, first=50: page(nodes, after, first)

        return {
            "__typename": "Project",
            "id": f"project-{name}",
            "internalId": str(self.projects.index(name) + 1),
            "name": name,
            "entityName": ENTITY,
            "entity": entity(),
            "createdAt": CREATED,
            "isBenchmark": False,
            "readOnly": False,
            "description": "",
            "access": "PRIVATE",
            "views": "{}",
            "user": viewer(),
            "runCount": lambda filters=None: len(chosen(filters)),
            "runs": lambda filters=None, after=None, first=50, order=None: page(chosen(filters), after, first),
            "run": one,
            "bucket": one,
            "artifact": lambda name: self.store.collection(name.partition(":")[0]),
            "allViews": lambda viewType=None, viewName=None, userName=None, **_: page(
                [
                    self._view(key)
                    for key, view in self.views.items()
                    if view["projectName"] == name and viewName in (None, view["name"]) and viewType == view["type"]
                ],
                None,
                50,
            ),
        }

    def _view(self, key: str) -> dict[str, Any] | None:
        view = self.views.get(key)
        if view is None:
            return None
        return {
            "__typename": "View",
            "id": key,
            **{name: view.get(name) for name in ("type", "name", "displayName", "description", "spec")},
            "project": {"id": f"project-{view['projectName']}", "name": view["projectName"], "entityName": ENTITY},
            "createdAt": CREATED,
            "updatedAt": CREATED,
            "accessTokens": [],
        }

    def _upsert_view(self, input: Mapping[str, Any]) -> dict[str, Any]:
        key = input.get("id") or base64.b64encode(f"View:{len(self.views) + 1}".encode()).decode()
        inserted = key not in self.views
        said = {name: value for name, value in input.items() if value is not None}
        self.views[key] = {**self.views.get(key, {}), **said}
        return {"view": self._view(key), "inserted": inserted}

    def _upsert_project(self, input: Mapping[str, Any]) -> dict[str, Any]:
        inserted = self._begin_project(input["name"])
        project = self._project(input["name"])
        return {"project": project, "model": project, "inserted": inserted}

    def _begin_project(self, name: str) -> bool:
        is_new = name not in self.projects
        if is_new:
            self.projects.append(name)
        return is_new

    def _upsert_run(self, input: Mapping[str, Any]) -> dict[str, Any]:
        known = {f"run-{run.number}": name for name, run in self.runs.items()}
        name = input.get("name") or known[input["id"]]
        inserted = name not in self.runs
        if inserted:
            project = input.get("modelName") or "uncategorized"
            self._begin_project(project)
            self.runs[name] = Run(project, name, len(self.runs) + 1)
        run = self.runs[name]
        run.attributes |= {key: value for key, value in input.items() if value is not None}
        if "modelName" in input and not inserted and input.get("state") is None:
            run.state = "running"
        return {"bucket": run.node(), "inserted": inserted}

    def _create_files(self, input: Mapping[str, Any]) -> dict[str, Any]:
        name = input["runName"]
        files = [
            {"name": file, "uploadUrl": f"{self.address}/storage/{name}/{file}", "uploadHeaders": []}
            for file in input["files"]
        ]
        return {"runID": f"run-{self.runs[name].number}", "uploadHeaders": [], "files": files}

    def stream(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Keep lines of a run's files."""
        with self._lock:
            self.requests.append("file_stream")
            run = self.runs[name]
            for file, sent in body.get("files", {}).items():
                lines = run.files.setdefault(file, {})
                lines |= dict(enumerate(sent["content"], sent["offset"]))
                if file == "wandb-history.jsonl":
                    run.lines_sent += len(sent["content"])
            if body.get("complete"):
                run.state = "failed" if body.get("exitcode") else "finished"
            return {"exitcode": None, "limits": {}}

    def upload_to_artifact(self, key: str, name: str, content: bytes) -> None:
        """Keep a file of an artifact, or its manifest."""
        with self._lock:
            self.requests.append(f"artifact {name}")
            try:
                self.store.keep(key, name, content)
            except KeyError as error:
                self.unknown.append(f"{key}: {error}")

    def upload(self, name: str, file: str, content: bytes) -> None:
        """Keep a whole file."""
        with self._lock:
            self.requests.append(f"upload {file}")
            self.runs[name].uploads[file] = content


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    stand_in: WandbServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self._serve(body)

    do_PUT = do_GET = do_POST

    def _serve(self, body: bytes) -> None:
        fault = self.stand_in.fault_now()
        if fault == "error":
            self._answer(500, b'{"error": "on demand"}')
            return
        if fault in ("hang", "vanish", "refuse"):
            self.close_connection = True
            return
        path = unquote(self.path)
        parts = path.strip("/").split("/")
        if path == "/graphql":
            answer = json.dumps(self.stand_in.graphql(json.loads(body))).encode()
        elif parts[0] == "files" and parts[-1] == "file_stream":
            answer = json.dumps(self.stand_in.stream(parts[3], json.loads(body))).encode()
        elif parts[0] == "artifacts":
            self.stand_in.store.is_taking.wait()
            self.stand_in.upload_to_artifact(parts[1], "/".join(parts[2:]), body)
            answer = b""
        elif parts[0] == "storage":
            self.stand_in.upload(parts[1], "/".join(parts[2:]), body)
            answer = b""
        else:
            self.stand_in.unknown.append(f"{self.command} {self.path}")
            self._answer(404, b"")
            return
        if fault == "unanswered":
            self.close_connection = True
            return
        self._answer(200, answer)

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):  # the client was killed
            self.close_connection = True


@contextmanager
def serving() -> Iterator[WandbServer]:
    """A server, until the end of the block."""
    server = WandbServer()
    try:
        yield server
    finally:
        server.close()


def environment(server: WandbServer, folder: Path) -> dict[str, str]:
    """The variables with which W&B's client speaks to `server`, logged in, and keeps its own files in `folder`."""
    return {
        "WANDB_BASE_URL": server.address,
        "WANDB_API_KEY": KEY,
        "WANDB_MODE": "online",
        "WANDB_CONFIG_DIR": str(folder / "config"),
        "WANDB_CACHE_DIR": str(folder / "cache"),
        "WANDB_DATA_DIR": str(folder / "data"),
        "WANDB_ERROR_REPORTING": "false",
        "NETRC": str(folder / "netrc"),
        "HOME": str(folder),
    }
