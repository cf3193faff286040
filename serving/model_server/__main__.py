"""Serves the newest version of one model, with TensorFlow Serving's flags.

    python -m serving.model_server --port=8500 --model_name=gan --model_base_path=serving_models/gan

The port opens once the model is AVAILABLE, and one line on standard output says where; ``--port=0``
takes a free one. Starting takes 5 to 10 s, nearly all of it the import of TensorFlow.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path

_GRACE_SECONDS = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT; 1 if the model or the port cannot be had."""
    flags = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends at once while nothing is served yet
    if flags.stop_at_end_of_stdin:
        threading.Thread(target=_stop_at_end_of_stdin, daemon=True).start()

    address = f"{flags.host}:{flags.port}"
    if not _is_free(flags.host, flags.port):
        print(f"Cannot listen on {address}; choose another port with --port.", file=sys.stderr)
        return 1
    # After the flags are checked: TensorFlow takes seconds, and --help needs none of it.
    from serving.model_server.grpc_service import start_server
    from serving.model_server.repository import Repository
    from serving.model_server.servable import LoadError

    repository = Repository(flags.model_name, Path(flags.model_base_path))
    try:
        servable = repository.load_newest(
            retries=flags.max_num_load_retries,
            retry_seconds=flags.load_retry_interval_micros / 1e6,
            poll_seconds=flags.file_system_poll_wait_seconds,
        )
        server, port = start_server(repository, address, threads=flags.grpc_max_threads)
    except (LoadError, OSError) as error:
        print(f"Cannot serve {flags.model_name}: {error}", file=sys.stderr)
        return 1
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    print(f"Serving {servable.name} version {servable.version} at {flags.host}:{port}", flush=True)
    stop.wait()
    server.stop(_GRACE_SECONDS).wait()
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m serving.model_server", description=__doc__, allow_abbrev=False
    )
    add = parser.add_argument
    add("--port", type=int, default=8500, help="gRPC port; 0 takes a free one")
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for every one")
    add("--model_name", default="default", help="name that clients use")
    add("--model_base_path", required=True, help="directory of the numbered versions")
    add("--file_system_poll_wait_seconds", type=float, default=1, metavar="SECONDS",
        help="pause between looks for a first version; 0 gives up at once")  # fmt: skip
    add("--max_num_load_retries", type=int, default=5, metavar="N")
    add("--load_retry_interval_micros", type=int, default=60_000_000, metavar="MICROSECONDS")
    add("--grpc_max_threads", type=int, default=4 * (os.cpu_count() or 1), metavar="N")
    add("--stop_at_end_of_stdin", action="store_true",
        help="end with the process that holds the other end of standard input")  # fmt: skip
    return parser.parse_args(arguments)


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _stop_at_end_of_stdin() -> None:
    """Ends the process at once, while TensorFlow loads too, when its starter has died."""
    # Unbuffered: a daemon thread inside sys.stdin makes the interpreter crash as it ends.
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a request that outlived the grace would hold the interpreter's own exit
