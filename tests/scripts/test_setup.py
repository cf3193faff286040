"""Set-up: what it asks of a machine, which apt sources it writes, when it starts anew, its errors.

Everything here runs without a network; the functions under test are those ``make setup`` calls.
"""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import setup as setup_main
import setup_machine
import setup_runtime
import setup_shell
from setup_machine import Interpreter, SetupError

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
BASE_PYTHON = os.path.realpath(
    os.path.join(sys.base_prefix, "bin", "python{}.{}".format(*sys.version_info[:2]))
)


def one_sentence(text: str) -> bool:
    """One line, not a stack trace."""
    return len(text.strip().splitlines()) == 1 and "Traceback" not in text


# --- the machine -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version"),
    [("glibc 2.36", (2, 36)), ("glibc 2.41", (2, 41)), ("Debian GLIBC 2.9-1", (2, 9))],
)
def test_glibc_version_is_read_as_numbers(text: str, version: tuple[int, int]):
    assert setup_machine.parse_glibc(text) == version


def test_unreadable_glibc_version_is_refused():
    with pytest.raises(SetupError, match="cannot be read from 'musl'"):
        setup_machine.parse_glibc("musl")


def test_this_machine_passes_the_platform_check():
    text = setup_machine.glibc_string()
    setup_machine.check_platform("Linux", "x86_64", text)
    assert setup_machine.parse_glibc(text) >= (2, 17)


@pytest.mark.parametrize(
    ("system", "machine", "glibc", "named"),
    [
        ("Darwin", "arm64", None, "Darwin on arm64"),
        ("Linux", "aarch64", "glibc 2.41", "Linux on aarch64"),
        ("Linux", "x86_64", None, "GNU C library"),
    ],
)
def test_other_platforms_are_refused_by_name(
    system: str, machine: str, glibc: str | None, named: str
):
    with pytest.raises(SetupError, match=named) as caught:
        setup_machine.check_platform(system, machine, glibc)
    assert "container image" in str(caught.value) and one_sentence(str(caught.value))


def test_newest_cxxabi_compares_numbers_not_text():
    content = b"\0CXXABI_1.3\0CXXABI_1.3.9\0CXXABI_1.3.15\0CXXABI_TM_1\0GLIBCXX_3.4.33\0"
    assert setup_machine.newest_cxxabi(content) == (1, 3, 15)
    assert setup_machine.newest_cxxabi(b"nothing here") == ()


def test_cxxabi_is_found_in_a_library_directory(tmp_path: Path):
    (tmp_path / "libstdc++.so.6").write_bytes(b"\x7fELF\0CXXABI_1.3.13\0CXXABI_1.3.2\0")
    assert setup_machine.libstdcxx_cxxabi((str(tmp_path / "none"), str(tmp_path))) == (1, 3, 13)
    assert setup_machine.libstdcxx_cxxabi((str(tmp_path / "none"),)) == ()


def test_os_release_fields_lose_their_quotes():
    text = "# made\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nEMPTY=\nA='b=c'\n"
    fields = setup_machine.read_os_release(text)
    assert fields == {
        "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)",
        "ID": "debian",
        "EMPTY": "",
        "A": "b=c",
    }


DEBIAN = {"ID": "debian", "VERSION_CODENAME": "bookworm", "PRETTY_NAME": "Debian 12"}
UBUNTU = {"ID": "ubuntu", "VERSION_CODENAME": "jammy", "PRETTY_NAME": "Ubuntu 22.04"}


@pytest.mark.parametrize(
    ("glibc", "cxxabi", "needed"),
    [
        ((2, 41), (1, 3, 15), False),
        ((2, 38), (1, 3, 16), False),
        ((2, 36), (1, 3, 13), True),
        ((2, 41), (1, 3, 14), True),
        ((2, 41), (), True),
    ],
)
def test_debian_gets_a_private_library_when_either_is_too_old(
    glibc: tuple[int, int], cxxabi: tuple[int, ...], needed: bool
):
    assert setup_machine.needs_runtime(glibc, cxxabi, DEBIAN) is needed


def test_new_enough_system_needs_no_distribution_name():
    assert setup_machine.needs_runtime((2, 39), (1, 3, 15), {}) is False


def test_other_old_system_is_told_the_needed_versions_and_the_way_out():
    with pytest.raises(SetupError) as caught:
        setup_machine.needs_runtime((2, 35), (1, 3, 13), UBUNTU)
    text = str(caught.value)
    for part in ("glibc 2.38", "CXXABI 1.3.15", "Ubuntu 22.04", "glibc 2.35", "CXXABI 1.3.13"):
        assert part in text
    assert "container image" in text and one_sentence(text)


def test_full_disk_is_told_in_gibibytes(tmp_path: Path):
    free = shutil.disk_usage(tmp_path).free / 2**30
    setup_machine.check_disk(str(tmp_path), needed_gib=free / 2)
    with pytest.raises(SetupError, match=r"needs 1000000\.0 GiB .* GiB are free") as caught:
        setup_machine.check_disk(str(tmp_path), needed_gib=1e6)
    assert str(tmp_path) in str(caught.value) and one_sentence(str(caught.value))


def test_missing_compiler_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"apt-get install g\+\+"):
        setup_machine.check_compiler()
    executable(tmp_path / "clang++", "exit 0")
    setup_machine.check_compiler()


# --- which Python ----------------------------------------------------------------------------


def executable(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def interpreter(version: tuple[int, int, int], name: str = "", **changes: object) -> Interpreter:
    fields = {"cpython": True, "headers": True, "library_dir": None, **changes}
    return Interpreter(name or "/python{}.{}.{}".format(*version), version, **fields)


def test_python_tells_what_it_is():
    found = setup_machine.probe(BASE_PYTHON)
    assert found is not None
    assert found.executable == BASE_PYTHON
    assert found.version == sys.version_info[:3]
    assert found.cpython


def test_virtual_environment_is_seen_through_to_its_python():
    for name in ("python", "python3", "python{}.{}".format(*sys.version_info[:2])):
        found = setup_machine.probe(os.path.join(sys.prefix, "bin", name))
        assert found is not None and found.executable == BASE_PYTHON


def test_python_that_does_not_run_is_passed_over(tmp_path: Path):
    shim = executable(tmp_path / "python3.11", "echo 'command not found' >&2; exit 127")
    assert setup_machine.probe(str(shim)) is None
    assert setup_machine.probe(str(executable(tmp_path / "python3", "echo 3.11"))) is None
    assert setup_machine.probe(str(tmp_path / "none")) is None


def test_search_path_is_tried_before_the_system_and_311_before_any_other(tmp_path: Path):
    for name in ("python3", "python3.10", "python3.11", "python3.12"):
        executable(tmp_path / name, "exit 1")
    (tmp_path / "python").write_text("not executable")
    path = os.pathsep.join(["relative", str(tmp_path), str(tmp_path)])
    found = setup_machine.python_candidates(path)
    ours = [Path(f).name for f in found if f.startswith(str(tmp_path))]
    assert ours == ["python3.11", "python3"]
    assert found[0] == str(tmp_path / "python3.11")


@pytest.mark.parametrize(
    ("available", "chosen"),
    [
        ([(3, 10, 4), (3, 11, 9)], (3, 11, 9)),
        ([(3, 13, 0), (3, 10, 4)], None),
        ([], None),
    ],
)
def test_python_311_alone_is_chosen(available: list, chosen: tuple | None):
    found = setup_machine.choose_python([interpreter(version) for version in available])
    assert (found and found.version) == chosen


def test_python_without_headers_or_not_cpython_is_not_chosen():
    headless = interpreter((3, 11, 2), headers=False)
    pypy = interpreter((3, 11, 2), cpython=False)
    whole = interpreter((3, 11, 9))
    assert setup_machine.choose_python([headless, pypy]) is None
    assert setup_machine.choose_python([headless, pypy, whole]) is whole


def test_real_python_behind_a_broken_shim_is_found(tmp_path: Path):
    shims, real = tmp_path / "shims", tmp_path / "real"
    shims.mkdir()
    real.mkdir()
    executable(shims / "python3.11", "exit 127")
    (real / "python3.11").symlink_to(BASE_PYTHON)
    chosen, looked_at = setup_machine.find_python(os.pathsep.join([str(shims), str(real)]))
    assert BASE_PYTHON in [i.executable for i in looked_at]
    assert chosen is not None and chosen.version[:2] == setup_machine.PYTHON


def test_missing_python_says_what_is_there_and_why_none_was_downloaded():
    found = [interpreter((3, 12, 3)), interpreter((3, 9, 2))]
    text = str(setup_machine.missing_python(found, "no network"))
    assert "needs Python 3.11 (found: 3.12, 3.9)" in text and "no network" in text
    assert "(found: none)" in str(setup_machine.missing_python([], "no network"))


def test_missing_headers_are_named_with_their_package():
    headless = interpreter((3, 11, 2), "/usr/bin/python3.11", headers=False)
    text = str(setup_machine.missing_python([headless], "no network"))
    assert "/usr/bin/python3.11 lacks its headers" in text
    assert "apt-get install python3.11-dev" in text and one_sentence(text)


# --- apt sources of the private C library ----------------------------------------------------


@pytest.mark.parametrize(
    ("suites", "renamed"),
    [
        (["bookworm", "bookworm-updates"], ["trixie", "trixie-updates"]),
        (["bookworm-security"], ["trixie-security"]),
        (["bookworm/updates"], ["trixie-security"]),
        (["oldstable"], ["trixie"]),
        (["bookworm-backports", "bookworm-proposed-updates"], []),
        (["nodistro"], []),
        (["cloud-sdk-bookworm"], []),
        (["trixie"], []),
    ],
)
def test_only_suites_of_the_older_debian_are_renamed(suites: list[str], renamed: list[str]):
    assert setup_runtime.new_suites(suites, "bookworm") == renamed


DEB822 = """\
# the archive
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
# a comment in between
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: https://vendor.example/node
Suites: nodistro
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main
"""


def test_deb822_sources_keep_mirror_and_keys_and_change_suite_only():
    assert setup_runtime.rewrite_deb822(DEB822, "bookworm") == (
        "types: deb\n"
        "uris: http://mirror.example/debian\n"
        "suites: trixie trixie-updates\n"
        "components: main\n"
        "signed-by: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        "\n"
        "types: deb\n"
        "uris: http://mirror.example/debian-security\n"
        "suites: trixie-security\n"
        "components: main\n"
        "signed-by: \n"
        " -----BEGIN PGP PUBLIC KEY BLOCK-----\n"
        " .\n"
        " mQINBF\n"
        " -----END PGP PUBLIC KEY BLOCK-----\n"
    )


CLASSIC = """\
# deb http://old.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib # the archive
deb [signed-by=/k.gpg arch=amd64] http://mirror.example/debian bookworm-updates main
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/security bullseye/updates main
deb https://vendor.example/docker bookworm stable
deb http://flat.example ./
"""


def test_classic_sources_keep_mirror_and_options_and_change_suite_only():
    assert setup_runtime.rewrite_classic(CLASSIC, "bookworm") == (
        "deb http://mirror.example/debian trixie main\n"
        "deb [signed-by=/k.gpg arch=amd64] http://mirror.example/debian trixie-updates main\n"
    )


def test_both_kinds_of_sources_are_gathered(tmp_path: Path):
    etc, target = tmp_path / "apt", tmp_path / "sources"
    (etc / "sources.list.d").mkdir(parents=True)
    target.mkdir()
    (etc / "sources.list").write_text(CLASSIC)
    (etc / "sources.list.d" / "debian.sources").write_text(DEB822)
    (etc / "sources.list.d" / "vendor.list").write_text("deb https://v.example/x stable x\n")
    assert setup_runtime.write_sources(str(etc), "bookworm", str(target)) == 2
    assert sorted(p.suffix for p in target.iterdir()) == [".list", ".sources"]
    assert "trixie" in (target / "1.list").read_text()
    assert setup_runtime.write_sources(str(tmp_path / "none"), "bookworm", str(target)) == 0


def test_apt_keeps_the_proxy_and_drops_every_hook():
    dump = (
        'APT::Update::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";\n'
        'DPkg::Post-Invoke:: "true";\n'
        'Dir::Cache "var/cache/apt";\n'
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
    )
    config = setup_runtime.apt_config(dump, "/checkout/.uv/apt")
    assert 'Acquire::http::Proxy "http://proxy.example:3128";' in config
    assert "Invoke" not in config and "var/cache" not in config
    assert 'Dir::State::Lists "/checkout/.uv/apt/lists";' in config


@pytest.mark.skipif(not shutil.which("apt-config"), reason="the machine has no apt")
def test_real_apt_reads_the_configuration_and_forgets_the_system(tmp_path: Path):
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True).stdout
    file = tmp_path / "apt.conf"
    file.write_text(setup_runtime.apt_config(dump, str(tmp_path)))
    environment = {**os.environ, "APT_CONFIG": str(file)}
    seen = subprocess.run(
        ["apt-config", "dump"], env=environment, capture_output=True, text=True, check=True
    ).stdout
    settings = {line.lower() for line in seen.splitlines()}  # apt's names have no case
    assert f'dir::state::lists "{tmp_path}/lists";'.lower() in settings
    assert 'dir::etc::parts "/dev/null";' in settings
    assert not [line for line in settings if "invoke" in line]


@pytest.mark.skipif(
    not Path(sys.prefix, "runtime").is_dir(), reason="the machine's own C library is new enough"
)
def test_private_c_library_is_loaded_as_a_whole():
    """A mix of two C libraries works by luck only, so none of the system's may be mapped."""
    program = (
        "import ctypes.util, ssl, sqlite3, decimal, numpy, ml_metadata\n"
        "print(open('/proc/self/maps').read())"
    )
    maps = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    mapped = {line.split()[-1] for line in maps.splitlines() if "/" in line}
    names = {*setup_runtime.PRELOADED, "libc.so.6", "ld-linux-x86-64.so.2"}
    parts = {p for p in mapped if any(Path(p).name.startswith(name) for name in names)}
    assert {name for name in names if any(Path(p).name.startswith(name) for p in parts)} == names
    runtime = str(Path(sys.prefix, "runtime").resolve())
    assert [p for p in parts if not p.startswith(runtime)] == []


# --- what is there already -------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Path, dict]:
    """A stamp as a finished set-up leaves it, and the state that it describes."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(BASE_PYTHON)
    state = setup_main.current_state(str(ROOT))
    stamp = tmp_path / "inkwell-setup.json"
    setup_main.write_stamp(str(stamp), BASE_PYTHON, state)
    return stamp, state


def change(state: dict, *names: str) -> dict:
    return {**state, "files": {**state["files"], **dict.fromkeys(names, "0" * 64)}}


def test_finished_set_up_has_nothing_to_do(finished: tuple[Path, dict]):
    stamp, state = finished
    assert setup_main.work_to_do(str(stamp), state) == "nothing"
    locks = {os.path.basename(file) for file in setup_shell.LOCK_FILES}
    assert set(state["files"]) >= {"pyproject.toml", "scripts/setup.py", *locks}


@pytest.mark.parametrize(
    ("changed", "work"),
    [
        (["pyproject.toml"], "project"),
        (["requirements.lock"], "everything"),
        (["requirements-dev.lock"], "everything"),
        (["scripts/setup.py"], "everything"),
        (["pyproject.toml", "requirements.lock"], "everything"),
    ],
)
def test_changed_input_is_noticed(finished: tuple[Path, dict], changed: list[str], work: str):
    stamp, state = finished
    assert setup_main.work_to_do(str(stamp), change(state, *changed)) == work


def test_moved_checkout_starts_anew(finished: tuple[Path, dict]):
    stamp, state = finished
    assert setup_main.work_to_do(str(stamp), {**state, "root": "/elsewhere"}) == "everything"


def test_python_that_is_gone_starts_anew(finished: tuple[Path, dict], tmp_path: Path):
    stamp, state = finished
    (tmp_path / "bin" / "python").unlink()
    assert setup_main.work_to_do(str(stamp), state) == "everything"


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"root": 1}'])
def test_missing_or_broken_stamp_starts_anew(finished: tuple[Path, dict], content: str | None):
    stamp, state = finished
    stamp.unlink() if content is None else stamp.write_text(content)
    assert setup_main.work_to_do(str(stamp), state) == "everything"


def test_file_digest_is_sha256(tmp_path: Path):
    content = os.urandom((1 << 20) + 17)  # more than one block
    (tmp_path / "file").write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()
    assert setup_main.file_digest(str(tmp_path / "file")) == expected


def test_real_mnist_files_are_whole(mnist_dir: Path):
    setup_main.check_data(str(mnist_dir))
    listed = {line.split()[1] for line in (mnist_dir / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in mnist_dir.glob("*.gz")} and len(listed) == 4


def test_one_wrong_byte_names_the_file_and_how_to_mend_it(mnist_dir: Path, tmp_path: Path):
    copy = tmp_path / "mnist"
    shutil.copytree(mnist_dir, copy)
    damaged = copy / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(damaged.read_bytes())
    content[1000] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(SetupError, match=r"t10k-labels-idx1-ubyte\.gz is damaged") as caught:
        setup_main.check_data(str(copy))
    assert "git checkout -- " in str(caught.value) and one_sentence(str(caught.value))
    damaged.unlink()
    with pytest.raises(SetupError, match=r"t10k-labels-idx1-ubyte\.gz is missing"):
        setup_main.check_data(str(copy))


# --- commands and failures -------------------------------------------------------------------


@pytest.fixture
def private_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Log, temporary files and lock of set-up in a directory of the test's own."""
    monkeypatch.setattr(setup_shell, "STATE", str(tmp_path))
    monkeypatch.setattr(setup_shell, "LOG", str(tmp_path / "setup.log"))
    return tmp_path


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("error: Failed to fetch\n  cause: request failed\n  cause: no route.\n", "no route"),
        ("ok\nE: Unable to locate package libc9\nbye\n", "Unable to locate package libc9"),
        ("ERROR: No matching distribution\n", "No matching distribution"),
        ("one\ntwo\n\n", "two"),
        ("", "it printed nothing"),
    ],
)
def test_reason_of_a_failure_is_one_line_of_its_output(output: str, why: str):
    assert setup_shell.reason(output) == why


def test_failed_command_is_told_in_one_sentence_and_logged(private_state: Path):
    with pytest.raises(setup_shell.CommandError, match=r"^Trying failed: nothing works") as caught:
        setup_shell.run("Trying", ["sh", "-c", "echo start; echo error: nothing works; exit 3"])
    assert caught.value.reason == "nothing works" and one_sentence(str(caught.value))
    assert "start\nerror: nothing works\n" in (private_state / "setup.log").read_text()
    with pytest.raises(setup_shell.CommandError, match="no-such-command"):
        setup_shell.run("Trying", ["no-such-command"])


def test_commands_see_no_python_settings_and_write_into_the_checkout(
    private_state: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PIP_TARGET", "/somewhere")
    output = setup_shell.run("env", ["env"])
    seen = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    assert "PYTHONDONTWRITEBYTECODE" not in seen and "PIP_TARGET" not in seen
    for name in ("UV_CACHE_DIR", "UV_PYTHON_INSTALL_DIR", "TMPDIR"):
        assert seen[name].startswith(str(private_state))
    assert seen["PIP_NO_CACHE_DIR"] == "1"


def test_killed_set_up_is_waited_for_until_its_commands_have_ended(private_state: Path):
    """Else the next set-up would remove .venv while an installer still writes into it."""
    gate = private_state / "gate"
    os.mkfifo(gate)
    program = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); import setup_shell\n"
        f"setup_shell.STATE, setup_shell.LOG = {str(private_state)!r}, '/dev/null'\n"
        "with setup_shell.only_one():\n"
        f"    setup_shell.run('reading', ['sh', '-c', {f'cat {gate} & wait'!r}])\n"
    )
    killed = subprocess.Popen([sys.executable, "-c", program])
    with open(gate, "w"):  # opens once cat reads, so the lock is held by then
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        with open(private_state / "lock") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with setup_shell.only_one():  # the gate is closed: cat ends, the lock is free
        pass


def test_killed_set_up_takes_its_command_with_it(private_state: Path):
    """A writer of the pipe that the command reads is told that there is no reader any more."""
    gate = private_state / "gate"
    os.mkfifo(gate)
    program = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); import setup_shell\n"
        f"setup_shell.LOG = '/dev/null'; setup_shell.run('reading', ['cat', {str(gate)!r}])\n"
    )
    killed = subprocess.Popen([sys.executable, "-c", program])
    with open(gate, "wb", buffering=0) as stream:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        deadline = time.monotonic() + 10  # the signal may reach the command a moment later
        with pytest.raises(BrokenPipeError):
            while time.monotonic() < deadline:
                stream.write(b"x" * 100)


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (SetupError("No room."), 2, "No room.\n"),
        (OSError(30, "Read-only file system", "/x"), 2, "Set-up failed on /x: Read-only file"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_failure_is_a_sentence_and_an_exit_status(
    private_state: Path,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    told: str,
):
    def work() -> None:
        raise error

    before = signal.getsignal(signal.SIGTERM)
    try:
        assert setup_shell.main(work) == status
    finally:
        signal.signal(signal.SIGTERM, before)
    text = capsys.readouterr().err
    assert told in text and one_sentence(text)


def test_terminated_set_up_ends_as_interrupted(
    private_state: Path, capsys: pytest.CaptureFixture[str]
):
    """In the background of a script as well, where the shell makes its jobs ignore SIGINT."""
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert setup_shell.main(lambda: os.kill(os.getpid(), signal.SIGTERM)) == 130
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "interrupted" in capsys.readouterr().err


def test_whole_program_refuses_a_damaged_data_set(mnist_dir: Path, tmp_path: Path):
    """The real command line in a copy of the checkout, up to the first check, which fails."""
    for name in ("scripts", "core"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copytree(mnist_dir, tmp_path / "data" / "mnist")
    (tmp_path / "data" / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(b"not MNIST")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "scripts" / "setup.py")], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("data/mnist/train-labels-idx1-ubyte.gz is damaged")
    assert one_sentence(done.stderr)
    assert not (tmp_path / ".venv").exists()
