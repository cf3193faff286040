"""Dockerfile, .dockerignore and build.yaml: what holds of the images without building them."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from setup_uv import lock_entry

from tests.images.dockerfile import Instruction, environment, last, lineage, needed, parse
from tests.images.sandbox import context, context_files

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
STAGES = parse(TEXT)
SKAFFOLD = yaml.safe_load((ROOT / "build.yaml").read_text())
ARTIFACTS = {artifact["image"]: artifact for artifact in SKAFFOLD["build"]["artifacts"]}
PIPELINE = ("cpu", "gpu")  # of the pipeline's tasks
TARGETS = (*PIPELINE, "server")


def steps(keyword: str, *names: str) -> list[Instruction]:
    """Instructions of a kind in the stages ``names``, or in all."""
    chosen = [STAGES[name] for name in names] if names else STAGES.values()
    return [i for stage in chosen for i in stage.instructions if i.keyword == keyword]


def copied_from_checkout() -> list[str]:
    return [s for i in steps("COPY") if "from" not in i.flags for s in i.words()[:-1]]


# --- the reader ------------------------------------------------------------------------------


def test_reader_joins_lines_and_follows_stages():
    stages = parse(
        "# a comment\nFROM one:1 AS a\nENV X=1 \\\n    Y=2\nRUN --mount=type=cache,target=/c \\\n"
        "    # why\n    b && \\\n    c\nFROM a AS d\nENV X=3\nCOPY --from=a /p /q\n"
        'CMD ["e", "f g"]\n'
    )
    run = stages["a"].instructions[1]
    assert run.flags == {"mount": "type=cache,target=/c"} and run.value.split() == ["b", "&&", "c"]
    assert environment(lineage(stages, "d")) == {"X": "3", "Y": "2"}
    assert last(lineage(stages, "d"), "CMD").words() == ["e", "f g"]
    assert needed(stages, "d") == ["a", "d"] and needed(stages, "a") == ["a"]
    with pytest.raises(ValueError, match="not a new named stage"):
        parse("FROM one:1\nRUN x\n")


def test_linter_finds_nothing_in_the_dockerfile():
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [hadolint, "--no-color", "--failure-threshold", "style", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


# --- where the images come from --------------------------------------------------------------


def test_only_base_is_pinned_by_version_and_digest():
    bases = {stage.base for stage in STAGES.values()} - STAGES.keys()
    (base,) = bases
    assert re.fullmatch(r"python:3\.11\.\d+-slim-trixie@sha256:[0-9a-f]{64}", base)
    assert ":latest" not in TEXT and ":latest" not in (ROOT / "build.yaml").read_text()


def test_python_of_the_base_is_one_the_project_allows():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11,<3.12"
    assert set(re.findall(r"python(3\.\d+)", TEXT)) == {"3.11"}


def test_every_install_demands_hashes_of_a_whole_lock():
    installs = [
        command
        for step in steps("RUN")
        for command in step.value.split(" && ")
        if re.search(r"\bpip3? (install|download|wheel)\b|\buv (sync|add|tool)\b", command)
    ]
    assert len(installs) == 4
    for command in installs:
        assert "--require-hashes" in command and "--no-deps" in command, command
        assert "index" not in command and "find-links" not in command, command
        file = re.search(r"--requirements? (\S+)", command).group(1)
        assert file.endswith(".lock")
        # An installer that builds from source takes its build tools from the lock, too.
        assert "--only-binary" in command or f"--build-constraints {file}" in command, command


def test_uv_is_installed_by_its_entry_in_the_lock(tmp_path: Path):
    command = steps("RUN", "uv")[0].value.split(" && ")[0]
    lock = (ROOT / "requirements-dev.lock").read_text()
    (tmp_path / "requirements-dev.lock").write_text(lock)
    subprocess.run(["sh", "-e", "-c", command], cwd=tmp_path, check=True)
    written = (tmp_path / "uv.lock").read_text()
    hashes = re.findall(r"--hash=\S+", written)
    _, entry = lock_entry(lock, "uv")
    assert entry == f"{written.split()[0]} {' '.join(hashes)}\n"


def test_nothing_is_fetched_from_an_address_and_no_secret_is_asked_for():
    assert not steps("ADD")
    for step in steps("RUN"):
        assert "://" not in step.value and "curl" not in step.value and "wget" not in step.value
        assert "type=secret" not in step.flags.get("mount", "")
    names = [step.value.split("=")[0] for step in steps("ARG")]
    names += environment(list(STAGES.values()))
    assert {step.value.split("=")[0] for step in steps("ARG")} == {"REVISION"}
    for name in names:
        assert not re.search(r"TOKEN|SECRET|PASSW|CREDENTIAL|(?<!_)KEY", name, re.I), name


# --- what goes in ----------------------------------------------------------------------------


def test_every_source_of_a_copy_exists_and_is_sent_to_the_builder():
    for source in copied_from_checkout():
        assert (ROOT / source).exists(), source
        assert context_files(source), f".dockerignore keeps {source} back"


def test_every_copy_between_stages_is_from_an_earlier_one():
    names = list(STAGES)
    for name, stage in STAGES.items():
        for step in stage.instructions:
            if "from" in step.flags:
                assert names.index(step.flags["from"]) < names.index(name)


def test_builder_is_sent_what_is_copied_and_no_more():
    copied = set().union(*map(context_files, copied_from_checkout()))
    assert context() == copied
    assert not [name for name in copied if "__pycache__" in name or name.startswith(("tests", "."))]
    assert sum((ROOT / name).stat().st_size for name in copied) < 20 * 2**20


def test_every_tracked_file_of_a_copied_package_is_sent():
    listed = subprocess.run(
        ["git", "ls-files", "--", *copied_from_checkout()], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    tracked = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    assert tracked and tracked <= context()


def test_every_package_of_ours_that_the_code_imports_is_copied():
    ours = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    imported = set()
    for name in context():
        if not name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse((ROOT / name).read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    assert {"pipeline", "components"} <= imported & ours <= set(copied_from_checkout())
    assert "numpy" in imported and not {"pytest", "hypothesis", "tests"} & imported


# --- what a container finds ------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_container_runs_as_a_numbered_user_who_is_not_root(target: str):
    user = last(lineage(STAGES, target), "USER").value
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    uid, gid = user.split(":")
    made = " ".join(i.value for s in lineage(STAGES, target) for i in s.instructions)
    assert f"useradd --uid {uid} --gid {gid}" in made and f"groupadd --gid {gid}" in made
    assert not [i for i in steps("COPY", target) if "chown" in i.flags]  # root's, not the user's


@pytest.mark.parametrize("target", TARGETS)
def test_container_finds_code_packages_and_scratch_where_the_cluster_expects_them(target: str):
    chain = lineage(STAGES, target)
    assert last(chain, "WORKDIR").value == "/app"
    found = environment(chain)
    expected = {
        "PATH": "/opt/venv/bin:$PATH",
        "PYTHONPATH": "/app",
        "HOME": "/home/inkwell",
        "TMPDIR": "/tmp",
    }
    if target in PIPELINE:
        expected |= {"TF_USE_LEGACY_KERAS": "0", "KERAS_BACKEND": "tensorflow"}
    assert expected.items() <= found.items()
    assert "PYTHONDONTWRITEBYTECODE" not in found
    made = " ".join(i.value for stage in chain for i in stage.instructions)
    assert f"--create-home --home-dir {found['HOME']}" in made


@pytest.mark.parametrize("target", PIPELINE)
def test_task_names_its_own_command(target: str):
    chain = lineage(STAGES, target)
    assert last(chain, "CMD").words() == ["inkwell", "--help"]
    assert not [i for stage in chain for i in stage.instructions if i.keyword == "ENTRYPOINT"]


def test_server_listens_on_all_addresses_and_takes_the_flags_of_the_manifests():
    entry = last(lineage(STAGES, "server"), "ENTRYPOINT").words()
    assert entry == ["python", "-m", "serving.model_server", "--host=0.0.0.0"]


def test_both_images_share_all_layers_but_cuda():
    cpu, gpu = (lineage(STAGES, target) for target in PIPELINE)
    assert [s.name for s in cpu[:-1]] == [s.name for s in gpu[:-1]]
    only_gpu = [i for i in gpu[-1].instructions if i not in cpu[-1].instructions]
    assert [i.flags.get("from") for i in only_gpu if i.keyword == "COPY"] == ["cuda"]
    assert "cuda" not in needed(STAGES, "cpu")


def test_changed_code_leaves_the_packages_in_the_cache():
    for name in ("uv", "packages", "cuda"):
        for step in steps("COPY", name):
            assert "from" in step.flags or all(s.endswith(".lock") for s in step.words()[:-1])
    order = [step.words()[0] for step in steps("COPY", "app")]
    assert order[0] == "data/mnist" and order[-1] == "pipeline"
    for target in TARGETS:
        kinds = [i.keyword for i in STAGES[target].instructions]
        assert kinds.index("ARG") > max(n for n, kind in enumerate(kinds) if kind == "COPY")


@pytest.mark.parametrize("target", TARGETS)
def test_labels_name_the_image_and_its_commit(target: str):
    label = last(lineage(STAGES, target), "LABEL").value
    assert f'org.opencontainers.image.title="inkwell-{target}"' in label
    assert 'org.opencontainers.image.revision="$REVISION"' in label


# --- build.yaml ------------------------------------------------------------------------------


def test_skaffold_builds_all_targets_from_this_dockerfile():
    assert SKAFFOLD["apiVersion"] == "skaffold/v4beta13" and SKAFFOLD["kind"] == "Config"
    assert list(ARTIFACTS) == [f"inkwell-{target}" for target in TARGETS]
    for target, artifact in zip(TARGETS, ARTIFACTS.values(), strict=True):
        assert artifact["context"] == "."
        assert artifact["docker"]["target"] == target and target in STAGES
        assert (ROOT / artifact["docker"]["dockerfile"]).is_file()
        declared = {step.value.split("=")[0] for step in steps("ARG", target)}
        assert artifact["docker"]["buildArgs"].keys() == declared


def test_skaffold_tags_with_the_commit_and_builds_for_the_wheels_platform():
    build = SKAFFOLD["build"]
    assert build["tagPolicy"] == {"gitCommit": {"variant": "AbbrevCommitSha"}}
    assert build["platforms"] == ["linux/amd64"]
    assert build["local"]["useBuildkit"] is True and "push" not in build["local"]


def test_try_out_of_each_image_gives_it_no_more_than_a_pod_has():
    assert [case["image"] for case in SKAFFOLD["test"]] == list(ARTIFACTS)
    for case in SKAFFOLD["test"]:
        (custom,) = case["custom"]
        for flag in ("--read-only", "--user 1000:1000", "--cap-drop ALL", "$IMAGE"):
            assert flag in custom["command"]


def test_names_are_those_of_the_cluster_settings_and_manifests():
    cluster = yaml.safe_load((ROOT / "pipeline" / "kubeflow" / "cluster.yaml").read_text())
    assert cluster["images"] == {target: f"inkwell-{target}" for target in PIPELINE}
    used = set()
    for path in (ROOT / "kubernetes").rglob("*.yaml"):
        text = path.read_text()
        used |= set(re.findall(r"^\s*-?\s*image:\s*[\"']?([^\s\"':@]+)", text, re.M))
        if path.name == "kustomization.yaml":
            settings = yaml.safe_load(text) or {}
            used |= {i.get("newName", i["name"]) for i in settings.get("images", [])}
    ours = {name.rsplit("/", 1)[-1] for name in used if "inkwell" in name}
    assert ours == {"inkwell-server", "inkwell-cpu"} and ours <= ARTIFACTS.keys()
