"""Serves the playground's files; the page itself calls the model server over REST.

Contract: besides the static files there is ``config.json``, the address of the model server, and
``clusters.json``, the K-Means centres pushed with the autoencoder; 404 if it has none.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from serving.errors import ServingError
from serving.releases import served_version
from serving.versions import CLUSTERS_FILE, extra_file

FILES = Path(__file__).parent / "page"
_POLICY = "default-src 'self'; connect-src *; img-src 'self' data:; frame-ancestors 'none'"


def application(serving_dir: Path, rest_port: int, models: Sequence[str]) -> ASGIApp:
    """The ASGI application; ``rest_port`` is the model server's, on the host the page came from."""

    async def config(request: Request) -> Response:
        return JSONResponse({"rest_port": rest_port, "models": list(models)})

    async def clusters(request: Request) -> Response:
        with contextlib.suppress(OSError, ValueError, ServingError):
            if version := served_version(serving_dir, "autoencoder"):
                text = extra_file(version, CLUSTERS_FILE).read_text(encoding="utf-8")
                return JSONResponse(json.loads(text))
        return Response("This autoencoder has no clusters.", 404)

    app = Starlette(
        routes=[
            Route("/config.json", config),
            Route(f"/{CLUSTERS_FILE}", clusters),
            Mount("/", StaticFiles(directory=FILES, html=True)),
        ]
    )

    async def with_policy(scope, receive, send):
        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", _POLICY.encode()),
                    (b"cache-control", b"no-cache"),
                ]
            await send(message)

        await app(scope, receive, send_with_policy)

    return with_policy


class Playground:
    """The page on a port, from a thread of its own."""

    def __init__(
        self, serving_dir: Path, host: str, port: int, rest_port: int, models: Sequence[str]
    ):
        """Opens the port, 0 for a free one.

        Raises:
            ServingError: The port is taken.
        """
        try:
            self._socket = socket.create_server((host, port))
        except OSError as error:
            raise ServingError(
                f"The playground cannot listen on {host}:{port} ({error.strerror}); choose another "
                "port with --playground-port."
            ) from None
        self.port = self._socket.getsockname()[1]
        config = uvicorn.Config(
            application(serving_dir, rest_port, models),
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), daemon=True
        )

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Closes the port."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(5)
        self._socket.close()
