"""``inkwell submit`` against a local server that checks what it is sent."""

import datetime
import io
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import kfp_server_api
import pytest
import yaml
from rich.console import Console

from core.config import InputError
from pipeline.kubeflow import client as client_module
from pipeline.kubeflow.client import Endpoint, connect, parse_parameters, run_parameters
from pipeline.kubeflow.following import follow, task_states
from pipeline.plan import NODES
from serving.model_server.starting import free_ports
from tests.conftest import ROOT
from tests.kubeflow.kfp_server import API, KfpServer

ALL_DONE = {"": "SUCCEEDED", **dict.fromkeys(NODES, "SUCCEEDED")}


@pytest.fixture
def server():
    with KfpServer() as running:
        yield running


@pytest.fixture(autouse=True)
def no_access_from_outside(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("KF_PIPELINES_", "INKWELL_KFP_")):
            monkeypatch.delenv(name)


def inkwell(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "pipeline.cli.main", "submit", *map(str, arguments)]


def run_inkwell(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        inkwell(*arguments),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        timeout=120,
    )


def submit(server: KfpServer, package: Path, **given: str) -> str:
    endpoint = Endpoint(server.url)
    run_id, _ = client_module.submit(connect(endpoint), endpoint, package, given)
    return run_id


def followed(server: KfpServer, run_id: str, script: list) -> tuple[int, str]:
    server.script = script
    console = Console(width=200, record=True, file=io.StringIO())
    endpoint = Endpoint(server.url)
    code = follow(connect(endpoint), endpoint, run_id, console, seconds_between=0.01)
    return code, console.export_text()


def test_the_package_is_uploaded_the_run_started_and_followed_to_its_end(server, package):
    server.script = [
        {"": "RUNNING", "schema-driver": "RUNNING"},
        {"": "RUNNING", "schema-driver": "SUCCEEDED", "schema": "RUNNING"},
        503,
        {**ALL_DONE, "schema": ("SUCCEEDED", 0)},
    ]
    result = run_inkwell(
        *("--endpoint", server.url, "--pipeline", package, "--wait"),
        *("--param", "overrides=gan.epochs=2 seed=3", "--ui", "https://kfp.example/"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    [run] = server.runs.values()
    assert run["runtime_config"] == {
        "parameters": {"overrides": "gan.epochs=2 seed=3"},
        "pipeline_root": "minio://mlpipeline/inkwell",
    }
    [version] = server.versions.values()
    assert version["pipeline_spec"]["pipeline_spec"] == next(
        yaml.safe_load_all(package.read_text())
    )
    lines = result.stdout.splitlines()
    link = f"https://kfp.example/#/runs/details/{run['run_id']}"
    assert lines[:3] == [
        f"Uploaded as version {version['display_name']} of the pipeline inkwell.",
        f"Run {run['run_id']}:",
        link,
    ]
    assert lines[3] == "[1/22] schema started"
    assert any("] schema cached, " in line for line in lines)
    assert any("] report done" in line for line in lines)
    assert lines[-2] == (
        f"Run {run['run_id']} ended as SUCCEEDED. KFP's API does not show verdicts. Open the "
        "run's page: the artifact report (index.html) lists every model; the property pushed of "
        "each pushed_model is 1 or 0."
    )
    assert lines[-1] == link


def test_the_same_content_is_uploaded_once(server, package, tmp_path):
    submit(server, package)
    submit(server, package)
    assert (server.uploads(), len(server.runs), len(server.pipelines)) == (1, 2, 1)
    assert len(server.experiments) == 1
    changed = tmp_path / "changed.yaml"
    changed.write_text("# changed\n" + package.read_text())
    submit(server, changed)
    assert (server.uploads(), len(server.runs), len(server.pipelines)) == (2, 3, 1)


def test_without_a_package_it_is_compiled_first(server):
    from typer.testing import CliRunner

    from pipeline.cli.main import app

    # In this process, which has imported TFX already.
    options = ["--endpoint", server.url, "--profile", "smoke", "--set", "gan.epochs=2"]
    result = CliRunner().invoke(app, ["submit", *options])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Compiled: profile smoke, 22 nodes")
    assert len(server.runs) == 1


def test_a_failed_task_is_named_and_the_exit_code_is_1(server, package):
    states = {"": "FAILED", "example-gen": "SUCCEEDED", "schema": "FAILED"}
    code, text = followed(server, submit(server, package), [states])
    assert code == 1
    assert "schema failed, and the last line of the pod's log says why" in text
    assert "report" in text and "not run" in text


def test_a_driver_that_fails_is_its_tasks_failure(server, package):
    states = {"": "FAILED", "gan-driver": "FAILED"}
    code, text = followed(server, submit(server, package), [states])
    assert code == 1 and "gan failed" in text


@pytest.fixture
def without_spec(server, package) -> str:
    """A run as KFP 2.17 shows it: with the version that it is of, and no pipeline spec."""
    run_id = submit(server, package)
    del server.runs[run_id]["pipeline_spec"]
    return run_id


def test_a_task_that_failed_is_named_where_the_run_carries_no_spec(server, without_spec):
    look = {"": "FAILED", "schema-driver": "FAILED", "root": "FAILED", "inkwell-9hzmt": "FAILED"}
    code, text = followed(server, without_spec, [look])
    assert code == 1
    assert text.splitlines()[0] == (
        f"Run {without_spec} ended as FAILED; schema failed, and the last line of the pod's log "
        "says why."
    )


def test_a_failed_run_of_which_the_server_names_no_task_says_where_to_look(server, without_spec):
    # A large workflow: the tasks after the first ones are never listed.
    code, text = followed(server, without_spec, [{"": "FAILED", "transform": "RUNNING"}])
    assert code == 1
    assert "KFP's API does not name the failed task; see the run's page." in text


def test_a_run_that_was_cancelled_is_no_success(server, package):
    code, text = followed(server, submit(server, package), [{"": "CANCELED"}])
    assert code == 1 and "ended as CANCELED" in text


def test_time_of_a_task_is_that_of_the_cluster(server, package):
    states = {**ALL_DONE, "gan": ("SUCCEEDED", 754)}
    _, text = followed(server, submit(server, package), [states])
    assert any("gan " in line and "754.0" in line for line in text.splitlines())


def test_following_gives_up_when_nothing_answers_for_long(server, package, monkeypatch):
    run_id = submit(server, package)
    endpoint = Endpoint(server.url)
    times = iter(range(0, 100_000, 100))
    server.script = [{"": "RUNNING"}, *([503] * 50)]
    with pytest.raises(InputError, match=r"refused the request \(503\).*--follow " + run_id):
        follow(
            *(connect(endpoint), endpoint, run_id, Console(file=io.StringIO())),
            seconds_between=0.0,
            clock=lambda: float(next(times)),
        )


def test_whoever_stops_looking_is_told_how_to_look_again(server, package):
    run_id = submit(server, package)
    process = subprocess.Popen(
        inkwell("--endpoint", server.url, "--follow", run_id),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    looks = f"GET {API}/runs/{run_id}"
    deadline = time.monotonic() + 60
    while looks not in server.requests and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130, output + errors
    assert f"inkwell submit --endpoint {server.url} --follow {run_id}" in output
    assert "Traceback" not in errors


def test_a_token_opens_the_door_and_is_never_shown(package):
    with KfpServer(token="s3cr3t") as server:
        arguments = ("--endpoint", server.url, "--pipeline", package)
        refused = run_inkwell(*arguments)
        assert refused.returncode == 2
        assert "was denied (401" in refused.stderr and "INKWELL_KFP_TOKEN" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
        wrong = run_inkwell(*arguments, INKWELL_KFP_TOKEN="wr0ng")
        assert wrong.returncode == 2 and "wr0ng" not in wrong.stderr + wrong.stdout
        right = run_inkwell(*arguments, INKWELL_KFP_TOKEN="s3cr3t")
        assert right.returncode == 0, right.stderr
        assert "s3cr3t" not in right.stdout + right.stderr


def test_cookies_and_mounted_tokens_are_sent(package, tmp_path, monkeypatch):
    with KfpServer(cookie="authservice_session=abc") as server:
        with pytest.raises(InputError, match=r"was denied \(403"):
            connect(Endpoint(server.url))
        monkeypatch.setenv("INKWELL_KFP_COOKIES", "authservice_session=abc")
        submit(server, package)
        assert server.runs
    with KfpServer(token="from-the-volume") as server:
        (tmp_path / "token").write_text("from-the-volume")
        monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
        submit(server, package)
        assert server.runs


def test_a_dead_endpoint_gets_one_sentence_at_once(package):
    begin = time.monotonic()
    [port] = free_ports(1)
    result = run_inkwell("--endpoint", f"http://127.0.0.1:{port}", "--pipeline", package)
    assert result.returncode == 2 and time.monotonic() - begin < 15
    assert result.stdout == "" and len(result.stderr.splitlines()) == 1
    assert "does not answer at http://127.0.0.1" in result.stderr


def test_another_service_is_not_taken_for_kfp(tmp_path):
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Page(BaseHTTPRequestHandler):
        status = 200

        def do_GET(self):
            self.send_response(self.status)
            self.end_headers()
            self.wfile.write(b"<html>Kubeflow Central Dashboard</html>")

        def log_message(self, *_):
            return None

    with HTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        for Page.status in (200, 404):
            with pytest.raises(InputError, match="is not the API of Kubeflow Pipelines"):
                connect(Endpoint(f"http://127.0.0.1:{page.server_port}"))
        page.shutdown()


def test_a_server_without_tls_is_told(server):
    with pytest.raises(InputError, match="does not use TLS .* Use an http://"):
        connect(Endpoint(server.url.replace("http:", "https:")))


def test_a_certificate_is_checked_against_the_authority_that_is_given(package, tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_certificate(certificate, key)
    with KfpServer() as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        url = f"https://localhost:{server.server_port}"
        with pytest.raises(InputError, match="is not trusted .* give the CA certificate"):
            connect(Endpoint(url))
        connect(Endpoint(url, ca_cert=str(certificate)))
        connect(Endpoint(url, insecure=True))


def write_certificate(certificate: Path, key: Path) -> None:
    """A self-signed certificate for localhost, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(secret, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    certificate.write_bytes(signed.public_bytes(pem))
    key.write_bytes(
        secret.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epochs": "3"}, "no run parameter epochs; the parameters are data_uri, overrides"),
        ({"overrides": "gan.epoch=3"}, "did you mean epochs"),
        ({"thresholds": "gan.fid=3"}, "Unknown setting evaluator.gates.gan.fid"),
    ],
)
def test_a_wrong_parameter_is_found_before_anything_is_sent(server, package, given, words):
    endpoint = Endpoint(server.url)
    client = connect(endpoint)
    with pytest.raises(InputError) as caught:
        client_module.submit(client, endpoint, package, given)
    assert words in str(caught.value)
    assert server.uploads() == 0 and not server.runs and not server.pipelines


def test_a_run_gets_the_parameters_that_are_given(spec):
    assert run_parameters(spec, {"data_uri": "/data/new"}) == {"data_uri": "/data/new"}
    assert run_parameters(spec, {}) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), *((text, "is not a package") for text in ("a: 1", "[", ""))],
)
def test_a_file_that_is_no_package_is_one_sentence(tmp_path, content, words):
    path = tmp_path / "p.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=words):
        client_module.read_package(path)


def test_what_the_server_refuses_is_said_in_its_words(server, package, monkeypatch):
    monkeypatch.setattr(client_module, "run_parameters", lambda *_: ({"epochs": "3"}, []))
    with pytest.raises(InputError, match=r"request \(400\): parameter epochs is not among"):
        submit(server, package)


def test_a_run_that_is_not_there_is_one_sentence(server):
    endpoint = Endpoint(server.url)
    with pytest.raises(InputError, match=r"refused the request \(404\): Run nothing not found"):
        follow(connect(endpoint), endpoint, "nothing", Console())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--endpoint", "localhost:8888"], "must be an address such as http://localhost:8888"),
        (["--endpoint", "http://x", "--ca-cert", "none.pem"], "There is no file none.pem"),
        (["--endpoint", "http://x", "--param", "seed"], "not of the form name=value"),
        (["--endpoint", "http://x", "--pipeline", "p.yaml", "--profile", "full"], "for compiling"),
        (["--endpoint", "http://x", "--follow", "r", "--data", "/d"], "for compiling"),
    ],
)
def test_a_slip_in_the_options_is_one_sentence(arguments, words):
    from typer.testing import CliRunner

    from pipeline.cli.main import app

    result = CliRunner().invoke(app, ["submit", *arguments])
    assert result.exit_code == 2 and words in result.output
    assert result.output.count("\n") == 1


def test_parameters_are_named_once():
    assert parse_parameters(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    with pytest.raises(InputError, match="given twice"):
        parse_parameters(["a=1", "a=2"])


def test_states_of_the_api_are_those_of_a_local_run():
    def detail(name: str, state: str, seconds: float = 60):
        start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        end = start + datetime.timedelta(seconds=seconds)
        return kfp_server_api.V2beta1PipelineTaskDetail(
            display_name=name, state=state, start_time=start, end_time=end
        )

    def states(*details, run: str = "RUNNING") -> dict[str, str]:
        found = kfp_server_api.V2beta1Run(
            state=run,
            run_details=kfp_server_api.V2beta1RunDetails(task_details=list(details)),
        )
        nodes = task_states(found, ["gan"])
        return nodes["gan"].state

    assert states() == "not run"
    assert states(detail("gan-driver", "RUNNING")) == "running"
    driven = detail("gan-driver", "SUCCEEDED")
    assert states(driven) == "running"
    assert states(driven, detail("gan", "RUNNING")) == "running"
    assert states(driven, detail("gan", "SUCCEEDED")) == "done"
    assert states(driven, detail("gan", "SUCCEEDED", 1)) == "cached"
    assert states(driven, detail("gan", "SKIPPED", 0)) == "cached"
    assert states(driven, detail("gan", "FAILED")) == "failed"
    assert states(driven, run="CANCELED") == "not run"
