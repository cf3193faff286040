"""Foreign text is text: no markup, no escape sequence of others reaches the screen, and no secret.

A terminal obeys ESC, C1 and the like (title, clear screen, clipboard), and shows text in another
order after a change of direction.
"""

import io
import json
import logging
import os
import pty
import queue
import struct
import subprocess
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

from components.idx_example_gen import label_names
from core.config import InputError
from core.foreign import is_plain, masked, safe, shown
from core.progress import Progress
from pipeline.cli import main as commands
from pipeline.cli.main import app
from pipeline.cli.run_tables import runs_table
from pipeline.kubeflow import access
from pipeline.kubeflow.access import Endpoint
from pipeline.kubeflow.schedule import check_name
from pipeline.local.failures import explain
from pipeline.local.runner import StartError
from pipeline.results import Failure, GateResult, ModelResult, NodeResult, RunResult
from pipeline.terminal import tables
from pipeline.terminal.display import Board, board_table
from pipeline.terminal.quiet import output_to
from pipeline.terminal.screen import say
from serving import serve
from serving.errors import ServingError
from serving.pictures import open_picture
from serving.releases import served_models

ROOT = Path(__file__).resolve().parents[2]
# Sets the title, clears the screen, writes the clipboard; C1's CSI; right to left; and markup.
HOSTILE = "[/x]\x1b]0;owned\x07\x1b[2J\x1b]52;c;aGk=\x07\x9b31m\u202egnp.exe[red]\x7f"
ACTING = "\x1b\x07\x9b\u202e\x7f\u2066\u200b\r\x00"
BEGIN = r"[/x]\x1b]0;owned"  # Rich's texts drop BEL
SEEN = r"[/x]\x1b]0;owned\x07\x1b[2J\x1b]52;c;aGk=\x07\x9b31m\u202egnp.exe[red]\x7f"


def on_terminal(renderable) -> str:
    """What a colourless terminal gets; Rich's own styles are none of the text."""
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=500)
    if isinstance(renderable, (str, Text)):
        say(console, renderable)
    else:
        console.print(renderable)
    return console.file.getvalue()


def says(*arguments: object, code: int = 2) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    assert not set(result.output) & set(ACTING)
    return result.output


# --- the functions ---------------------------------------------------------------------------


def test_what_acts_is_seen_and_what_is_seen_stays():
    assert shown(HOSTILE) == SEEN
    assert shown("a\u2028b\u2029c\xadd\ud800e") == r"a\u2028b\u2029c\xadd\ud800e"
    kept = "é ß 数字 \N{GRINNING FACE} \N{NO-BREAK SPACE} ≤ ± … [bold] \\x1b\n\tend"
    assert shown(kept) == kept
    assert is_plain("T-shirt/top é") and not any(map(is_plain, ["", " ", "a\nb", "a\tb", HOSTILE]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("to https://alice:s3cret@host/simple", "to https://***@host/simple"),
        ("https://ghp_s3cret@host/x", "https://***@host/x"),
        ("http://a:s3c@ret@host/", "http://***@host/"),
        ("http://a:s3c/ret@host/", "http://***@host/"),
        ("http://host:8080/x?mail=a@b", "http://host:8080/x?mail=a@b"),
        ("Authorization: Bearer s3cret", "Authorization: ***"),
        ("{'authorization': 'Basic s3cret'}", "{'authorization': '***'}"),
        ("sent Bearer s3cret-s3cret", "sent Bearer ***"),
        ("Cookie: a=s3cret; b=s3cret\nnext", "Cookie: ***\nnext"),
        ("INKWELL_KFP_TOKEN=s3cret x", "INKWELL_KFP_TOKEN=*** x"),
        ('{"password": "s3cret"}', '{"password": "***"}'),
        ("https://b/x?X-Amz-Signature=s3cret&y=1", "https://b/x?X-Amz-Signature=***&y=1"),
        ("eyJhbGciOiJS.eyJpc3MiOiJ.s3cret", "***"),
        (
            'Acquire::http::Proxy "http://u:s3cret@p:3128";',
            'Acquire::http::Proxy "http://***@p:3128";',
        ),
        (f"Set {access.TOKEN_VARIABLE} or {access.COOKIES_VARIABLE}, or ask.",) * 2,
        ("basic authentication failed for ada@example.org",) * 2,
        ("--token-file=/run/token and the token: it is there",) * 2,
    ],
)
def test_secrets_are_masked_and_other_text_is_not(text, expected):
    assert masked(text) == expected


def test_masking_takes_no_longer_for_hostile_text():
    for text in ("://a:" * 40_000, "://" * 60_000, "a_" * 100_000, "?token" * 40_000):
        began = time.process_time()
        assert len(masked(text)) <= len(text)
        assert time.process_time() - began < 10  # 0.3 s, and minutes where a part has no bound


# --- sentences and tables --------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [HOSTILE, Text.assemble(("gan: ", "red"), HOSTILE, (HOSTILE, "b"))]
)
def test_a_sentence_on_a_terminal_holds_nothing_that_it_obeys(words):
    said = on_terminal(words)
    assert BEGIN in said and not set(said) & set(ACTING)


def test_styles_stay_on_their_words():
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=80)
    say(console, Text.assemble(("bad", "red"), " \x1b ", ("good", "green")))
    assert console.file.getvalue() == "\x1b[31mbad\x1b[0m \\x1b \x1b[32mgood\x1b[0m\n"


def hostile_result() -> RunResult:
    gate = GateResult(HOSTILE, passed=False, value=1.0, threshold=0.5, sentence=HOSTILE)
    model = ModelResult(
        HOSTILE, [gate], blessed=False, infra_reason=HOSTILE, pushed=True, version=HOSTILE
    )
    node = NodeResult(HOSTILE, HOSTILE, 1.0)
    failure = Failure("crash", HOSTILE, HOSTILE)
    return RunResult(
        *(HOSTILE, HOSTILE, "2026-01-01T00:00:00+00:00", 1.0, [node], [model]),
        *(HOSTILE, HOSTILE, failure),
    )


def test_no_table_and_no_end_of_a_run_obeys_its_text():
    result = hostile_result()
    board = Board([HOSTILE])
    board.started(HOSTILE)
    board.progressed(Progress(f"x: {HOSTILE}", 1, 2, {HOSTILE: 1.0}))
    version = tables.ServedVersion(*[HOSTILE] * 2, *[HOSTILE] * 3, is_newest=True)
    version = tables.dataclasses.replace(version, version="7")
    rendered = [
        tables.node_table(result.nodes, 1.0),
        tables.gate_table(result.models[0]),
        runs_table([result]),
        tables.models_table([version], {}, {(HOSTILE, 7): HOSTILE}),
        tables.FittingTable([HOSTILE], [[HOSTILE], [[HOSTILE, HOSTILE]]], spare=()),
        board_table(board, 500, 20),
        tables.model_sentence(result.models[0]),
        tables.end_sentence(result),
    ]
    for each in rendered:
        said = on_terminal(each)
        assert BEGIN in said and not set(said) & set(ACTING), each
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=500)
    tables.print_summary(result, console, HOSTILE)
    assert not set(console.file.getvalue()) & set(ACTING)


# --- commands --------------------------------------------------------------------------------


def test_a_directory_with_markup_and_escapes_in_its_name_is_named(tmp_path, monkeypatch, mnist_dir):
    """``inkwell run --data '[/x] data'`` ended with a stack trace of Rich."""
    data = tmp_path / HOSTILE.replace("/", "")
    data.symlink_to(mnist_dir)

    def started(*_, **__):
        raise StartError(f"The run could not start: {HOSTILE}")

    def leave(code: int):
        raise SystemExit(code)

    monkeypatch.setattr("pipeline.local.runner.run", started)
    monkeypatch.setattr(commands, "leave", leave)
    said = says("run", "--data", data, "--output", tmp_path / "out", code=1)
    assert shown(str(data)) in said and f"could not start: {SEEN}" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs", "--output"],
        ["report", "--output"],
        ["evaluate", "--output"],
        ["models", "--serving"],
        ["serve", "--serving"],
        ["promote", "gan", "1", "--serving"],
        ["rollback", "gan", "--serving"],
        ["baseline", "--data"],
        ["submit", "--endpoint", "http://localhost", "--ca-cert"],
        ["schedule", "list", "--endpoint"],
        ["predict", "gan", "discriminate", "--image"],
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_names_of_folders_and_files_are_shown_and_not_obeyed(tmp_path, arguments, there):
    place = tmp_path / HOSTILE.replace("/", "")
    if there and arguments[-1] in ("--serving", "--output"):
        place.mkdir()
    result = CliRunner().invoke(app, [*arguments, str(place)])
    assert result.exit_code in (0, 2) and not set(result.output) & set(ACTING)
    assert BEGIN.replace("/", "") in result.output


@pytest.fixture
def hostile_server():
    """Answers every request as a hostile model server and a hostile KFP would."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(dict(self.headers))
            healthy = self.path.endswith("healthz")
            said = {"multi_user": False} if healthy else {"error": HOSTILE, "message": HOSTILE}
            body = json.dumps(said).encode()
            self.send_response(200 if healthy else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        server.seen = seen
        yield server
        server.shutdown()


def test_the_words_of_a_model_server_are_not_obeyed(hostile_server):
    said = says("generate", "gan", "--server", f"127.0.0.1:{hostile_server.server_port}")
    assert SEEN in said


def test_the_words_of_kubeflow_are_not_obeyed(hostile_server):
    address = f"http://127.0.0.1:{hostile_server.server_port}"
    said = says("schedule", "list", "--endpoint", address)
    assert "refused the request (400)" in said and SEEN in said


def test_the_words_of_a_server_are_not_obeyed_on_a_real_terminal(hostile_server):
    """Rich drops BEL by itself, but not ESC; what a pipe gets is another matter."""
    address = f"http://127.0.0.1:{hostile_server.server_port}"
    command = [sys.executable, "-P", "-m", "pipeline.cli.main", "schedule", "list", "--endpoint"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb", "COLUMNS": "500"}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*command, address], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    output = b""
    try:
        while block := os.read(ours, 65536):
            output += block
    except OSError:  # the end of a terminal whose other side is closed
        pass
    assert process.wait() == 2
    os.close(ours)
    said = output.decode()
    assert r"\x1b]52;c" in said.replace("\r\n", "") and not set(said) & (set(ACTING) - {"\r"})


def test_the_log_of_a_model_server_is_not_obeyed(capsys):
    line = f"WARNING {HOSTILE} https://a:s3cret@host\n".encode()
    serve._copy(io.BytesIO(line), io.BytesIO(), serve._OURS, queue.SimpleQueue())
    said = capsys.readouterr().err
    assert SEEN in said and "s3cret" not in said and not set(said) & set(ACTING)


def test_secrets_stay_out_of_the_log_and_the_record_of_a_run(tmp_path):
    error = RuntimeError("GET https://alice:s3cret@host/x failed; Authorization: Bearer s3cret")
    with output_to(tmp_path / "run.log"):
        logging.getLogger("any").error("%s", error)
    log = (tmp_path / "run.log").read_text()
    assert "https://***@host/x failed" in log and "s3cret" not in log
    assert "s3cret" not in explain(error)[1]
    assert "s3cret" not in explain(InputError("gs://a:s3cret@b is missing"))[1]


# --- names -----------------------------------------------------------------------------------


def test_labels_hold_no_character_that_is_not_seen(tmp_path):
    """They reach tables, pages and cards."""
    labels = tmp_path / "labels.txt"
    labels.write_bytes(b"zero\none\x1b]0;x\x07\n")
    with pytest.raises(InputError, match=r"labels\.txt, line 2: one\\x1b\]0;x\\x07 holds"):
        label_names.read(str(tmp_path))
    labels.write_bytes("\ufeffnull\r\nT-shirt/top é\r\n".encode())
    assert label_names.read(str(tmp_path)) == ("null", "T-shirt/top é")


def test_a_directory_whose_name_is_not_seen_as_it_is_holds_no_model(tmp_path):
    for name in ("gan", HOSTILE.replace("/", ""), ".gan", "g\u200ban", "g\nan"):
        (tmp_path / name / "1").mkdir(parents=True)
    assert served_models(tmp_path) == ["gan"]


@pytest.mark.parametrize("name", [HOSTILE, " ", "a\nb"])
def test_a_schedule_has_a_plain_name(name):
    with pytest.raises(InputError, match="--name .* holds a character that is not seen"):
        check_name(name)


# --- pictures --------------------------------------------------------------------------------


def test_a_picture_is_no_program(tmp_path, monkeypatch):
    """An EPS file under the name of a PNG had Pillow start Ghostscript."""
    ran = tmp_path / "ran"
    for name in ("gs", "gswin32c", "gswin64c"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    picture = tmp_path / "e.png"
    picture.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(ServingError, match="none of the formats PNG, JPEG, WEBP, GIF, BMP, TIFF"):
        open_picture(picture)
    assert not ran.exists()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_pictures_of_the_named_formats_are_read(tmp_path, kind):
    Image.new("L", (28, 28), 200).save(tmp_path / "picture", kind)
    assert open_picture(tmp_path / "picture").size == (28, 28)


def test_a_small_file_that_announces_a_huge_picture_is_refused(tmp_path, monkeypatch):
    """Whatever another library has set as Pillow's own bound."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data)
    with pytest.raises(ServingError, match="1,600,000,000 pixels; make it smaller"):
        open_picture(tmp_path / "bomb.png")


# --- clear text ------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", [access.TOKEN_VARIABLE, access.COOKIES_VARIABLE])
@pytest.mark.parametrize(
    ("address", "ui", "insecure", "refused"),
    [
        ("http://kfp.example", None, False, "http://kfp.example"),
        ("http://192.0.2.1:8080", None, False, "http://192.0.2.1:8080"),
        ("http://localhost.evil.example", None, False, "http://localhost.evil.example"),
        ("https://kfp.example", "http://ui.example", False, "http://ui.example"),
        ("http://kfp.example", None, True, ""),
        ("https://kfp.example", None, False, ""),
        ("http://localhost:8080", None, False, ""),
        ("http://127.0.0.7:8080", None, False, ""),
        ("http://[::1]:8080", None, False, ""),
    ],
)
def test_tokens_and_cookies_cross_no_network_in_clear_text(
    monkeypatch, variable, address, ui, insecure, refused
):
    monkeypatch.delenv("KF_PIPELINES_UI_ENDPOINT", raising=False)
    endpoint = Endpoint(address, ui=ui, insecure=insecure)
    access.check_no_clear_text(endpoint)  # there is none
    monkeypatch.setenv(variable, "s3cret")
    if refused:
        words = f"What {variable} holds would go to {refused} in clear text.*--insecure"
        with pytest.raises(InputError, match=words) as caught:
            access.connect(endpoint)  # before anything is sent
        assert "s3cret" not in safe(str(caught.value))
    else:
        access.check_no_clear_text(endpoint)
