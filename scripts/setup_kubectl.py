"""kubectl for a build machine that has none: Debian 13's package, which renders the overlays.

Debian 12's own is too old: its kustomize knows no components. ``.ci/run`` installs the package
whose path is printed here; apt has checked its signature.

    python3 scripts/setup_kubectl.py      some seconds
"""

from __future__ import annotations

import os
import sys

from setup_machine import SetupError, read_os_release
from setup_runtime import download_packages
from setup_shell import STATE, main, run


def download_kubectl() -> None:
    """Prints the path of the downloaded package."""
    with open("/etc/os-release", encoding="utf-8") as stream:
        system = read_os_release(stream.read())
    if system.get("ID") != "debian" or "VERSION_CODENAME" not in system:
        raise SetupError(
            f"kubectl is taken from Debian's mirrors, and this is {system.get('PRETTY_NAME')}; "
            "install it by hand (1.26 or later)."
        )
    work = os.path.join(STATE, "kubectl")
    print(*download_packages(run, work, system["VERSION_CODENAME"], ["kubectl"]))


if __name__ == "__main__":
    sys.exit(main(download_kubectl))
