"""A local server with the part of KFP's REST API (v2beta1) that the client needs, and its web page.

Contract: it tells no more than a real server: answers have the form of those recorded from KFP
2.17 (tests/kubeflow/recorded). Bodies are checked against kfp-server-api's own models, packages as
the backend checks them. What a run does next is a list of states that a test hands in, one for each
look at it. Facts are from upstream's source, named by file; line numbers are of tag 2.17.0.
"""

import email
import email.policy
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import kfp_server_api
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from tests.kubeflow import argo
from tests.kubeflow.kfp_records import Refused, add, check_parameters, now, page
from tests.kubeflow.metadata_store import Outputs, Store
from tests.kubeflow.web_page import WebPage

API = "/apis/v2beta1"
_CRON_NAMES = re.compile(r"@(yearly|annually|monthly|weekly|daily|midnight|hourly|every .+)")


class KfpServer(ThreadingHTTPServer):
    """Listens on a free port of this machine while it is a context manager.

    Args:
        token: That requests must bear.
        cookie: That they must have.
        multi_user: Whether it is set up for several users.
        web: Whether it is the web page, which passes API calls on, or else the API server itself.
        archives: Whether the web page gives a folder as an archive, as it does from 2.17 on.
        stored_tasks: Tasks of a run after which the node status passes 1 MiB, from when on nothing
            is stored of them; None: never.
        login: What an expired login gets: ``redirect`` or ``page``; None: no login is needed.
    """

    def __init__(
        self,
        token: str | None = None,
        cookie: str | None = None,
        multi_user: bool = False,
        web: bool = False,
        archives: bool = True,
        stored_tasks: int | None = None,
        login: str | None = None,
    ):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token, self.cookie, self.login = token, cookie, login
        self.multi_user, self.stored_tasks = multi_user, stored_tasks
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}  # with the specs, by id
        self.experiments: dict[str, dict[str, Any]] = {}
        self.recurring: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}  # as GET run shows them, without tasks
        self.outputs: dict[str, Outputs] = {}  # by task
        self.logs: dict[str, str] = {}  # by pod
        self.script: list[Any] = []  # for each look at a run: a dict of states, or a status
        self.requests: list[str] = []  # method and path of all that came
        self.metadata = Store()
        self.page = WebPage(self.metadata, self.logs, multi_user, archives) if web else None
        self._stored: dict[str, list[dict[str, Any]]] = {}  # tasks by run

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.shutdown()
        self.server_close()

    def uploads(self) -> int:
        return sum("upload" in request for request in self.requests)

    def workflow(self, run_id: str) -> str:
        """Name of a run's workflow."""
        return f"inkwell-{run_id[:5]}"

    def start(self, recurring_id: str) -> str:
        """Starts a run of a schedule, as the controller of scheduled workflows does when it is due.

        It keeps the version of its creation, or takes the newest one (controller.go:600 of
        backend/src/crd/controller/scheduledworkflow); nothing replaces ``[[ScheduledTime]]``.
        """
        recurring = self.recurring[recurring_id]
        reference = dict(recurring["pipeline_version_reference"])
        if not reference.get("pipeline_version_id"):
            reference["pipeline_version_id"] = self.newest_version(reference["pipeline_id"])
        return self.add_run(
            {
                "display_name": f"{recurring['display_name']}-1",
                "experiment_id": recurring["experiment_id"],
                "pipeline_version_reference": reference,
                "runtime_config": recurring["runtime_config"],
                "recurring_run_id": recurring_id,
            }
        )["run_id"]

    def newest_version(self, pipeline_id: str) -> str:
        found = [v for v in self.versions.values() if v["pipeline_id"] == pipeline_id]
        return found[-1]["pipeline_version_id"]

    def add_run(self, body: dict[str, Any]) -> dict[str, Any]:
        moment = now()
        return add(
            self.runs,
            "run_id",
            {
                **{"storage_state": "AVAILABLE", "service_account": "pipeline-runner"},
                **{key: value for key, value in body.items() if value},
                **{
                    "created_at": moment,
                    "scheduled_at": moment,
                    "finished_at": argo.NOT_YET["kfp"],
                },
                **{
                    "state": "PENDING",
                    "state_history": [{"update_time": moment, "state": "PENDING"}],
                },
            },
        )

    def look_at_run(self, run_id: str) -> dict[str, Any]:
        """The run after the next states of the script: its reference, but never its spec too.

        (api_converter.go:1550 has a oneof.)
        """
        run = self.runs.get(run_id)
        if run is None:
            raise Refused(404, f"Run {run_id} not found.")
        look = self.script.pop(0) if self.script else {}
        if isinstance(look, int):
            raise Refused(look, "upstream connect error")
        run["state"] = look.get("", run["state"])
        if run["state"] in argo.ENDED:
            run["finished_at"] = now()
        states = {name: state for name, state in look.items() if name}
        if look:
            self._store_tasks(run, states)
            self._record(run, states)
        details = self._stored.get(run_id, [])
        return {**run, "run_details": {"task_details": details}} if details else run

    def _store_tasks(self, run: dict[str, Any], states: dict[str, Any]) -> None:
        """Stores the entries, unless the nodes are compressed and count as none.

        (report_server.go:68; workflow/packer/packer.go:62 of Argo 4.0.)
        """
        stored = self._stored.setdefault(run["run_id"], [])
        begun = {name.removesuffix("-driver") for name in states}
        named = [entry for entry in stored if "display_name" in entry]
        if self.stored_tasks is None or len(begun) <= self.stored_tasks:
            workflow, tasks = self.workflow(run["run_id"]), self._tasks(run)
            named = argo.task_details(run, workflow, states, tasks)
        self._stored[run["run_id"]] = [*named, *argo.of_launcher(run["run_id"], states)]

    def _record(self, run: dict[str, Any], states: dict[str, Any]) -> None:
        """Writes to ML Metadata what the pods of these tasks do."""
        namespace = self._namespace(run)
        for name, state in states.items():
            word = state[0] if isinstance(state, tuple) else state
            if not name.endswith("-driver"):
                pod = argo.pod_name(self.workflow(run["run_id"]), name)
                outputs = self.outputs.get(name, {})
                self.metadata.record(run["run_id"], namespace, name, word, pod, outputs)

    def _namespace(self, run: dict[str, Any]) -> str:
        return self.experiments[run["experiment_id"]].get("namespace") or "kubeflow"

    def _tasks(self, run: dict[str, Any]) -> list[str]:
        version = self.versions[run["pipeline_version_reference"]["pipeline_version_id"]]
        return list(version["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"])


class _Handler(BaseHTTPRequestHandler):
    server: KfpServer

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def log_message(self, *_) -> None:
        return None

    def _answer(self, method: str) -> None:
        parts = urlsplit(self.path)
        self.server.requests.append(f"{method} {parts.path}")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if self.server.login and self.headers.get("Cookie") != self.server.cookie:
            self._ask_for_login()
            return
        try:
            self._check_access()
            if not parts.path.startswith("/apis/v2beta1"):
                self._answer_plain(method, unquote(parts.path), query)
                return
            status, body = 200, self._route(method, parts.path, query)
        except Refused as error:
            status, body = error.status, {"code": 3, "message": str(error), "details": []}
        self._send(status, "application/json", json.dumps(body).encode())

    def _send(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _ask_for_login(self) -> None:
        """As Dex and oauth2-proxy do."""
        if self.server.login == "page":
            self._send(200, "text/html; charset=utf-8", b"<!doctype html><title>Sign in</title>")
            return
        self.send_response(302)
        self.send_header("Location", "http://127.0.0.1:9/dex/auth")  # often another host
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _check_access(self) -> None:
        token, cookie = self.server.token, self.server.cookie
        if token and self.headers.get("authorization") != f"Bearer {token}":
            raise Refused(401, "Request header error: there is no user identity header.")
        if cookie and self.headers.get("Cookie") != cookie:
            raise Refused(403, "RBAC: access denied")

    def _answer_plain(self, method: str, path: str, query: dict[str, str]) -> None:
        """What is not of the API v2beta1: the log of a pod, or whatever the web page has.

        The API server alone has the first (main.go:515), and the web page does not pass it on.
        """
        found = re.fullmatch("/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", path)
        if self.server.page:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._send(*self.server.page.answer(method, path, query, content))
        elif found and found[1] in self.server.runs and found[2] in self.server.logs:
            self._send(200, "text/plain", self.server.logs[found[2]].encode())
        elif found:  # the status is written before the log is read (run_log_server.go:60)
            words = {"error_message": "Failed to read logs for run", "error_details": "not found"}
            self._send(200, "text/plain", json.dumps(words).encode())
        else:
            self._send(404, "text/plain; charset=utf-8", b"404 page not found\n")

    def _route(self, method: str, path: str, query: dict[str, str]) -> Any:
        server, path = self.server, path.removeprefix(API)
        if (method, path) == ("GET", "/healthz"):
            return {"multi_user": server.multi_user, "pipeline_store": "database"}
        if path.startswith("/pipelines"):
            return self._route_pipelines(method, path, query)
        if (method, path) == ("GET", "/experiments"):
            return self._list(server.experiments, "experiments", query)
        if (method, path) == ("POST", "/experiments"):
            return self._create_experiment(self._body("V2beta1Experiment"))
        if (method, path) == ("POST", "/runs"):
            body = self._body("V2beta1Run")
            self._check_run(body)
            return server.add_run(body)
        found = re.fullmatch("/runs/([^/]+)", path)
        if found and method == "GET":
            return server.look_at_run(found[1])
        if (method, path) == ("GET", "/recurringruns"):
            return self._list(server.recurring, "recurringRuns", query)
        if (method, path) == ("POST", "/recurringruns"):
            return self._create_recurring(self._body("V2beta1RecurringRun"))
        found = re.fullmatch("/recurringruns/([^/]+)", path)
        if found and method == "DELETE":
            if server.recurring.pop(found[1], None) is None:
                raise Refused(404, f"Recurring run {found[1]} not found.")
            return {}
        raise Refused(404, f"Not Found: {method} {path}")

    def _route_pipelines(self, method: str, path: str, query: dict[str, str]) -> Any:
        server = self.server
        if (method, path) == ("GET", "/pipelines"):
            return self._list(server.pipelines, "pipelines", query)
        if (method, path) == ("POST", "/pipelines"):
            return self._create_pipeline(self._body("V2beta1Pipeline"))
        if (method, path) == ("POST", "/pipelines/upload_version"):
            return self._upload_version(query)
        found = re.fullmatch("/pipelines/([^/]+)/versions(?:/([^/]+))?", path)
        if found and found[2]:
            if found[2] not in server.versions:
                raise Refused(404, f"PipelineVersion {found[2]} not found.")
            return server.versions[found[2]]
        if found:
            versions = {i: v for i, v in server.versions.items() if v["pipeline_id"] == found[1]}
            return page(versions, "pipeline_versions", query)
        raise Refused(404, f"Not Found: {method} {path}")

    def _list(self, records: dict[str, Any], name: str, query: dict[str, str]) -> dict[str, Any]:
        """Those of a namespace, which a server for one user does not know (ReplaceNamespace).

        One for several users lists experiments and recurring runs of a namespace alone
        (experiment_server.go:357, job_server.go:448).
        """
        namespace = query.get("namespace", "") if self.server.multi_user else ""
        if self.server.multi_user and not namespace and name != "pipelines":
            raise Refused(400, "An experiment cannot have an empty namespace in multi-user mode")
        own = {i: r for i, r in records.items() if (r.get("namespace") or "") == namespace}
        return page(own, name, query)

    def _create_pipeline(self, body: dict[str, Any]) -> dict[str, Any]:
        """Names are unique in a namespace, display names are not (model/pipeline.go)."""
        body = self._in_namespace(body)
        for other in self.server.pipelines.values():
            if all(other.get(key) == body.get(key) for key in ("name", "namespace")):
                raise Refused(
                    409,
                    "Failed to create a pipeline: Already exist error: Failed to create a new "
                    f"pipeline. The name {body['name']} already exist. Please specify a new name",
                )
        return add(self.server.pipelines, "pipeline_id", body)

    def _create_experiment(self, body: dict[str, Any]) -> dict[str, Any]:
        body = self._in_namespace(body)
        if self.server.multi_user and not body.get("namespace"):
            raise Refused(400, "An experiment cannot have an empty namespace in multi-user mode")
        record = {"storage_state": "AVAILABLE", "last_run_created_at": argo.NOT_YET["kfp"], **body}
        return add(self.server.experiments, "experiment_id", record)

    def _in_namespace(self, body: dict[str, Any]) -> dict[str, Any]:
        body = {name: value for name, value in body.items() if value}
        if not self.server.multi_user:
            body.pop("namespace", None)
        return body

    def _upload_version(self, query: dict[str, str]) -> dict[str, Any]:
        if query["pipelineid"] not in self.server.pipelines:
            raise Refused(404, f"Pipeline {query['pipelineid']} not found.")
        name = query["name"]
        record = {"pipeline_id": query["pipelineid"], "display_name": name, "name": name}
        record["description"] = query.get("description", "")
        record["pipeline_spec"] = self._uploaded_package()
        return add(self.server.versions, "pipeline_version_id", record)

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

    def _check_run(self, body: dict[str, Any]) -> None:
        """References and parameters."""
        reference = body["pipeline_version_reference"]
        version = self.server.versions.get(reference["pipeline_version_id"])
        if version is None or version["pipeline_id"] != reference["pipeline_id"]:
            raise Refused(404, "Pipeline version not found.")
        if body["experiment_id"] not in self.server.experiments:
            raise Refused(404, "Experiment not found.")
        spec = version["pipeline_spec"]["pipeline_spec"]
        check_parameters(spec, body["runtime_config"].get("parameters") or {})

    def _create_recurring(self, body: dict[str, Any]) -> dict[str, Any]:
        """As CreateJob does (job_server.go:97, resource_manager.go:1283, api_converter.go:2083)."""
        reference = body["pipeline_version_reference"]
        newest = self.server.newest_version(reference["pipeline_id"])
        checked = {"pipeline_version_id": newest, **reference}
        self._check_run({**body, "pipeline_version_reference": checked})
        cron = body["trigger"]["cron_schedule"]["cron"]
        if not (_CRON_NAMES.fullmatch(cron) or 5 <= len(cron.split()) <= 6):
            raise Refused(400, f"Expected 5 to 6 fields, found {len(cron.split())}: {cron}")
        if not 1 <= int(body.get("max_concurrency", 0)) <= 10:
            raise Refused(400, "Max concurrency of a recurring run must be at least 1 and at most")
        namespace = self.server.experiments[body["experiment_id"]].get("namespace", "")
        mode = {"status": "ENABLED"} if body["mode"] == "ENABLE" else {"status": "DISABLED"}
        record = {**body, **mode, "namespace": namespace, "created_at": now()}
        return add(self.server.recurring, "recurring_run_id", record)
