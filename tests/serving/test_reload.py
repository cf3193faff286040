"""HandleReloadConfigRequest: off by default, and bounded by a directory where a flag allows it.

A SavedModel is a program: its warm-up requests run while it loads, as the user who serves.
"""

import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from tensorflow_serving.apis import model_management_pb2

from serving.model_server.grpc_client import GrpcClient
from tests.serving.conftest import model_server
from tests.serving.hostile import save_hostile
from tests.serving.test_model_server import INVALID, ROOT, TIMEOUT, failure
from tests.serving.toy_model import save_toy

TOKEN = "of-those-who-may-load-models"
DENIED = grpc.StatusCode.PERMISSION_DENIED


def flags_of(base: Path) -> list[str]:
    return ["--model_name=toy", f"--model_base_path={base}"]


def reload_of(path: Path, name: str = "other") -> model_management_pb2.ReloadConfigRequest:
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(
        name=name, base_path=str(path), model_platform="tensorflow"
    )
    return request


def answers(address: str, token: str = "") -> bool:
    with GrpcClient(address, "toy", token) as client:
        image = np.zeros((1, 28, 28, 1), "float32")
        assert client.states(TIMEOUT) == {1: "AVAILABLE"}
        return client.predict("", {"image": image}, TIMEOUT)["image"].min() == 1.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("served") / "toy"
    save_toy(base / "1")
    return base


@pytest.fixture
def token_flag(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return f"--token_file={path}"


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[Path, Path]:
    """A model that writes a file while it warms up, and that file."""
    trace, folder = tmp_path / "trace", tmp_path / "hostile"
    save_hostile(folder, trace, "other")
    return folder, trace


def test_reload_is_off_unless_a_flag_allows_it(served, hostile):
    folder, trace = hostile
    with model_server(*flags_of(served)) as (address, _), GrpcClient(address, "other") as client:
        call = client.models.HandleReloadConfigRequest
        assert failure(call, reload_of(folder), timeout=TIMEOUT) == (
            DENIED,
            "HandleReloadConfigRequest is off in this server; --reload_config_root=DIR with "
            "--token_file=FILE turns it on for models below DIR.",
        )
        assert failure(client.states, TIMEOUT)[0] == grpc.StatusCode.NOT_FOUND
        assert answers(address)
    assert not trace.exists()


def test_only_models_below_the_directory_are_loaded(served, hostile, token_flag, tmp_path):
    folder, trace = hostile
    root = tmp_path / "root"
    save_toy(root / "inside" / "7")
    (root / "link").symlink_to(folder)
    (root / "linked version").mkdir()
    (root / "linked version" / "1").symlink_to(folder / "1")
    (tmp_path / "root-like").symlink_to(folder)
    (root / "file").touch()
    (root / "circle").symlink_to(root / "circle")
    (root / "within").symlink_to(root / "inside")
    outside = [
        *(folder, root / "link", root / "linked version", root, tmp_path / "root-like"),
        *(root / ".." / "hostile", root / "inside" / ".." / "inside"),
    ]
    flag = f"--reload_config_root={root}"
    with (
        model_server(*flags_of(served), flag, token_flag) as (address, rest),
        GrpcClient(address, "other", TOKEN) as client,
        GrpcClient(address, "other", "another-token-than-it") as stranger,
    ):
        code, _ = failure(
            stranger.models.HandleReloadConfigRequest, reload_of(root / "inside"), timeout=TIMEOUT
        )
        assert code == grpc.StatusCode.UNAUTHENTICATED
        call = client.models.HandleReloadConfigRequest
        for path in outside:
            code, text = failure(call, reload_of(path), timeout=TIMEOUT)
            assert code == DENIED and f"The base_path {path} of other" in text, path
            assert answers(address, TOKEN)
        assert not trace.exists()
        for path in (root / "file", root / "circle"):
            code, text = failure(call, reload_of(path), timeout=TIMEOUT)
            assert code == INVALID and "The base_path of other is not a readable directory" in text
            assert answers(address, TOKEN)

        code, text = failure(call, reload_of(Path("inside")), timeout=TIMEOUT)
        assert code == INVALID and "to have an absolute path" in text
        request = model_management_pb2.ReloadConfigRequest()
        _, text = failure(call, request, timeout=TIMEOUT)
        assert "holds no model_config_list" in text
        request = reload_of(root / "within")
        [config] = request.config.model_config_list.config
        config.version_labels["stable"] = 7
        _, text = failure(call, request, timeout=TIMEOUT)
        assert "Request to assign label to version 7" in text
        assert answers(address, TOKEN)
        config.version_labels.clear()
        assert call(request, timeout=TIMEOUT).status.error_code == 0
        assert client.states(TIMEOUT) == {7: "AVAILABLE"}
        config.version_labels["stable"] = 7
        assert call(request, timeout=TIMEOUT).status.error_code == 0
        response = httpx.get(
            f"http://{rest}/v1/models/toy/metadata",
            timeout=TIMEOUT,
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        assert response.status_code == 404


def test_a_model_that_does_not_become_available_is_an_error(served, token_flag, tmp_path):
    root = tmp_path.resolve()
    (root / "broken" / "1").mkdir(parents=True)
    (root / "broken" / "1" / "saved_model.pb").write_bytes(b"junk" * 9)
    (root / "empty").mkdir()
    flag = f"--reload_config_root={root}"
    with (
        model_server(*flags_of(served), flag, token_flag) as (address, _),
        GrpcClient(address, "other", TOKEN) as client,
    ):
        call = client.models.HandleReloadConfigRequest
        for name in ("broken", "empty", "missing"):
            code, text = failure(call, reload_of(root / name), timeout=TIMEOUT)
            assert code == grpc.StatusCode.UNKNOWN, name  # as upstream's server_core.cc
            words = "1 servable(s) did not become available: {{{name: other"
            assert text.startswith(words), name
        for platform in ("pytorch", ""):
            request = reload_of(root / "broken")
            request.config.model_config_list.config[0].model_platform = platform
            code, text = failure(call, request, timeout=TIMEOUT)
            assert code == INVALID and "platform" in text


@pytest.mark.parametrize(
    ("name", "words"), [("none", "none is not a directory"), ("", "needs --token_file")]
)
def test_the_directory_must_exist_and_callers_have_a_token(served, tmp_path, name, words):
    command = [sys.executable, "-m", "serving.model_server", f"--model_base_path={served}"]
    command.append(f"--reload_config_root={tmp_path / name}")
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert words in ended.stderr.splitlines()[-1]
