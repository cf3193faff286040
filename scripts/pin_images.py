"""Pins the images of the manifests by digest, as the Dockerfile's base image is.

    python3 scripts/pin_images.py       make pin: seconds; needs docker with buildx

A tag can be moved to another image, and a digest cannot. The digest is that of the list of all
platforms, which stays when Kubernetes pulls from a mirror.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAME = "tensorflow/serving"
# Where the manifests name it: the tag, and after it perhaps a digest.
PLACES = {
    "kubernetes/base/kustomization.yaml": r"(    newTag: (\S+)\n)(    digest: \S+\n)?",
    "kubernetes/components/gpu/kustomization.yaml": r"(    newTag: (\S+)\n)(    digest: \S+\n)?",
    "kubernetes/components/kserve/runtime.yaml": r"(image: tensorflow/serving:([^@\s]+))(@\S+)?",
}
FORMS = {"kubernetes/components/kserve/runtime.yaml": "@{}"}
FORM = "    digest: {}\n"


def digest_of(tag: str) -> str:
    """The digest that the registry has for a tag; ends the process if there is none."""
    command = ["docker", "buildx", "imagetools", "inspect", f"{NAME}:{tag}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        sys.exit(f"docker cannot be started ({error.strerror}); run this where it is installed.")
    found = re.search(r"^Digest:\s+(sha256:[0-9a-f]{64})$", done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        sys.exit(f"The registry gave no digest of {NAME}:{tag}: {done.stderr.strip()}")
    return found.group(1)


def pin() -> None:
    """Writes the digests of all tags, or nothing."""
    pinned = {}
    for place, pattern in PLACES.items():
        with open(os.path.join(ROOT, place), encoding="utf-8") as stream:
            text = stream.read()
        found = re.search(pattern, text)
        if found is None:
            sys.exit(f"{place} names no image {NAME} with a tag; restore it from git.")
        digest = digest_of(found.group(2))
        more = FORMS.get(place, FORM).format(digest)
        pinned[place] = text[: found.start()] + found.group(1) + more + text[found.end() :]
        print(f"{place}: {NAME}:{found.group(2)}@{digest}")
    for place, text in pinned.items():
        with open(os.path.join(ROOT, place), "w", encoding="utf-8") as stream:
            stream.write(text)


if __name__ == "__main__":
    pin()
