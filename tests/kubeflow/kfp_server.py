"""A local server with the part of KFP's REST API (v2beta1) that submitting and following need.

Bodies are checked against kfp-server-api's own models and packages as the backend checks them;
what a run does next is a list of states that a test hands in, one for each look at it.
"""

import datetime
import email
import email.policy
import json
import re
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import kfp_server_api
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from benchmarks import kubeflow_backend as backend_sim

API = "/apis/v2beta1"
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class Refused(Exception):
    """An answer with a status that is not 200."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class KfpServer(ThreadingHTTPServer):
    """Listens on a free port of this machine while it is a context manager."""

    def __init__(self, token: str | None = None, cookie: str | None = None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token, self.cookie = token, cookie
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}  # with the specs, by id
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.script: list[Any] = []  # for each look at a run: a dict of states, or a status
        self.requests: list[str] = []  # method and path of all that came

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.shutdown()
        self.server_close()

    def uploads(self) -> int:
        return sum("upload" in request for request in self.requests)


class _Handler(BaseHTTPRequestHandler):
    server: KfpServer

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def log_message(self, *_) -> None:
        return None

    def _answer(self, method: str) -> None:
        parts = urlsplit(self.path)
        self.server.requests.append(f"{method} {parts.path}")
        try:
            self._check_access()
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            status, body = 200, self._route(method, parts.path, query)
        except Refused as error:
            status, body = error.status, {"code": 3, "message": str(error), "details": []}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _check_access(self) -> None:
        token, cookie = self.server.token, self.server.cookie
        if token and self.headers.get("authorization") != f"Bearer {token}":
            raise Refused(401, "Request header error: there is no user identity header.")
        if cookie and self.headers.get("Cookie") != cookie:
            raise Refused(403, "RBAC: access denied")

    def _route(self, method: str, path: str, query: dict[str, str]) -> Any:
        server = self.server
        if (method, path) == ("GET", f"{API}/healthz"):
            return {"multi_user": False}
        if (method, path) == ("GET", f"{API}/pipelines"):
            return {"pipelines": _filtered(server.pipelines, query)}
        if (method, path) == ("POST", f"{API}/pipelines"):
            return _add(server.pipelines, "pipeline_id", self._body("V2beta1Pipeline"))
        found = re.fullmatch(f"{API}/pipelines/([^/]+)/versions", path)
        if found and method == "GET":
            versions = {i: v for i, v in server.versions.items() if v["pipeline_id"] == found[1]}
            return {"pipeline_versions": _filtered(versions, query)}
        if (method, path) == ("POST", f"{API}/pipelines/upload_version"):
            if query["pipelineid"] not in server.pipelines:
                raise Refused(404, f"Pipeline {query['pipelineid']} not found.")
            record = {"pipeline_id": query["pipelineid"], "display_name": query["name"]}
            record["pipeline_spec"] = self._uploaded_package()
            return _add(server.versions, "pipeline_version_id", record)
        if (method, path) == ("GET", f"{API}/experiments"):
            return {"experiments": _filtered(server.experiments, query)}
        if (method, path) == ("POST", f"{API}/experiments"):
            return _add(server.experiments, "experiment_id", self._body("V2beta1Experiment"))
        if (method, path) == ("POST", f"{API}/runs"):
            return self._create_run(self._body("V2beta1Run"))
        found = re.fullmatch(f"{API}/runs/([^/]+)", path)
        if found and method == "GET":
            return self._look_at_run(found[1])
        raise Refused(404, f"Not Found: {method} {path}")

    def _body(self, model: str) -> dict[str, Any]:
        """The JSON body, with nothing in it that the model does not know."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = getattr(kfp_server_api, model).attribute_map.values()
        if not set(body) <= set(known):
            raise Refused(400, f"{model}: unknown fields {set(body) - set(known)}")
        return body

    def _uploaded_package(self) -> dict[str, Any]:
        length = int(self.headers["Content-Length"])
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + self.rfile.read(length), policy=email.policy.HTTP)
        [part] = message.iter_parts()
        if part.get_param("name", header="content-disposition") != "uploadfile":
            raise Refused(400, "Failed to read the file uploadfile of the form.")
        spec, platform = yaml.safe_load_all(part.get_payload(decode=True))
        try:
            json_format.ParseDict(spec, pb.PipelineSpec())
            json_format.ParseDict(platform, pb.PlatformSpec())
        except json_format.ParseError as error:
            raise Refused(400, f"Invalid IR spec format: {error}") from None
        return {"pipeline_spec": spec, "platform_spec": platform}

    def _create_run(self, body: dict[str, Any]) -> dict[str, Any]:
        reference = body["pipeline_version_reference"]
        version = self.server.versions.get(reference["pipeline_version_id"])
        if version is None or version["pipeline_id"] != reference["pipeline_id"]:
            raise Refused(404, "Pipeline version not found.")
        if body["experiment_id"] not in self.server.experiments:
            raise Refused(404, "Experiment not found.")
        config = body["runtime_config"]
        spec = version["pipeline_spec"]["pipeline_spec"]
        if not all(isinstance(value, str) for value in config["parameters"].values()):
            raise Refused(400, "Every parameter of this pipeline is a STRING.")
        try:
            backend_sim.root_parameters(spec, config["parameters"])
        except ValueError as error:
            raise Refused(400, str(error)) from None
        record = {**body, "state": "PENDING", "pipeline_spec": version["pipeline_spec"]}
        return _add(self.server.runs, "run_id", record)

    def _look_at_run(self, run_id: str) -> dict[str, Any]:
        run = self.server.runs.get(run_id)
        if run is None:
            raise Refused(404, f"Run {run_id} not found.")
        look = self.server.script.pop(0) if self.server.script else {}
        if isinstance(look, int):
            raise Refused(look, "upstream connect error")
        run["state"] = look.pop("", run["state"])
        details = [_detail(run_id, name, state) for name, state in look.items()]
        return {**run, "run_details": {"task_details": details}} if details else run


def _detail(run_id: str, name: str, state: Any) -> dict[str, Any]:
    """A task as the API shows it; ``state`` is a word, or a word and the seconds it took."""
    word, seconds = state if isinstance(state, tuple) else (state, 60)
    end = START + datetime.timedelta(seconds=seconds)
    if word in ("RUNNING", "PENDING"):
        end = datetime.datetime.fromtimestamp(0, datetime.UTC)
    return {
        "run_id": run_id,
        "task_id": str(uuid.uuid4()),
        "display_name": name,
        "start_time": START.isoformat(),
        "end_time": end.isoformat(),
        "state": word,
        "child_tasks": [{"pod_name": f"inkwell-x7k2p-{uuid.uuid4().int % 10**9}"}],
    }


def _add(records: dict[str, Any], id_name: str, body: dict[str, Any]) -> dict[str, Any]:
    record = {**body, id_name: str(uuid.uuid4())}
    records[record[id_name]] = record
    return record


def _filtered(records: dict[str, Any], query: dict[str, str]) -> list[dict[str, Any]]:
    """Those that ``filter`` lets through: one predicate, display_name EQUALS."""
    if not query.get("filter"):
        return list(records.values())
    [predicate] = json.loads(query["filter"])["predicates"]
    if predicate["key"] != "display_name" and predicate["key"] != "name":
        raise Refused(400, f"Unknown key {predicate['key']} in the filter.")
    wanted = predicate.get("stringValue", predicate.get("string_value"))
    return [record for record in records.values() if record["display_name"] == wanted]
