"""``inkwell demo``: the shipped models in the playground, in a browser.

Contract: unpacks the packs into a private temporary directory that goes at the end, and serves them
with ``serve`` on 127.0.0.1: on the usual ports, or on free ones where those are taken. Two lines
say what starts, and where.
"""

import os
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path

from serving.errors import ServingError
from serving.model_server.starting import LOCAL, is_free
from serving.packed import PACK, packs, unpack
from serving.serve import ServeOptions, serve

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def demo(
    folder: Path,
    ports: tuple[int, int, int],
    open_page: bool,
    say: Callable[[str], None] = print,
) -> int:
    """Serves the packs in ``folder`` until SIGINT or SIGTERM; 0 then, 1 if the server ended.

    Args:
        folder: Holds the packs.
        ports: Of gRPC, REST and the playground; a free one in place of each that is taken.
        open_page: Whether to open the page in a browser, if this computer shows one.
        say: Takes the two lines for the screen.

    Raises:
        ServingError: There are no packs, one is damaged, or there is no room for them.
    """
    found = packs(folder)
    if not found:
        raise ServingError(
            f"There are no demo models in {folder}. Train models (inkwell run) and see them with "
            "inkwell serve --playground, or pack them: python -m serving.packed serving_models "
            f"{folder}"
        )

    def opened(address: str) -> None:
        say(f"Playground: {address} (Ctrl-C ends it)")
        if open_page and any(os.environ.get(name) for name in _DISPLAYS):
            # Some browsers return only when they are closed.
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    names = ", ".join(file.name.removesuffix(PACK) for file in found)
    say(f"Starting {names}; this takes some ten seconds.")
    with tempfile.TemporaryDirectory(prefix="inkwell-demo-") as serving_dir:
        for file in found:
            unpack(file, Path(serving_dir))
        grpc_port, rest_port, page_port = (port if is_free(LOCAL, port) else 0 for port in ports)
        options = ServeOptions(
            Path(serving_dir), (), port=grpc_port, rest_port=rest_port, playground_port=page_port
        )
        return serve(options, lambda _: None, opened)
