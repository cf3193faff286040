"""The Dockerfile's own steps, run: images are built from the locks and used as a pod would.

Run literally but for what needs a network (see sandbox.py): in a directory that stands for the
image, with set-up's package cache. A good minute on two cores.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
import setup
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setup_uv import LOCKS

from tests.images import sandbox
from tests.images.dockerfile import Stage, parse
from tests.images.sandbox import ROOT, Image
from tests.serving.toy_model import save_toy

SITE = "opt/venv/lib/python3.11/site-packages"
STAGES = parse((ROOT / "Dockerfile").read_text())
REASON = sandbox.unavailable()
pytestmark = [
    pytest.mark.extended,
    pytest.mark.skipif(REASON is not None, reason=f"no image can be built: {REASON}"),
]


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The target ``cpu``."""
    yield from built("cpu")


@pytest.fixture(scope="module")
def server() -> Iterator[Image]:
    """The target ``server``."""
    yield from built("server")


def built(target: str) -> Iterator[Image]:
    """A target, built on the disk of the package cache."""
    directory = Path(tempfile.mkdtemp(prefix="image-", dir=ROOT / ".uv" / "tmp"))
    try:
        yield sandbox.build(STAGES, target, directory)
    finally:
        shutil.rmtree(directory)


def succeed(image: Image, *command: str) -> str:
    """Output of ``command`` in the image, which must end well."""
    done = sandbox.run(image, list(command))
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def pins(name: str) -> dict[str, str]:
    """Packages of a lock for this Python, by name."""
    found = re.findall(r"^([\w.-]+)==(\S+)([^\n]*)", (ROOT / name).read_text(), re.M)
    return {
        canonicalize_name(package): version
        for package, version, marker in found
        if "python_full_version < '3.11'" not in marker
    }


def test_only_fetching_steps_were_left_out(image: Image):
    assert [step.split()[:4] for step in image.skipped] == [
        ["python", "-m", "pip", "install"],
        ["apt-get", "update"],
        ["apt-get", "install", "--yes", "--no-install-recommends"],
    ]


def installed(image: Image) -> dict[str, str]:
    """Versions of the packages in an image, by name."""
    found = (Distribution.at(path) for path in (image.root / SITE).glob("*.dist-info"))
    return {canonicalize_name(d.metadata["Name"]): d.version for d in found}


def test_packages_are_those_of_the_lock_and_no_others(image: Image):
    found = installed(image)
    run, dev, gpu = map(pins, LOCKS)
    assert found == run
    assert not found.keys() & (dev.keys() | gpu.keys())


def test_what_the_image_leaves_out_is_gone(image: Image):
    for name in ("tensorflow/include", "clang", "pandas/tests"):
        assert not (image.root / SITE / name).exists()
    assert not list((image.root / "root").glob(".cache/uv/*"))
    assert not list((image.root / "var/cache/uv").glob("*"))
    assert not (image.root / "usr-local/bin/uv").exists()  # the build stage's


def test_default_command_prints_the_help(image: Image):
    output = succeed(image, *image.command)
    assert "Usage: inkwell" in output and "compile" in output


def test_container_sees_neither_checkout_nor_root(image: Image):
    script = f"import os; assert not os.path.exists({str(ROOT / 'pipeline')!r}); print(os.getuid())"
    assert succeed(image, "python", "-c", script) == "1000\n"
    assert "uid=1000(inkwell) gid=1000(inkwell) groups=1000(inkwell)" in succeed(image, "id")


def test_nothing_but_scratch_and_home_can_be_written(image: Image):
    script = "for d in /app /opt/venv / /usr /etc; do touch $d/x && exit 1; done; touch /tmp/x ~/x"
    done = sandbox.run(image, ["sh", "-c", script])
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Read-only file system") == 5


def test_code_is_root_s_readable_by_all_and_compiled(image: Image):
    files = [path for path in (image.root / "app").rglob("*") if path.is_file()]
    sources = [path for path in files if path.suffix == ".py"]
    assert len(sources) > 60
    for path in files:
        status = path.stat()
        assert status.st_uid == 0 and status.st_mode & 0o444 == 0o444, path
    for path in sources:
        compiled = path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc"
        # Flags of PEP 552: checked by nothing, so that the files' times do not matter.
        assert compiled.read_bytes()[4:8] == (1).to_bytes(4, "little"), path


def test_packages_are_compiled(image: Image):
    sources = [p for p in (image.root / SITE / "tfx").rglob("*.py") if "templates" not in p.parts]
    without = [
        path
        for path in sources
        if not (path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc").exists()
    ]
    assert len(sources) > 500 and not without


def test_mnist_is_baked_in_whole(image: Image):
    setup.check_data(str(image.root / "app/data/mnist"))


IMPORT_ALL = """
import importlib, pathlib, sys
names = sorted(
    str(path.with_suffix("")).replace("/", ".").removesuffix(".__init__")
    for package in ("pipeline", "components", "trainer_modules", "serving", "core")
    for path in pathlib.Path(package).rglob("*.py")
)
for name in names:
    if not name.endswith("__main__"):
        module = importlib.import_module(name)
        assert module.__file__.startswith("/app/"), module.__file__
import keras, tensorflow as tf
assert keras.backend.backend() == "tensorflow" and keras.__version__.startswith("3.")
assert tf.constant(2.0) * 3 == 6
print(len(names), "modules", sys.prefix)
"""


def test_every_module_imports_without_the_tools_of_development(image: Image):
    output = succeed(image, "python", "-c", IMPORT_ALL)
    assert re.fullmatch(r"\d+ modules /opt/venv\n", output.splitlines()[-1] + "\n")


def test_entrypoint_of_a_pod_answers(image: Image):
    done = sandbox.run(image, ["python", "-m", "pipeline.kubeflow.entrypoint"])
    assert done.returncode == 2 and "does not know the package's command" in done.stderr


def test_dry_run_finds_the_profiles_and_the_data(image: Image):
    output = succeed(image, "inkwell", "run", "--profile", "smoke", "--dry-run")
    assert "data_dir: data/mnist" in output


def test_changed_package_is_refused(image: Image, tmp_path: Path):
    """The install step itself, on a lock with one wrong digit in a hash."""
    lock = (ROOT / "requirements.lock").read_text()
    entry = re.search(r"^six==.*?(?=^[a-z])", lock, re.M | re.S).group(0)
    wrong = re.sub(r"sha256:(.)", lambda m: f"sha256:{'1' if m[1] == '0' else '0'}", entry)
    assert wrong != entry
    (step,) = [i for i in STAGES["packages"].instructions if "uv pip install" in i.value]
    directory = image.root.parent
    stage = sandbox.build({"refused": Stage("refused", "", ())}, "refused", directory)
    shutil.copy2(sandbox.UV, stage.root / "usr-local/bin/uv")
    (stage.root / "requirements.lock").write_text(entry)
    sandbox.run_step(stage, step)
    shutil.rmtree(stage.root / "opt/venv")
    (stage.root / "requirements.lock").write_text(wrong)
    with pytest.raises(RuntimeError, match="Hash mismatch for `six"):
        sandbox.run_step(stage, step)


# --- the model server's ------------------------------------------------------------------------

# What `serving.model_server` imports.
SERVER_IMPORTS = (
    *("tensorflow", "tensorflow-serving-api", "grpcio", "protobuf", "numpy"),
    *("aiohttp", "orjson", "uvloop", "grpcio-health-checking", "grpcio-reflection"),
    "cryptography",
)
NOT_AT_RUN_TIME = {"libclang"}  # TensorFlow names it, and uses it for nothing here


def closure(*names: str) -> set[str]:
    """Packages that ``names`` need, themselves included."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found.add(name)
            requirements = map(Requirement, distribution(name).requires or [])
            waiting += [
                requirement.name
                for requirement in requirements
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            ]
    return found


def test_server_has_what_it_imports_from_the_lock_and_no_more(server: Image):
    found = installed(server)
    assert found.keys() == closure(*SERVER_IMPORTS) - NOT_AT_RUN_TIME
    assert found.items() <= pins("requirements.lock").items()
    assert {path.name for path in (server.root / "app").iterdir()} == {"core", "serving"}


SERVE = """
import json, os, subprocess, sys, urllib.request
os.environ["HOME"] = "/nowhere"  # the manifests give it no home to write to, only /tmp
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
try:
    print(process.stdout.readline().strip())
    sockets = [line.split() for line in open("/proc/net/tcp")][1:]
    listening = {address for _, address, _, state, *_ in sockets if state == "0A"}
    print("REST on all addresses:", f"00000000:{8501:04X}" in listening)
    body = json.dumps({"inputs": [[[[0.25]] * 28] * 28]}).encode()
    url = "http://127.0.0.1:8501/v1/models/gan:predict"
    print("answer:", json.load(urllib.request.urlopen(url, body, timeout=30))["outputs"][0][0][0])
    process.terminate()
    print("status:", process.wait(30))
finally:
    process.kill()
"""


def test_server_serves_with_a_pod_s_rights(server: Image):
    save_toy(server.root / "models/gan/1760000000")
    flags = ["--rest_api_port=8501", "--model_name=gan", "--model_base_path=/models/gan"]
    lines = succeed(server, "python", "-c", SERVE, *server.command, *flags).splitlines()
    assert lines[0] == ("Serving gan version 1760000000 at 0.0.0.0:8500, REST at 0.0.0.0:8501")
    assert lines[1:] == ["REST on all addresses: True", "answer: [0.75]", "status: 0"]
