"""The load benchmark: real servers under a short load, and the arithmetic of its table."""

import http.server
import threading

import pytest

from benchmarks import serving_load
from benchmarks.serving_load import Load
from tests.serving.toy_models import save_diffusion


def load(server: str, per_second: float, clients: int = 64, protocol: str = "REST") -> Load:
    return Load(server, "diffusion", protocol, clients, per_second, 1.0, 2.0, 3.0, 0, 500.0)


def test_ratio_is_of_the_same_clients_over_rest():
    loads = [
        load("inkwell", 300.0),
        load("inkwell", 900.0, protocol="gRPC"),
        load("inkwell", 80.0, clients=1),
        load("plain", 100.0),
    ]
    assert serving_load.ratio(loads, 64) == 3.0
    assert serving_load.ratio(loads, 1) is None


@pytest.mark.extended
def test_both_servers_are_measured(tmp_path, capsys):
    serving = tmp_path / "serving"
    save_diffusion(serving / "diffusion" / "1")
    code = serving_load.main(
        [
            *("--serving", str(serving), "--seconds", "0.5", "--clients", "2"),
            *("--models", "diffusion", "--soak-minutes", "0.02"),
        ]
    )
    text = capsys.readouterr().out
    assert code == 0, text
    rows = [line.split() for line in text.splitlines() if "diffusion" in line][:3]
    assert [(row[0], row[2]) for row in rows] == [
        ("inkwell", "REST"),
        ("inkwell", "gRPC"),
        ("plain", "REST"),
    ]
    for row in rows:
        per_second, p50, p95, p99, errors, mib = map(float, row[4:])
        assert per_second > 5 and 0 < p50 <= p95 <= p99 and errors == 0 and mib > 100
    assert "2 clients:" in text and "times the plain handler" in text
    assert "Memory over 0.02 minutes" in text


def test_failures_are_counted_and_not_taken_for_answers():
    class Refuse(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever).start()
        latencies, errors = serving_load.run_clients(
            "REST", server.server_port, "/", b"{}", clients=2, seconds=0.2
        )
        server.shutdown()
    assert latencies == [] and errors > 2


def test_nothing_to_load_is_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        serving_load.main(["--serving", str(tmp_path)])
    assert ended.value.code == 2 and "there is no model in" in capsys.readouterr().err


def test_table_has_a_line_for_each():
    titles, *lines = serving_load.rows([load("inkwell", 812.4), load("plain", 109.6)])
    found = [dict(zip(titles, line, strict=True)) for line in lines]
    assert [line["requests/s"] for line in found] == ["812", "110"]
    assert [(line["server"], line["p99, ms"], line["MiB"]) for line in found] == [
        ("inkwell", "3.0", "500"),
        ("plain", "3.0", "500"),
    ]
