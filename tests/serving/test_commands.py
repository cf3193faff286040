"""The serving commands as a user types them, against ``inkwell serve``."""

import concurrent.futures
import http.server
import json
import re
import signal
import subprocess
import sys
import threading
import time

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image, ImageDraw

from pipeline.cli.main import app
from serving.client import Client
from serving.images import as_images
from serving.model_server.starting import free_ports
from tests.serving.conftest import ROOT, inkwell
from tests.serving.toy_models import MOST_OF_GAN, save_gan


@pytest.fixture
def picture(tmp_path):
    image = Image.new("L", (28, 28))
    ImageDraw.Draw(image).line([(10, 4), (16, 24)], fill=255, width=3)
    image.save(tmp_path / "a.png")
    return tmp_path / "a.png"


def version_served(served, model="autoencoder", label=None) -> int:
    with Client(model, served.rest, label=label) as client:
        return client.version()


def test_serve_says_what_and_where(served):
    text = "".join(served.said)
    assert "autoencoder, diffusion, gan" in text
    assert served.grpc in text and f"http://{served.rest}" in text and served.playground in text
    metrics = httpx.get(f"http://{served.rest}/monitoring/prometheus/metrics").text
    assert ":tensorflow:serving:request_count" in metrics


def test_predict_writes_pictures_and_prints_numbers(served, picture, tmp_path):
    done = served.inkwell("predict", "autoencoder", "anomaly_score", "--image", picture)
    mean = as_images(Image.open(picture)).mean()
    assert done.returncode == 0, done.stderr
    [score] = json.loads(done.stdout)["anomaly_score"]
    assert score - np.floor(score) == pytest.approx(mean, abs=1e-4)
    out = tmp_path / "out.png"
    done = served.inkwell(
        *("predict", "diffusion", "denoise", "--image", picture, "--image", picture),
        *("--noise-level", "0.5", "-o", str(out)),
    )
    assert done.returncode == 0, done.stderr
    assert Image.open(out).size == (62, 32)  # a grid of two
    done = served.inkwell(
        *("predict", "autoencoder", "serving_default", "--image", picture, "-o", str(out))
    )
    np.testing.assert_allclose(
        as_images(Image.open(out)), as_images(Image.open(picture)) * 0.9, atol=1 / 255
    )
    assert done.returncode == 0


def test_doubts_about_a_picture_are_printed_and_no_values_are_clipped(served, picture, tmp_path):
    ink = np.asarray(Image.open(picture))

    def score_of(image: Image.Image, name: str, *options: str):
        path = tmp_path / name
        image.save(path)
        return served.inkwell("predict", "autoencoder", "anomaly_score", "--image", path, *options)

    wanted = json.loads(score_of(Image.fromarray(ink), "a.png").stdout)["anomaly_score"]
    for image, name in (
        (Image.fromarray(ink.astype("uint16") * 257), "deep.png"),
        (Image.fromarray((ink / 255).astype("float32")), "float.tiff"),
    ):
        done = score_of(image, name)
        assert done.stderr == ""
        assert json.loads(done.stdout)["anomaly_score"] == pytest.approx(wanted, abs=1e-5)
    done = score_of(Image.fromarray(255 - ink), "light.png")
    assert done.returncode == 0 and done.stderr == (
        f"inkwell: {tmp_path / 'light.png'}: An image is mostly light, but MNIST's digits are "
        "light ink on black; invert it, or let fit_digit (--fit) do so.\n"
    )
    clear = Image.merge("LA", [Image.new("L", (28, 28)), Image.fromarray(ink)])
    done = score_of(clear, "clear.png")
    assert done.returncode == 2 and "clear.png: An image has transparent pixels" in done.stderr
    assert score_of(clear, "clear.png", "--fit").returncode == 0


def test_predict_fits_any_picture(served, tmp_path):
    photo = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(photo).line([(100, 30), (140, 170)], fill="navy", width=14)
    photo.save(tmp_path / "photo.jpg")
    command = ("predict", "autoencoder", "encode", "--image", tmp_path / "photo.jpg")
    done = served.inkwell(*command)
    assert done.returncode == 2 and "--fit" in done.stderr and "300 x 200" in done.stderr
    done = served.inkwell(*command, "--fit")
    assert len(json.loads(done.stdout)["code"][0]) == 3


def test_generate_writes_a_grid(served, tmp_path):
    for model in ("gan", "diffusion"):
        paths = [tmp_path / f"{model}{i}.png" for i in range(2)]
        for path in paths:
            done = served.inkwell("generate", model, "--count", "9", "--seed", "1", "-o", path)
            assert done.returncode == 0, done.stderr
        assert Image.open(paths[0]).size == (92, 92)
        assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("generate", "vae"), "does not serve vae; it serves autoencoder, diffusion, gan."),
        (("generate", "vae", "--label", "canary"), "does not serve vae"),
        (
            ("generate", "autoencoder"),
            "The model autoencoder has no signature generate; it has anomaly_score, decode, "
            "denoise, encode, serving_default.",
        ),
        (("generate", "gan", "--steps", "10"), "takes no steps; leave out --steps"),
        (
            ("generate", "gan", "--label", "canary"),
            "No version of gan has the label canary; set it with: inkwell promote gan VERSION "
            "--label canary",
        ),
        (("generate", "gan", "--label", "foo"), "the labels are stable and canary."),
        (
            ("predict", "gan", "discrimin", "--image", "PICTURE"),
            "(did you mean discriminate?); it has",
        ),
        (("predict", "diffusion", "denoise", "--image", "PICTURE"), "give it with --noise-level"),
        (
            ("predict", "diffusion", "denoise", "--image", "PICTURE", "--noise-level", "4"),
            "--noise-level must be between 0 and 1, not 4.",
        ),
        (
            ("predict", "diffusion", "denoise", "--image", "PICTURE", "--noise-level", "nan"),
            "--noise-level must be between 0 and 1, not nan.",
        ),
        (
            ("predict", "autoencoder", "denoise", "--image", "PICTURE", "--noise-level", "0.4"),
            "leave out --noise-level",
        ),
        (("predict", "gan", "serving_default", "--image", "PICTURE"), "takes latent, but this"),
        (
            ("predict", "gan", "discriminate", "--image", "PICTURE", "-o", "a.png"),
            "discriminate returns no images; leave out -o.",
        ),
        (("generate", "vae", "-o", "/none/a.png"), "there is no directory /none; name another"),
        (("generate", "vae", "-o", "/none/a.txt"), "ends in no format of images, such as .png"),
        (("generate", "vae", "-o", "/tmp"), "/tmp cannot be written: it is a directory"),
        (("generate", "gan", "-o", "/proc/a.png"), "/proc/a.png cannot be written (No such file"),
        (
            ("predict", "vae", "denoise", "--image", "PICTURE", "-o", "/none/a.png"),
            "there is no directory /none; name another file with -o.",
        ),
        (("generate", "gna"), "does not serve gna (did you mean gan?); it serves"),
        (("predict", "gan", "discriminate", "--image", "none.png"), "There is no file none.png"),
        (("promote", "gan", "9"), "There is no version 9 of gan"),
        (("promote", "gan", "new"), "A version is a whole number or newest"),
        (("promote", "gan", "newest", "--label", "foo"), "There is no label foo; use stable or"),
        (("promote", "gan", "newest", "--label", "canary"), "for a canary, name its version"),
        (
            ("rollback", "gna"),
            "(did you mean gan?); the models there: autoencoder, diffusion, gan.",
        ),
        (("rollback", "gan"), "no version of gan to go back to"),
        (("canary", "gan"), "No version of gan has the label stable"),
        (("canary", "gan", "--share", "2"), "between 0 and 1"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_two(served, arguments, words, tmp_path, picture):
    arguments = tuple(str(picture) if word == "PICTURE" else word for word in arguments)
    if arguments[0] in ("promote", "rollback"):
        arguments = (*arguments, "--serving", str(served.serving))
    if arguments[0] == "generate" and "-o" not in arguments:
        arguments = (*arguments, "-o", str(tmp_path / "a.png"))
    done = served.inkwell(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("inkwell: ") and words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [("--count", "0"), ("--steps", "0"), ("--seed", str(2**31)), ("--count", str(2**31))],
)
def test_numbers_out_of_range_are_refused_before_anything_is_sent(option, value):
    done = inkwell("generate", "diffusion", option, value, "--server", "127.0.0.1:1")
    assert done.returncode == 2 and f"{option} must be at " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["generate", "canary", "models", "promote", "rollback"])
def test_the_port_of_grpc_is_said(served, command):
    """Before a label moves, as the server would not be seen to follow."""
    arguments = {
        "models": [],
        "promote": ["autoencoder", "1"],
        "rollback": ["autoencoder"],
    }.get(command, ["gan"])
    if command in ("models", "promote", "rollback"):
        arguments += ["--serving", str(served.serving)]
    done = inkwell(command, *arguments, "--server", served.grpc)
    assert done.returncode == 2
    assert done.stderr == (
        f"inkwell: http://{served.grpc} speaks gRPC, not REST; give the port for REST, 8501 by "
        "default.\n"
    )
    assert not (served.serving / "releases.json").exists() or version_served(served) == 2


def test_what_the_server_refuses_is_one_sentence(served, tmp_path):
    """The toy's generate raises inside TensorFlow, whose errors have many lines."""
    done = served.inkwell(
        "generate", "gan", "--count", str(MOST_OF_GAN + 1), "-o", tmp_path / "a.png"
    )
    assert done.returncode == 2 and not (tmp_path / "a.png").exists()
    assert done.stderr.startswith("inkwell: The server refuses this request: ")
    assert f"at most {MOST_OF_GAN}" in done.stderr and done.stderr.count("\n") == 1


def answer_to_generate(status: int, error: str) -> subprocess.CompletedProcess:
    """What ``generate`` makes of a server that answers everything with this error."""

    class Fail(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"error": error}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fail) as server:
        threading.Thread(target=server.serve_forever).start()
        done = inkwell("generate", "gan", "--server", f"127.0.0.1:{server.server_port}")
        server.shutdown()
    return done


@pytest.mark.parametrize(("status", "code"), [(500, "UNKNOWN"), (429, "RESOURCE_EXHAUSTED")])
def test_a_server_that_fails_is_not_the_users_mistake(status, code):
    done = answer_to_generate(status, "Out of\nmemory.")
    assert done.returncode == 1
    assert done.stderr == f"inkwell: The server failed ({code}): Out of memory; see its log.\n"


@pytest.mark.parametrize(
    "dump",
    [
        "{{function_node __inference_f_1}} {{function_node __inference_g_2}} assertion failed: "
        "[The input count is 0.] [0]\n\t [[{{node Assert}}]]",
        "Graph execution error:\n\nDetected at node a defined at (most recent call last):\n"
        "<stack traces unavailable>\n2 root error(s) found.\n  (0) INVALID_ARGUMENT:  The input "
        "count is 0.\n\t [[{{node a}}]]\n  (1) INVALID_ARGUMENT:  Other\n0 successful operations.",
    ],
)
def test_the_graph_that_tensorflow_serving_sends_is_not_shown(dump):
    """As its sources write such errors; our own server leaves the graph out itself."""
    done = answer_to_generate(400, dump)
    assert done.returncode == 2
    assert done.stderr == "inkwell: The server refuses this request: The input count is 0.\n"


@pytest.mark.parametrize(
    "command", ["serve", "models", "promote", "rollback", "canary", "predict", "generate"]
)
def test_help_shows_examples_that_fit_a_narrow_terminal(command):
    [found] = [c for c in app.registered_commands if c.callback.__name__ == command]
    examples = re.search(r"```\n(.*?)```", found.help, re.DOTALL)[1].splitlines()
    assert len(examples) >= 2 and all(len(line) <= 76 for line in examples)
    assert all(
        line.startswith(f"inkwell {command} ") or line == f"inkwell {command}" for line in examples
    )


def test_help_names_the_bounds():
    text = " ".join(inkwell("generate", "--help").stdout.replace("│", " ").split())
    assert "at most --max-count of inkwell serve (1000 by default)" in text
    assert "Sampling steps (diffusion only; 20 by default)." in text


@pytest.mark.parametrize(
    "command",
    [
        ("generate", "gan"),
        ("predict", "gan", "discriminate", "--image", "PICTURE"),
        ("canary", "gan"),
        ("models",),
    ],
)
def test_without_a_server_commands_end_at_once_unless_told_to_wait(served, picture, command):
    [port] = free_ports(1)
    command = [str(picture) if word == "PICTURE" else word for word in command]
    if command == ["models"]:
        command += ["--serving", str(served.serving)]
    started = time.monotonic()

    def seconds_of(wait: str) -> float:
        done = inkwell(*command, "--server", f"127.0.0.1:{port}", "--wait", wait)
        assert "No model server answers at" in done.stdout + done.stderr
        assert done.returncode == (0 if command[0] == "models" else 2)
        return time.monotonic() - started

    with concurrent.futures.ThreadPoolExecutor() as threads:  # both under the machine's same load
        at_once, later = threads.map(seconds_of, ("0", "6"))
    assert at_once + 2 < later


def test_promotion_canary_and_roll_back(served):
    """The runbook of docs/serving.md, step by step."""
    base = ("--serving", str(served.serving))
    assert version_served(served) == 2
    # A bad version is out: back to the one before. Clients without a label follow.
    done = served.inkwell("rollback", "autoencoder", *base)
    assert done.returncode == 0 and "stable is version 1" in done.stdout
    assert wait_for(lambda: version_served(served) == 1)
    assert version_served(served, label="stable") == 1
    # The newer one is tried on some.
    done = served.inkwell("promote", "autoencoder", "2", "--label", "canary", *base)
    assert done.returncode == 0, done.stderr
    assert "stable is version 1, canary is version 2" in done.stdout
    assert wait_for(lambda: version_served(served, label="canary") == 2)
    assert version_served(served, label="stable") == 1
    listed = served.inkwell("models", *base).stdout
    rows = [line.split() for line in listed.splitlines() if line.startswith("autoencoder")]
    assert [row[-2:] for row in rows] == [["stable", "AVAILABLE"], ["canary", "AVAILABLE"]]
    # Their outcomes are compared.
    done = served.inkwell("canary", "autoencoder", "--requests", "120", "--share", "0.4")
    assert done.returncode == 0, done.stderr
    assert "stable (1)" in done.stdout and "canary (2)" in done.stdout
    counts = re.search(r"requests\s+(\d+)\s+(\d+)", done.stdout)
    assert int(counts[1]) + int(counts[2]) == 120 and 25 < int(counts[2]) < 75
    assert re.search(r"errors\s+0\s+0", done.stdout)
    assert "anomaly score differs" in " ".join(done.stdout.split())
    # It is good: it becomes stable; then labels are given up again.
    done = served.inkwell("promote", "autoencoder", "2", *base)
    assert wait_for(lambda: version_served(served, label="stable") == 2)
    done = served.inkwell("promote", "autoencoder", "newest", *base)
    assert "the newest version is served" in done.stdout
    assert wait_for(lambda: version_served(served) == 2)


def wait_for(condition, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():
                return True
        except Exception:
            pass
        time.sleep(0.1)
    return False


def test_models_tells_states_only_where_a_server_answers(served):
    [port] = free_ports(1)
    base = ("--serving", str(served.serving))
    done = inkwell("models", *base, "--server", f"127.0.0.1:{port}")
    assert done.returncode == 0 and "AVAILABLE" not in done.stdout
    assert "No model server answers at" in done.stdout
    assert "AVAILABLE" in served.inkwell("models", *base).stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_server_never_outlives_the_command(tmp_path, number):
    save_gan(tmp_path / "gan" / "1")
    grpc_port, rest_port = free_ports(2)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pipeline.cli.main", "serve", "--serving", str(tmp_path)),
            *("--port", str(grpc_port), "--rest-port", str(rest_port)),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    while "Ctrl-C" not in process.stdout.readline():
        assert process.poll() is None
    [child] = psutil.Process(process.pid).children()
    process.send_signal(number)
    assert process.wait(30) == (0 if number != signal.SIGKILL else -signal.SIGKILL)
    child.wait(30)
    process.stdout.close()
