"""Versions that are loaded only with the team's signature: push, both servers' ways, manifests."""

import json
import logging
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from components.pusher.push import push
from serving import signing, verified
from serving.errors import ServingError
from serving.versions import extra_file, list_versions
from tests.kubernetes.conftest import deployments, needs_kubectl, render_with, server

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def private_pem(key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def pushed(tmp_path: Path, text: str = "graph", clock: float = 7.0, key=KEY) -> Path:
    """The directory of a version of gan, pushed with a key."""
    model = tmp_path / "model"
    (model / "variables").mkdir(parents=True, exist_ok=True)
    (model / "saved_model.pb").write_text(text)
    (model / "variables" / "variables.index").write_text("index")
    extra = {"tf_serving_warmup_requests": b"records"}
    made = push(model, tmp_path / "store" / "gan", extra, clock=lambda: clock, key=key)
    return Path(made.destination)


def fault(version: Path, key=KEY, model: str = "gan") -> str:
    return signing.fault(version, model, int(version.name), [key.public_key()])


def test_a_pushed_version_has_the_signature_of_the_key(tmp_path):
    assert fault(pushed(tmp_path)) == ""
    assert (tmp_path / "store" / "gan" / "7" / "assets.extra" / "manifest.sig").stat().st_mode & (
        0o777
    ) == 0o644


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("saved_model.pb", "saved_model.pb differs since it was signed"),
        ("variables/variables.index", "variables/variables.index differs since it was signed"),
        ("assets.extra/tf_serving_warmup_requests", "tf_serving_warmup_requests differs since"),
        ("assets.extra/lineage.json", "assets.extra/lineage.json differs since it was signed"),
        ("saved_model.pbtxt", "saved_model.pbtxt is new since it was signed"),
        ("assets.extra/manifest.json", "its signature is not made with a known key"),
        ("assets.extra/manifest.sig", "its signature is not made with a known key"),
    ],
)
def test_a_version_in_which_any_file_was_changed_has_a_fault(tmp_path, file, words):
    """Somebody who may mount the share replaced a file of what is served."""
    version = pushed(tmp_path)
    (version / file).write_text("import os")
    assert words in fault(version)


def test_a_version_without_or_with_another_signature_has_a_fault(tmp_path):
    """Somebody put a version of their own on the share, with a signature of their own."""
    version = pushed(tmp_path)
    assert fault(version, OTHER) == "its signature is not made with a known key"
    extra_file(version, "manifest.sig").unlink()
    assert fault(version) == "it has no signature"


def test_a_signed_version_counts_only_where_it_was_pushed(tmp_path):
    """Somebody copied an old version of the team's to a new number, or under another model."""
    version = pushed(tmp_path)
    newer = shutil.copytree(version, version.with_name("9"))
    assert fault(newer) == "it was signed as version 7 of gan"
    assert fault(version, model="diffusion") == "it was signed as version 7 of gan"


def test_a_link_in_a_signed_version_is_a_fault(tmp_path):
    """A file became a link to the same content, which can change after the check."""
    version = pushed(tmp_path)
    (version / "saved_model.pb").rename(tmp_path / "moved")
    (version / "saved_model.pb").symlink_to(tmp_path / "moved")
    assert fault(version) == "saved_model.pb is a link"


def test_an_unsigned_version_is_not_taken_for_the_signed_one(tmp_path):
    unsigned = pushed(tmp_path, key=None)
    signed = pushed(tmp_path, clock=8.0)
    assert (unsigned.name, signed.name) == ("7", "8")
    assert pushed(tmp_path, clock=9.0) == signed  # a retry changes nothing
    assert fault(signed) == ""


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_commands_of_the_guide_make_and_check_a_signature(tmp_path):
    def openssl(*words: str) -> str:
        return subprocess.run(
            ["openssl", *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    openssl("genpkey", "-algorithm", "ed25519", "-out", "inkwell.key")
    openssl("pkey", "-in", "inkwell.key", "-pubout", "-out", "inkwell.pub")
    key = signing.signing_key({signing.KEY_VARIABLE: str(tmp_path / "inkwell.key")})
    version = pushed(tmp_path, key=key)
    keys = signing.public_keys(tmp_path / "inkwell.pub")
    assert signing.fault(version, "gan", 7, keys) == ""
    for name in ("manifest.json", "manifest.sig"):
        shutil.copy(extra_file(version, name), tmp_path)
    words = "pkeyutl -verify -pubin -inkey inkwell.pub -rawin -in manifest.json -sigfile"
    assert "Verified Successfully" in openssl(*words.split(), "manifest.sig")


def test_keys_are_exchanged_with_both_in_the_file(tmp_path):
    path = tmp_path / "keys.pub"
    path.write_bytes(public_pem(OTHER) + b"# the new one\n" + public_pem(KEY))
    assert signing.fault(pushed(tmp_path), "gan", 7, signing.public_keys(path)) == ""


@pytest.mark.parametrize("content", [b"", b"no key", private_pem(KEY).encode()])
def test_a_file_without_a_public_key_is_one_sentence(tmp_path, content):
    path = tmp_path / "keys.pub"
    path.write_bytes(content)
    with pytest.raises(ServingError, match="keys.pub does not hold Ed25519 public keys alone"):
        signing.public_keys(path)


def test_the_private_key_is_a_path_or_text_and_never_shown(tmp_path):
    text = private_pem(KEY)
    (tmp_path / "key").write_text(text)
    for given in (text, str(tmp_path / "key")):
        found = signing.signing_key({signing.KEY_VARIABLE: given})
        assert found.public_key() == KEY.public_key()
    assert signing.signing_key({}) is None
    secret = text.splitlines()[1]
    with pytest.raises(ServingError, match="^The text in INKWELL_SIGNING_KEY is no Ed25519") as bad:
        signing.signing_key({signing.KEY_VARIABLE: text.replace("PRIVATE", "PRIVAT")})
    assert secret not in str(bad.value)


def test_copies_are_made_of_signed_versions_alone(tmp_path, caplog):
    """Somebody put a program on the share, next to the team's versions."""
    good = pushed(tmp_path)
    bad = shutil.copytree(good, good.with_name("9"))
    source, target, refused = good.parent, tmp_path / "verified" / "gan", {}
    caplog.set_level(logging.INFO)
    for _ in range(2):
        verified.refresh(source, target, [KEY.public_key()], refused)
    assert [version.number for version in list_versions(target)] == [7]
    assert [path.name for path in target.iterdir()] == ["7"]
    refusals = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(refusals) == 1  # each version once
    assert refusals[0].getMessage() == f"{bad} is not served: it was signed as version 7 of gan"

    (good / "saved_model.pb").write_text("import os")  # after the check: the copy stays
    verified.refresh(source, target, [KEY.public_key()], refused)
    assert (target / "7" / "saved_model.pb").read_text() == "graph"
    shutil.rmtree(good)
    verified.refresh(source, target, [KEY.public_key()], refused)
    assert list(target.iterdir()) == []


def test_a_refused_version_is_copied_once_it_is_whole(tmp_path):
    version = pushed(tmp_path)
    target, refused = tmp_path / "verified" / "gan", {}
    signature = extra_file(version, "manifest.sig")
    whole = signature.read_bytes()
    signature.unlink()
    verified.refresh(version.parent, target, [KEY.public_key()], refused)
    assert list_versions(target) == []
    signature.write_bytes(whole)
    verified.refresh(version.parent, target, [KEY.public_key()], refused)
    assert [v.number for v in list_versions(target)] == [7]


def test_our_server_loads_signed_versions_alone(tmp_path, monkeypatch):
    """A version without the team's signature was loaded, and so its program ran."""
    from serving.model_server import __main__ as main
    from serving.model_server import repository as module
    from serving.model_server.config import ModelConfig
    from serving.model_server.errors import LoadError

    loaded, checked = [], []

    class Servable:
        def __init__(self, name, version, path, *_):
            self.name, self.version, self.path = name, version, path
            loaded.append(version)

        def warm_up(self, path):
            pass

    monkeypatch.setattr(module, "Servable", Servable)
    good = pushed(tmp_path)
    shutil.copytree(good, good.with_name("9"))
    (tmp_path / "keys.pub").write_bytes(public_pem(KEY))
    check = main._fault(tmp_path / "keys.pub")

    def fault(*given):
        checked.append(given[2])
        return check(*given)

    models = [ModelConfig("gan", good.parent)]
    repository = module.Repository(models, retries=0, retry_seconds=60, fault=fault)
    with pytest.raises(LoadError, match="9 is not loaded: it was signed as version 7 of gan"):
        repository.start(0)
    assert loaded == []
    shutil.rmtree(good.with_name("9"))
    repository.poll()
    repository.poll()
    assert loaded == [7]
    assert checked == [9, 7]  # each version once, however often the server looks


def test_our_server_does_not_load_what_is_not_as_it_was_pushed(tmp_path, monkeypatch):
    """Without a key too: a version is loaded only with the files that its push recorded."""
    from serving.model_server import repository as module
    from serving.model_server.config import ModelConfig
    from serving.model_server.errors import LoadError

    monkeypatch.setattr(module, "Servable", lambda *_: pytest.fail("it was loaded"))
    version = pushed(tmp_path, key=None)
    (version / "saved_model.pb").write_text("import os")
    models = [ModelConfig("gan", version.parent)]
    with pytest.raises(LoadError, match="7 is not loaded: saved_model.pb differs"):
        module.Repository(models, retries=0).start(0)


@needs_kubectl
def test_servers_of_the_component_load_only_what_was_checked(tmp_path):
    text = render_with(tmp_path, "overlays/prod", "inkwell-server", "signed")
    for model, deployment in deployments(text).items():
        pod = deployment["spec"]["template"]
        [checker] = pod["spec"]["initContainers"]
        assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == model
        mounts = {m["mountPath"]: m["name"] for m in server(deployment)["volumeMounts"]}
        assert mounts["/models"] == "verified" and "models" not in mounts.values()
        assert checker["restartPolicy"] == "Always"
        shares = {m["name"]: m for m in checker["volumeMounts"]}
        assert shares["models"]["readOnly"] is True
        given = [*checker["args"][1:], "--help"]
        with pytest.raises(SystemExit) as ended:  # they are arguments that the command knows
            verified.main([model, *given])
        assert ended.value.code == 0


def test_the_manifest_names_every_other_file(tmp_path):
    version = pushed(tmp_path)
    manifest = json.loads(extra_file(version, "manifest.json").read_text())
    files = {p.relative_to(version).as_posix() for p in version.rglob("*") if p.is_file()}
    assert files - manifest["files"].keys() == {
        "assets.extra/manifest.json",
        "assets.extra/manifest.sig",
    }
    assert (manifest["model"], manifest["version"]) == ("gan", 7)
