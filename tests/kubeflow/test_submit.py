"""``inkwell submit`` against a local server that checks what it is sent."""

import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml

from core.config import InputError
from pipeline.kubeflow import client as client_module
from pipeline.kubeflow.access import Endpoint, connect
from pipeline.kubeflow.client import parse_parameters, run_parameters
from serving.model_server.starting import free_ports
from tests.certificates import write_certificate
from tests.kubeflow.commands import run_inkwell, submit
from tests.kubeflow.kfp_server import KfpServer


@pytest.fixture
def server():
    with KfpServer() as running:
        yield running


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


def test_a_token_opens_the_door_and_is_never_shown(package):
    with KfpServer(token="s3cr3t") as server:
        arguments = ("submit", "--endpoint", server.url, "--pipeline", package)
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
    result = run_inkwell("submit", "--endpoint", f"http://127.0.0.1:{port}", "--pipeline", package)
    assert result.returncode == 2 and time.monotonic() - begin < 15
    assert result.stdout == "" and len(result.stderr.splitlines()) == 1
    assert "does not answer at http://127.0.0.1" in result.stderr


def test_another_service_is_not_taken_for_kfp(tmp_path):
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


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epochs": "3"}, "no run parameter epochs; the parameters are data_uri, overrides"),
        ({"overrides": "gan.epoch=3"}, "did you mean epochs"),
        ({"thresholds": "gan.fid=3"}, "Unknown setting evaluator.gates.gan.fid"),
    ],
)
def test_a_wrong_parameter_is_found_before_a_server_is_asked(package, given, words):
    with pytest.raises(InputError) as caught:
        client_module.read_job(package, given)
    assert words in str(caught.value)


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
    monkeypatch.setattr(client_module, "run_parameters", lambda *_: {"epochs": "3"})
    with pytest.raises(InputError, match=r"request \(400\): parameter epochs is not among"):
        submit(server, package)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--endpoint", "localhost:8888"], "must be an address such as http://localhost:8888"),
        (["--endpoint", "http://x", "--ca-cert", "none.pem"], "There is no file none.pem"),
        (["--endpoint", "http://x", "--param", "seed"], "not of the form name=value"),
        (["--endpoint", "http://x", "--pipeline", "p.yaml", "--profile", "full"], "for compiling"),
        (["--endpoint", "http://x", "--follow", "r", "--data", "/d"], "for compiling"),
        (["--endpoint", "http://x", "-o", "report.html"], "add --wait"),
        (
            ["--endpoint", "http://x", "--wait", "-o", "/nowhere/r.html"],
            "name a file in a directory",
        ),
    ],
)
def test_a_slip_in_the_options_is_one_sentence(arguments, words):
    _refused(["submit", *arguments], words)


@pytest.fixture
def silent():
    """A server that takes connections and never answers; it fails a test that opened one."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(BlockingIOError):
            listening.accept()


@pytest.mark.parametrize("command", ["submit", "schedule create --cron @daily"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--config none.yaml", "none.yaml cannot be read"),
        ("--set gan.epoch=3", "did you mean epochs"),
        ("--data images", "--data must be an absolute path in the pod"),
        ("--cluster none.yaml", "none.yaml cannot be read"),
        ("--images none.json", "none.json cannot be read"),
        ("--pipeline none.yaml", "none.yaml cannot be read"),
        ("--pipeline PACKAGE --param overrides=gan.epoch=3", "did you mean epochs"),
        ("--pipeline PACKAGE --pipeline-root /tmp/x", "--pipeline-root must be a bucket"),
    ],
)
def test_a_mistake_on_this_machine_is_said_before_the_server_is_asked(
    silent, package, command, options, words
):
    given = options.replace("PACKAGE", str(package)).split()
    _refused([*command.split(), "--endpoint", silent, *given], words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("submit --wait -o /nowhere/r.html", "name a file in a directory"),
        ("submit --follow r -o /nowhere/r.html", "name a file in a directory"),
        ("report --run r -o /nowhere/r.html", "name a file in a directory"),
        ("schedule create --cron daily", "does not have five fields"),
        ("schedule create --cron @daily --name \u200b", "holds a character that is not seen"),
    ],
)
def test_a_slip_in_one_command_is_said_before_the_server_is_asked(silent, arguments, words):
    _refused([*arguments.split(), "--endpoint", silent], words)


def _refused(arguments: list[str], words: str) -> None:
    from typer.testing import CliRunner

    from pipeline.cli.main import app

    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and words in result.output
    assert result.output.count("\n") == 1


def test_parameters_are_named_once():
    assert parse_parameters(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    with pytest.raises(InputError, match="given twice"):
        parse_parameters(["a=1", "a=2"])


def test_a_second_submit_to_a_namespace_adds_a_version(package, tmp_path):
    with KfpServer(multi_user=True) as server:
        submit(server, package, namespace="team-a")
        changed = tmp_path / "changed.yaml"
        changed.write_text("# changed\n" + package.read_text())
        submit(server, changed, namespace="team-a")
        assert (len(server.pipelines), len(server.versions), len(server.runs)) == (1, 2, 2)
        submit(server, package, namespace="team-b")
        namespaces = [pipeline["namespace"] for pipeline in server.pipelines.values()]
        assert namespaces == ["team-a", "team-b"]


def test_a_server_for_several_users_asks_for_the_namespace_in_one_sentence(package):
    with KfpServer(multi_user=True) as server:
        result = run_inkwell("submit", "--endpoint", server.url, "--pipeline", package)
        assert result.returncode == 2 and not server.pipelines
        assert result.stderr == (
            f"inkwell: {server.url} is set up for several users: name the namespace of your "
            "profile with --namespace.\n"
        )


@pytest.mark.parametrize("what", ["pipelines", "experiments"])
def test_twins_of_a_name_are_one_sentence(server, package, what, monkeypatch):
    submit(server, package)
    [twin] = [dict(record) for record in getattr(server, what).values()]
    getattr(server, what)["twin"] = twin
    with pytest.raises(InputError, match=r"There are 2 of the .* named inkwell .* rename"):
        submit(server, package)


def test_a_pipeline_that_only_looks_alike_is_left_alone(server, package):
    submit(server, package)
    server.pipelines["other"] = {"display_name": "inkwell", "name": "by-hand", "pipeline_id": "x"}
    submit(server, package)
    assert (len(server.pipelines), len(server.versions), len(server.runs)) == (2, 1, 2)


@pytest.mark.parametrize("login", ["redirect", "page"])
def test_an_expired_login_says_to_log_in_again(package, login, monkeypatch):
    with KfpServer(login=login, cookie="session=new") as server:
        with pytest.raises(InputError, match="log in again and set INKWELL_KFP_COOKIES"):
            connect(Endpoint(server.url))
        monkeypatch.setenv("INKWELL_KFP_COOKIES", "session=new")
        endpoint = Endpoint(server.url)
        client = connect(endpoint)
        server.cookie = "session=newer"
        with pytest.raises(InputError, match="log in again and set INKWELL_KFP_COOKIES"):
            client_module.submit(client, endpoint, client_module.read_job(package, {}))
        assert not server.pipelines


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (None, "minio://mlpipeline/inkwell"),
        ("default", None),
        ("s3://mine/runs", "s3://mine/runs"),
    ],
)
def test_the_root_goes_with_the_run_or_is_left_to_the_cluster(server, package, given, sent):
    endpoint = Endpoint(server.url)
    job = client_module.read_job(package, {}, pipeline_root=given)
    client_module.submit(connect(endpoint), endpoint, job)
    [run] = server.runs.values()
    assert run["runtime_config"].get("pipeline_root") == sent


def test_a_root_that_is_no_bucket_is_one_sentence(package):
    with pytest.raises(InputError, match=r"--pipeline-root must be a bucket at .*'/tmp/x'"):
        client_module.read_job(package, {}, pipeline_root="/tmp/x")


def test_a_package_without_a_root_leaves_it_to_the_cluster(server, package, tmp_path):
    spec, platform = yaml.safe_load_all(package.read_text())
    del spec["defaultPipelineRoot"]
    rootless = tmp_path / "p.yaml"
    rootless.write_text(yaml.safe_dump_all([spec, platform]))
    submit(server, rootless)
    [run] = server.runs.values()
    assert "pipeline_root" not in run["runtime_config"]


@pytest.mark.parametrize(
    ("root", "is_warned"),
    [
        (None, True),
        ("default", False),
        ("s3://mine/runs", False),
        ("minio://mlpipeline/private-artifacts/team-a/inkwell", False),
        ("minio://mlpipeline/private-artifacts/team-b/inkwell", True),
        ("minio://mlpipeline/shared", False),
    ],
)
def test_a_root_that_profiles_may_not_write_to_is_warned_of(package, root, is_warned):
    with KfpServer(multi_user=True) as server:
        endpoint = Endpoint(server.url, namespace="team-a")
        client = connect(endpoint, needs_namespace=True)
        job = client_module.read_job(package, {}, pipeline_root=root)
        _, notes = client_module.submit(client, endpoint, job)
    assert any("--pipeline-root default" in note for note in notes) == is_warned
