"""docs/cluster.md: its files render, and its commands name what there is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.kubernetes.conftest import (
    COMPONENTS,
    MANIFESTS,
    ROOT,
    documents,
    images,
    kustomize,
    named,
    needs_kubectl,
    render,
)
from tests.kubernetes.test_components import check
from tests.kubernetes.test_monitoring import RELEASE

pytestmark = needs_kubectl

GUIDE = (ROOT / "docs" / "cluster.md").read_text()
PROSE = " ".join(GUIDE.split())  # without its line breaks
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
FILES = {match[1]: block for block in BLOCKS if (match := re.match(r"# (my-cluster/\S+)\n", block))}
SERVING, PIPELINE = (
    "my-cluster/serving/kustomization.yaml",
    "my-cluster/pipeline/kustomization.yaml",
)
KUBERNETES = "1.34"


def block(key: str) -> dict:
    """The one block of YAML that begins with ``key``."""
    [text] = [text for text in BLOCKS if text.startswith(f"{key}:")]
    return yaml.safe_load(text)


def lay_out(folder: Path) -> None:
    """The guide's own files beside a checkout."""
    (folder / "inkwell").symlink_to(ROOT)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)


def with_changes(folder: Path, file: str, **changes: object) -> str:
    """The guide's file rendered with some of its fields changed; None removes one."""
    settings = {**yaml.safe_load(FILES[file]), **changes}
    kept = {key: value for key, value in settings.items() if value is not None}
    (folder / file).write_text(yaml.safe_dump(kept))
    return kustomize((folder / file).parent)


def validate(text: str, file: Path) -> None:
    file.write_text(text)
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", KUBERNETES, str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_cluster_of_one_s_own_is_two_files_of_15_lines(tmp_path):
    assert set(FILES) == {SERVING, PIPELINE}
    assert all(len(text.splitlines()) <= 15 for text in FILES.values())
    lay_out(tmp_path)
    serving = kustomize(tmp_path / "my-cluster/serving")
    check(serving, "digits", ("inkwell-server",))
    assert set(images(serving)) == {"registry.example/team/inkwell-server:1a2b3c4"}
    pipeline = kustomize(tmp_path / "my-cluster/pipeline")
    shares = []
    for text in (serving, pipeline):
        validate(text, tmp_path / "rendered.yaml")
        [volume], [claim] = (documents(text, f"PersistentVolume{end}") for end in ("", "Claim"))
        assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
        assert claim["spec"]["accessModes"] == volume["spec"]["accessModes"]
        shares.append(volume["spec"]["nfs"])
    assert shares[0] == shares[1]
    # None of its objects is one of an environment of ours.
    ours = {v for e in ("dev", "prod") for v in named(render(f"overlays/{e}"), "PersistentVolume")}
    assert not ours & set(named(serving, "PersistentVolume"))


def store_lines() -> list[str]:
    return re.findall(r"^\|[^|]*\| `- (\{op: add, path: /spec/[^`]*)` \|$", GUIDE, re.MULTILINE)


@pytest.mark.parametrize("line", store_lines())
def test_every_store_of_the_table_takes_the_share_s_place(tmp_path, line):
    lay_out(tmp_path)
    [source] = re.findall(r"^ +- (\{op: add, path: /spec/nfs.*)$", FILES[PIPELINE], re.MULTILINE)
    text = FILES[PIPELINE].replace(source, line)
    (tmp_path / PIPELINE).write_text(text)
    [volume] = documents(kustomize(tmp_path / "my-cluster/pipeline"), "PersistentVolume")
    field, value = yaml.safe_load(line)["path"].rpartition("/")[2], yaml.safe_load(line)["value"]
    assert volume["spec"][field] == value and "nfs" not in volume["spec"]
    validate(yaml.safe_dump(volume), tmp_path / "rendered.yaml")


def test_the_table_has_the_stores_that_pushing_works_on():
    fields = [yaml.safe_load(line)["path"].rpartition("/")[2] for line in store_lines()]
    assert fields == ["csi", "hostPath", "mountOptions"]


def test_tensorflow_serving_of_one_s_own_registry(tmp_path):
    lay_out(tmp_path)
    [line] = re.findall(r"`images: (\[\{name: tensorflow.*\])`", GUIDE)
    pinned = yaml.safe_load(line)
    text = with_changes(tmp_path, SERVING, components=None, images=pinned)
    check(text, "digits", ())
    assert set(images(text)) == {"registry.example/tensorflow/serving@sha256:..."}


def test_secret_of_a_registry_reaches_the_pods_account(tmp_path):
    lay_out(tmp_path)
    [line] = re.findall(r"`- (\{op: add, path: /imagePullSecrets[^`]*)`", GUIDE)
    patch = {"target": {"kind": "ServiceAccount"}, "patch": f"- {line}"}
    patches = [*yaml.safe_load(FILES[SERVING])["patches"], patch]
    text = with_changes(tmp_path, SERVING, patches=patches)
    [account] = documents(text, "ServiceAccount")
    assert account["imagePullSecrets"] == [{"name": "my-registry"}]


def test_production_takes_another_share(tmp_path):
    lay_out(tmp_path)
    [base] = re.findall(r"`resources: \[(\S+overlays/prod)\]`", GUIDE)
    text = FILES[SERVING].replace("../../inkwell/kubernetes/base", base)
    text = text.replace("{op: add, path: /spec/nfs", "{op: replace, path: /spec/nfs")
    (tmp_path / SERVING).write_text(text)
    rendered = kustomize(tmp_path / "my-cluster/serving")
    check(rendered, "digits", ("inkwell-server",))
    [volume] = documents(rendered, "PersistentVolume")
    assert volume["spec"]["nfs"] == {"server": "nfs.example.com", "path": "/digits/models"}


def test_keda_asks_for_the_namespace_that_the_file_names(tmp_path):
    lay_out(tmp_path)
    tree = "../../inkwell/kubernetes/components"
    components = [f"{tree}/monitoring", f"{tree}/keda"]
    changes = {"components": components, "images": None}
    text = with_changes(tmp_path, SERVING, **changes, **block("replacements"))
    check(text, "digits", ("monitoring", "keda"))
    with pytest.raises(AssertionError):  # the lines are needed
        check(with_changes(tmp_path, SERVING, **changes), "digits", ("monitoring", "keda"))


def test_pinned_versions_are_a_file_beside_one_s_own(tmp_path):
    lay_out(tmp_path)
    config = (MANIFESTS / "components/pinned/models.config").read_text()
    (tmp_path / SERVING).with_name("models.config").write_text(config)
    text = with_changes(tmp_path, SERVING, **block("configMapGenerator"))
    check(text, "digits", ("inkwell-server",))
    assert named(text, "ConfigMap")["models-gan"]["data"]["models.config"] == config


def component_block(name: str) -> dict:
    """The block of YAML that adds a component to a file of one's own."""
    [text] = [text for text in BLOCKS if re.match(rf"components: \[\S+/{name}\]", text)]
    return yaml.safe_load(text)


def test_a_second_claim_only_reads_the_same_share(tmp_path):
    lay_out(tmp_path)
    text = with_changes(tmp_path, PIPELINE, **component_block("read-only"))
    validate(text, tmp_path / "rendered.yaml")
    claims = named(text, "PersistentVolumeClaim")
    assert {c["metadata"]["namespace"] for c in claims.values()} == {"kubeflow"}
    volumes = named(text, "PersistentVolume")
    writing, reading = (
        volumes[claims[name]["spec"]["volumeName"]]["spec"]["nfs"]
        for name in ("inkwell-models", "inkwell-models-read-only")
    )
    assert reading == {**writing, "readOnly": True}


def test_signed_versions_need_the_key_of_one_s_own(tmp_path):
    lay_out(tmp_path)
    (tmp_path / SERVING).with_name("inkwell.pub").write_text("KEY")
    added = component_block("signed")
    components = [*yaml.safe_load(FILES[SERVING])["components"], *added.pop("components")]
    text = with_changes(tmp_path, SERVING, components=components, **added)
    check(text, "digits", ("inkwell-server",))
    validate(text, tmp_path / "rendered.yaml")
    assert set(images(text)) == {"registry.example/team/inkwell-server:1a2b3c4"}
    [key] = [d for d in documents(text, "ConfigMap") if d["data"].get("inkwell.pub")]
    for deployment in documents(text, "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        used = [v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "signing-key"]
        assert used == [key["metadata"]["name"]]


def test_commands_name_folders_that_render():
    folders = set(re.findall(r"kubectl (?:apply|delete) -k (kubernetes/\S+)", GUIDE))
    assert len(folders) > 2
    for folder in folders:
        assert documents(render(folder.removeprefix("kubernetes/")))


def test_a_second_environment_of_one_s_own_shares_nothing_with_the_first(tmp_path):
    lay_out(tmp_path)
    first = [kustomize((tmp_path / file).parent) for file in (SERVING, PIPELINE)]
    [rename] = re.findall(r"`- (\{op: replace, path: /metadata/name, value: digits-test\})`", PROSE)
    claim = {
        "target": {"kind": "PersistentVolumeClaim"},
        "options": {"allowNameChange": True},
        "patch": f"- {rename}",
    }
    second = []
    for file, changes in ((SERVING, {"namespace": "digits-test"}), (PIPELINE, {})):
        patches = yaml.safe_load(FILES[file].replace("value: digits-", "value: digits-test-"))
        changes["patches"] = [*patches["patches"], *([claim] if file == PIPELINE else [])]
        second.append(with_changes(tmp_path, file, **changes))
    keys = [
        (d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"])
        for text in (*first, *second)
        for d in documents(text)
    ]
    assert len(keys) == len(set(keys))
    named_so = {d["spec"]["volumeName"] for d in documents(second[1], "PersistentVolumeClaim")}
    assert named_so == {"digits-test-pipeline"}
    assert set(named(second[0], "Namespace")) == {"digits-test"}


def test_components_are_listed_in_the_order_in_which_they_fit():
    [order] = re.findall(r"combine in this order: `([^`]*)`", PROSE)
    assert tuple(order.split(", ")) == COMPONENTS
    assert set(re.findall(r"^\| `([a-z-]+)` \|", GUIDE, re.MULTILINE)) == set(COMPONENTS)


def test_the_operator_is_installed_under_the_name_that_the_monitors_carry():
    releases = set(re.findall(r"helm install (kube\S*) prometheus-community", GUIDE))
    assert releases == set(RELEASE.values())
