"""Serves the playground's files; the page itself calls the model server over REST.

Contract: besides the static files there is ``config.json``, the port of the model server, and
``clusters.json``, the K-Means centres pushed with the autoencoder; 404 if it has none, 401 without
the server's token. The page may load nothing but its own files, and call one server. A request by a
name that is not this server's gets 403.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from serving.access import UNAUTHENTICATED, Access, host_name
from serving.errors import ServingError
from serving.model_server.tls import Tls
from serving.releases import served_version
from serving.versions import CLUSTERS_FILE, extra_file

FILES = Path(__file__).parent / "page"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self' {server}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def application(
    serving_dir: Path, rest_port: int, models: Sequence[str], access: Access
) -> ASGIApp:
    """The ASGI application; ``rest_port`` is the model server's, on the host the page came from."""

    async def config(request: Request) -> Response:
        return JSONResponse({"rest_port": rest_port, "models": list(models)})

    async def clusters(request: Request) -> Response:
        if not access.is_authorized(request.headers.get("authorization", "")):
            return Response(UNAUTHENTICATED, 401, {"WWW-Authenticate": "Bearer"})
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
        hosts = Headers(scope=scope).getlist("host")
        scheme = "https" if access.is_encrypted else "http"
        server = f"{scheme}://{host_name(''.join(hosts))}:{rest_port}"

        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", _POLICY.format(server=server).encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                    (b"cross-origin-resource-policy", b"same-origin"),
                    (b"cache-control", b"no-cache"),
                ]
            await send(message)

        answer = app
        if not access.is_host(hosts):
            answer = Response("This server has another name; see --allowed-host.", 403)
        await answer(scope, receive, send_with_policy)

    return with_policy


class Playground:
    """The page on a port, from a thread of its own."""

    def __init__(
        self,
        serving_dir: Path,
        host: str,
        port: int,
        models: Sequence[str],
        access: Access,
        tls: Tls | None = None,
    ):
        """Opens the port, 0 for a free one.

        Args:
            serving_dir: Holds the autoencoder whose clusters are shown.
            host: Address to listen on.
            port: Its port.
            models: Names that are served.
            access: What the model server asks of its clients, and so does this one.
            tls: What it encrypts with; None if it does not.

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
        self._serving_dir = serving_dir
        self._models, self._access, self._tls = models, access, tls
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, rest_port: int) -> None:
        """Begins to answer; ``rest_port`` is the model server's."""
        config = uvicorn.Config(
            application(self._serving_dir, rest_port, self._models, self._access),
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=1,
            server_header=False,
        )
        config.load()
        config.ssl = self._tls.context() if self._tls else None
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Closes the port."""
        if self._server and self._thread:
            self._server.should_exit = True
            self._thread.join(5)
        self._socket.close()
