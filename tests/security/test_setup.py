"""Set-up: no password in the log that users attach to reports, no weaker checks than Debian's own.

Nothing here uses a network: package archives are folders.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import setup_machine
import setup_runtime
import setup_shell
import setup_uv

SECRET = "s3cret"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Log, temporary files and lock of set-up in a directory of the test's own."""
    for module in (setup_shell, setup_uv):
        monkeypatch.setattr(module, "STATE", str(tmp_path))
    monkeypatch.setattr(setup_shell, "LOG", str(tmp_path / "setup.log"))
    return tmp_path


def program(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


# --- the log ---------------------------------------------------------------------------------


def test_the_password_of_a_package_index_is_used_and_not_logged(state, monkeypatch):
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX"):
        monkeypatch.delenv(name, raising=False)
    index = f"https://alice:{SECRET}@127.0.0.1:28699/simple"
    program(state / "boot" / "bin" / "python", f"echo \":env:.index-url='{index}'\"; echo {SECRET}")
    assert setup_uv.index_variables() == {"UV_DEFAULT_INDEX": index}
    log = (state / "setup.log").read_text()
    assert SECRET not in log and "pip config list" in log


def test_a_failure_names_no_password_in_the_log_or_on_the_screen(state, capsys):
    said = f"error: cannot fetch https://alice:{SECRET}@127.0.0.1/simple \x1b]0;x\x07"

    def work() -> None:
        setup_shell.run("Installing", ["sh", "-c", 'echo "$0"; exit 3', said])

    assert setup_shell.main(work) == 2
    told = capsys.readouterr().err
    assert "cannot fetch https://***@127.0.0.1/simple" in told and "\x1b" not in told
    log = (state / "setup.log").read_text()
    assert "https://***@127.0.0.1/simple" in log and SECRET not in log + told


def test_the_log_is_its_owners_alone_also_if_it_was_not(state):
    log = state / "setup.log"
    log.touch(0o644)
    setup_shell.run("Trying", ["true"])
    assert log.stat().st_mode & 0o777 == 0o600


def test_the_log_is_not_written_through_a_link(state):
    (state / "notes").write_text("mine")
    (state / "setup.log").symlink_to(state / "notes")
    with pytest.raises(OSError):
        setup_shell.run("Trying", ["true"])
    assert (state / "notes").read_text() == "mine"


def test_what_apt_is_told_of_a_proxy_is_neither_logged_nor_left(state, monkeypatch):
    proxy = f'Acquire::http::Proxy "http://alice:{SECRET}@proxy:3128";'
    work, seen = state / "apt", state / "seen"
    program(state / "bin" / "apt-config", f"echo '{proxy}'; echo 'Company::Note \"{SECRET}\";'")
    program(
        state / "bin" / "apt-get", f'ls -l "$APT_CONFIG" >> {seen}; cat "$APT_CONFIG" >> {seen}'
    )
    monkeypatch.setenv("PATH", f"{state / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(setup_runtime, "write_sources", lambda *_: 1)
    assert setup_runtime.download_packages(setup_shell.run, str(work), "bookworm", ["libc6"]) == []
    assert seen.read_text().count(proxy) == 2 and seen.read_text().count("-rw-------") == 2
    left = [p for p in [state / "setup.log", *work.rglob("*")] if p.is_file()]
    assert not [p for p in left if SECRET in p.read_text()]


# --- the folder one stands in ----------------------------------------------------------------


def test_no_python_that_is_looked_at_takes_modules_from_the_working_folder(tmp_path, monkeypatch):
    for name in ("json", "struct", "sysconfig", "venv", "ensurepip"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    python = os.path.realpath(shutil.which("python3"))
    assert setup_machine.probe(python) is not None
    assert setup_machine.bootstrap_python([python]) == python
    assert not (tmp_path / "ran").exists()


# --- apt -------------------------------------------------------------------------------------


def test_no_source_says_that_it_need_not_be_checked():
    classic = (
        "deb [trusted=yes] http://mirror.local/php bookworm main\n"
        "deb [ allow-insecure=yes arch=amd64 signed-by=/k.gpg check-valid-until=no ] "
        "http://mirror.local/debian bookworm main\n"
        "deb [trusted=yes arch+=i386] http://mirror.local/x bookworm main\n"
    )
    assert setup_runtime.rewrite_classic(classic, "bookworm") == (
        "deb http://mirror.local/php trixie main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.local/debian trixie main\n"
        "deb [arch+=i386] http://mirror.local/x trixie main\n"
    )
    deb822 = (
        "Types: deb\nURIs: http://mirror.local/debian\nSuites: bookworm\nComponents: main\n"
        "Trusted: yes\nAllow-Insecure: yes\nAllow-Weak: yes\nCheck-Valid-Until: no\n"
        "Signed-By: /k.gpg\n"
    )
    assert setup_runtime.rewrite_deb822(deb822, "bookworm") == (
        "types: deb\nuris: http://mirror.local/debian\nsuites: trixie\ncomponents: main\n"
        "signed-by: /k.gpg\n"
    )


@pytest.mark.parametrize(
    "line",
    [
        'Acquire::AllowInsecureRepositories "true";',
        'Acquire::AllowWeakRepositories "1";',
        'Acquire::AllowDowngradeToInsecureRepositories "true";',
        'Acquire::https::Verify-Peer "false";',
        'Acquire::https::mirror.local::Verify-Host "false";',
        'acquire::HTTPS::mirror.local::verify-peer "false";',
        'Acquire::Check-Valid-Until "false";',
        'Acquire::Check-Date "false";',
        'Acquire::Max-FutureTime "99999999";',
        'APT::Get::AllowUnauthenticated "true";',
        'APT::Authentication::TrustCDROM "true";',
    ],
)
def test_no_setting_of_the_machine_weakens_a_check(line):
    config = setup_runtime.apt_config(line + "\n", "/checkout/.uv/apt")
    assert line.lower() not in config.lower()
    assert 'Acquire::AllowInsecureRepositories "false";' in config


def test_the_way_to_the_mirrors_is_kept():
    lines = (
        'Acquire::http::Proxy "http://proxy:3128";',
        'Acquire::http::Proxy::mirror.local "DIRECT";',
        'Acquire::https::mirror.local::CaInfo "/etc/ssl/company.pem";',
        'Acquire::https::SslCert "/etc/ssl/me.pem";',
        'Acquire::Retries "3";',
        'Acquire::ForceIPv4 "true";',
    )
    config = setup_runtime.apt_config("\n".join(lines), "/checkout/.uv/apt")
    assert all(line in config for line in lines)


class Archive:
    """A package archive in a folder, with one package of one version."""

    def __init__(self, folder: Path, origin: str, version: str, key: Path | None):
        self.folder = folder
        tree = folder / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN" / "control").write_text(
            f"Package: libdemo\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@b.c>\n"
            "Description: demo\n"
        )
        deb = folder / f"libdemo_{version}_all.deb"
        subprocess.run(["dpkg-deb", "--build", str(tree), str(deb)], check=True)
        entry = (tree / "DEBIAN" / "control").read_text().strip() + "\n"
        entry += f"Filename: {deb.name}\nSize: {deb.stat().st_size}\n"
        entry += f"SHA256: {hashlib.sha256(deb.read_bytes()).hexdigest()}\n"
        packages = folder / "dists" / "trixie" / "main" / "binary-amd64" / "Packages"
        packages.parent.mkdir(parents=True)
        packages.write_text(entry)
        content = packages.read_bytes()
        release = folder / "dists" / "trixie" / "Release"
        release.write_text(
            f"Origin: {origin}\nSuite: stable\nCodename: trixie\nArchitectures: amd64\n"
            "Components: main\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n"
            f" {hashlib.sha256(content).hexdigest()} {len(content)} main/binary-amd64/Packages\n"
        )
        if key:
            command = ["gpg", "--homedir", str(key), "--batch", "--quiet", "--yes", "--clearsign"]
            inline = release.with_name("InRelease")
            subprocess.run([*command, "-o", str(inline), str(release)], check=True)

    def line(self, options: str = "") -> str:
        return f"deb {options} file://{self.folder} bookworm main\n"


@pytest.fixture
def place():
    """A folder that apt's own user may read, too."""
    with tempfile.TemporaryDirectory(prefix="inkwell-apt-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def downloaded(place: Path, lines: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The packages that set-up takes on a machine with these sources."""
    etc, work = place / "etc", place / "work"
    etc.mkdir()
    (etc / "sources.list").write_text(lines)
    real = setup_runtime.write_sources
    monkeypatch.setattr(
        setup_runtime, "write_sources", lambda _, code, target: real(str(etc), code, target)
    )
    weak = 'Acquire::AllowInsecureRepositories "true";\nAPT::Get::AllowUnauthenticated "true";\n'

    def run(what, command, variables=None, cwd=None, check=True, logged=True):
        if command[0] == "apt-config":
            return weak
        given = ["-o", "APT::Sandbox::User=root", "-o", f"Dir::State::Status={place / 'status'}"]
        installed = "Package: libdemo\nStatus: install ok installed\nVersion: 5.0\n"
        installed += "Architecture: all\nMaintainer: A <a@b.c>\nDescription: demo\n"
        (place / "status").write_text(installed)
        done = subprocess.run(
            [command[0], *given, *command[1:]],
            env={**os.environ, **variables},
            cwd=cwd,
            capture_output=True,
            text=True,
        )
        if check and done.returncode:
            raise setup_shell.CommandError(what, setup_shell.reason(done.stderr))
        return done.stdout

    found = setup_runtime.download_packages(run, str(work), "bookworm", ["libdemo"])
    return [os.path.basename(path) for path in found]


needs_apt = pytest.mark.skipif(
    not all(map(shutil.which, ("apt-get", "dpkg-deb", "gpg"))), reason="no apt, dpkg-deb or gpg"
)


@pytest.fixture
def key(place: Path) -> Path:
    """A key that both archives are signed with: a signature does not make them Debian's."""
    home = place / "gpg"
    home.mkdir(mode=0o700)
    command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", ""]
    subprocess.run([*command, "--quick-generate-key", "test", "ed25519", "sign"], check=True)
    subprocess.run([*command, "-o", str(place / "key.gpg"), "--export"], check=True)
    yield home
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


@needs_apt
def test_a_package_of_another_origin_is_not_taken_whatever_its_version(place, key, monkeypatch):
    debian = Archive(place / "debian", "Debian", "1.0", key)
    vendor = Archive(place / "vendor", "Vendor", "9.9", key)
    signed = f"[signed-by={place / 'key.gpg'}]"
    lines = debian.line(signed) + vendor.line(signed)
    assert downloaded(place, lines, monkeypatch) == ["libdemo_1.0_all.deb"]


@needs_apt
def test_without_a_package_of_debian_none_is_taken(place, key, monkeypatch):
    vendor = Archive(place / "vendor", "Vendor", "9.9", key)
    with pytest.raises(setup_shell.CommandError, match="libdemo"):
        downloaded(place, vendor.line(f"[signed-by={place / 'key.gpg'}]"), monkeypatch)


@needs_apt
def test_an_archive_without_a_signature_is_not_taken_though_the_machine_trusts_it(
    place, monkeypatch
):
    unsigned = Archive(place / "debian", "Debian", "6.6", None)
    with pytest.raises(setup_shell.CommandError, match="libdemo"):
        downloaded(place, unsigned.line("[trusted=yes]"), monkeypatch)
