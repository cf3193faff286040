"""Known advisories about what the locks name, and bills of materials of the images.

    python3 scripts/audit.py            make audit: a minute; needs PyPI's database of advisories
    python3 scripts/audit.py --sbom     make sbom: a CycloneDX file per image, in sbom/

The tools run in environments of their own, so that no lock holds them. Exit status of an audit: 0
if every package was looked up and none has an advisory, 1 if one has, 2 if some could not be looked
up. pip-audit itself says "No known vulnerabilities found" where its database has no packages at
all, so its answer is read package by package.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile

from setup_machine import SetupError
from setup_shell import ROOT, STATE, UV, main, reason, run, step
from setup_uv import LOCKS, entries, index_variables, install_uv

PIP_AUDIT = "pip-audit==2.10.1"
CYCLONEDX = "cyclonedx-bom==7.5.0"
SBOM = os.path.join(ROOT, "sbom")


def tool(package: str, command: str, arguments: list[str]) -> str:
    """Runs a tool in an environment of its own; returns its output, whatever its exit status."""
    isolated = [UV, "tool", "run", "--isolated", "--no-config", "--from", package]
    return run(command, [*isolated, command, *arguments], variables=index_variables(), check=False)


def findings(answer: str, lock: str) -> tuple[int, list[str], list[str]]:
    """How many packages pip-audit looked up, advisories as lines, and the names of the others."""
    known, skipped = [], []
    packages = json.loads(answer)["dependencies"]
    for package in packages:
        if "skip_reason" in package:
            skipped.append(package["name"])
        for advisory in package.get("vulns", ()):
            names = ", ".join([advisory["id"], *advisory.get("aliases", ())])
            fixed = ", ".join(advisory["fix_versions"]) or "no release"
            what = f"{package['name']} {package['version']} in {lock}"
            known.append(f"{what}: {names}; fixed in {fixed}")
    return len(packages) - len(skipped), known, skipped


def audit() -> int:
    """Looks every package of the locks up; prints what was found; returns the exit status."""
    known: list[str] = []
    unchecked: list[str] = []
    looked_up = 0
    with tempfile.TemporaryDirectory(dir=os.path.join(STATE, "tmp")) as folder:
        for lock in LOCKS:
            answer = os.path.join(folder, "answer.json")
            with step(f"Advisories about {lock}"):
                arguments = ["--progress-spinner=off", "--disable-pip", "--require-hashes"]
                arguments += ["--format=json", f"--output={answer}", f"--requirement={lock}"]
                output = tool(PIP_AUDIT, "pip-audit", arguments)
            if not os.path.exists(answer):
                unchecked.append(f"{lock}: {reason(output)}")
                continue
            with open(answer, encoding="utf-8") as stream:
                count, advisories, skipped = findings(stream.read(), lock)
            os.remove(answer)
            looked_up += count
            known += advisories
            if skipped:
                some = ", ".join(skipped[:3]) + (", ..." if len(skipped) > 3 else "")
                unchecked.append(f"{lock}: {len(skipped)} packages ({some})")
    print("\n".join([*known, f"{looked_up} packages were looked up; {len(known)} advisories."]))
    if unchecked:
        print(
            "Not looked up, as the database of advisories has no answer here:\n  "
            + "\n  ".join(unchecked)
            + "\nRun make audit where PyPI itself can be reached, not a mirror without advisories.",
            file=sys.stderr,
        )
    return 1 if known else 2 if unchecked else 0


def image_locks() -> dict[str, str]:
    """What each image of the Dockerfile installs, as the text of a lock, by the image's name."""
    texts = {}
    for name in LOCKS:
        with open(os.path.join(ROOT, name), encoding="utf-8") as stream:
            texts[name] = stream.read()
    with open(os.path.join(ROOT, "requirements-server.txt"), encoding="utf-8") as stream:
        server = set(re.findall(r"^[a-z]\S*$", stream.read(), re.MULTILINE))
    found = entries(texts["requirements.lock"])
    served = [entry for first, entry in found.items() if first.partition("==")[0] in server]
    return {
        "inkwell-cpu": texts["requirements.lock"],
        "inkwell-gpu": texts["requirements.lock"] + texts["requirements-gpu.lock"],
        "inkwell-server": "".join(served),
    }


def base_image() -> dict[str, str]:
    """The images' base as a CycloneDX component; Debian's packages come with it."""
    with open(os.path.join(ROOT, "Dockerfile"), encoding="utf-8") as stream:
        found = re.search(r"^FROM (\S+):(\S+)@(sha256:[0-9a-f]{64}) AS base$", stream.read(), re.M)
    if found is None:
        raise SetupError("The Dockerfile's base image has no digest; restore it from git.")
    name, tag, digest = found.groups()
    purl = f"pkg:docker/{name}@{digest.replace(':', '%3A')}?tag={tag}"
    part = {"type": "container", "name": name, "version": f"{tag}@{digest}"}
    return {**part, "bom-ref": purl, "purl": purl}


def write_sbom() -> int:
    """Writes ``sbom/<image>.cdx.json`` for each image: its base and its Python packages."""
    os.makedirs(SBOM, exist_ok=True)
    for image, lock in image_locks().items():
        path = os.path.join(SBOM, f"{image}.cdx.json")
        with tempfile.TemporaryDirectory(dir=os.path.join(STATE, "tmp")) as folder:
            given, made = os.path.join(folder, "lock.txt"), os.path.join(folder, "made.json")
            with open(given, "w", encoding="utf-8") as stream:
                stream.write(lock)
            with step(f"Bill of materials of {image}"):
                arguments = ["requirements", given, "--output-format=JSON", "--spec-version=1.6"]
                arguments += ["--output-reproducible", f"--output-file={made}"]
                output = tool(CYCLONEDX, "cyclonedx-py", arguments)
            if not os.path.exists(made):
                raise SetupError(f"The bill of {image} was not made: {reason(output)}.")
            with open(made, encoding="utf-8") as stream:
                bill = json.load(stream)
        bill.setdefault("metadata", {})["component"] = {
            **{"type": "container", "name": image, "bom-ref": image}
        }
        bill["components"].append(base_image())
        with open(path + ".new", "w", encoding="utf-8") as stream:
            stream.write(json.dumps(bill, indent=1) + "\n")
        os.replace(path + ".new", path)
        print(f"{os.path.relpath(path, ROOT)}: {len(bill['components'])} components")
    return 0


if __name__ == "__main__":
    status: list[int] = []

    def work() -> None:
        with step("uv, the installer"):
            install_uv([sys.executable])
        status.append(write_sbom() if sys.argv[1:] == ["--sbom"] else audit())

    sys.exit(main(work) or status[0])
