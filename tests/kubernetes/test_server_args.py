"""Each Deployment's own arguments start our model server, and its own probes find it well.

The command is the entry point of the server's image. Only directories are put elsewhere: /models
and /config/... are a pod's, and so are the two ports, of which a machine has one each.
"""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from core.models import MODELS
from serving.model_server.starting import free_ports
from tests.images.dockerfile import last, lineage, parse
from tests.kubernetes.conftest import ROOT, documents, named, needs_kubectl, render_with
from tests.serving.toy_model import save_toy

pytestmark = needs_kubectl
START_SECONDS = 120


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store: a toy under the name of every model."""
    folder = tmp_path_factory.mktemp("store")
    for model in MODELS:
        save_toy(folder / model / "1760000000")
    return folder


def lay_out(text: str, deployment: dict, folder: Path, models: Path) -> dict[str, str]:
    """What the pod mounts, under ``folder``; mount path to place."""
    maps = {d["metadata"]["name"]: d["data"] for d in documents(text, "ConfigMap")}
    pod = deployment["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    places = {}
    for mount in pod["containers"][0]["volumeMounts"]:
        volume = volumes[mount["name"]]
        place = folder / mount["name"]
        if "configMap" in volume:
            place.mkdir()
            for name, content in maps[volume["configMap"]["name"]].items():
                (place / name).write_text(content.replace('"/models/', f'"{models}/'))
        places[mount["mountPath"]] = str(models if mount["name"] == "models" else place)
    return places


def passes(probe: dict, ports: dict[str, int]) -> bool:
    """Asks as the kubelet would."""
    if "tcpSocket" in probe:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", ports[probe["tcpSocket"]["port"]])) == 0
    get = probe["httpGet"]
    try:
        url = f"http://127.0.0.1:{ports[get['port']]}{get['path']}"
        return urllib.request.urlopen(url, timeout=5).status < 400
    except (urllib.error.URLError, ConnectionError):
        return False


@pytest.mark.parametrize("model", MODELS)
def test_arguments_start_the_server_and_probes_pass(model, models, tmp_path):
    text = render_with(tmp_path, "overlays/dev", "inkwell-server")
    deployment = named(text, "Deployment")[f"inkwell-{model}"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    places = lay_out(text, deployment, tmp_path, models)
    names = {port["containerPort"]: port["name"] for port in container["ports"]}
    ports = dict(zip(names.values(), free_ports(len(names)), strict=True))
    arguments = []
    for argument in container["args"]:
        flag, _, value = argument.partition("=")
        if flag.endswith("port"):
            value = str(ports[names[int(value)]])
        for mounted, place in places.items():
            if value.startswith(mounted + "/"):
                value = value.replace(mounted, place, 1)
                break
        arguments.append(f"{flag}={value}")
    log = (tmp_path / "log").open("w+")
    stages = parse((ROOT / "Dockerfile").read_text())
    python, *entry = last(lineage(stages, "server"), "ENTRYPOINT").words()
    assert python == "python"
    process = subprocess.Popen(
        [sys.executable, *entry, *arguments],
        cwd=ROOT,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        assert not passes(container["startupProbe"], ports)
        deadline = time.monotonic() + START_SECONDS
        while not passes(container["startupProbe"], ports):
            assert process.poll() is None and time.monotonic() < deadline, Path(
                log.name
            ).read_text()
            time.sleep(0.2)
        assert passes(container["readinessProbe"], ports)
        assert passes(container["livenessProbe"], ports)
        metrics = urllib.request.urlopen(
            f"http://127.0.0.1:{ports['http']}/monitoring/prometheus/metrics", timeout=5
        ).read()
        assert b":tensorflow:cc:saved_model:load_attempt_count" in metrics
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        log.close()
