"""Reaches a Kubeflow Pipelines server: its API with KFP's own client, and its web page.

Contract: a wrong address, missing access, an expired login or a missing namespace is one sentence
(``InputError``). Tokens come from the environment and are never shown.
"""

import contextlib
import dataclasses
import io
import ipaddress
import json
import logging
import os
import socket
import ssl
import urllib.parse
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from core.config import InputError, require

TOKEN_VARIABLE, COOKIES_VARIABLE = "INKWELL_KFP_TOKEN", "INKWELL_KFP_COOKIES"
_TIMEOUT = 10.0  # seconds for the first answer of an endpoint
_LOGIN = (
    f"asks for a login: log in again and set {COOKIES_VARIABLE} to the browser's cookies, or set "
    f"{TOKEN_VARIABLE}"
)
_RIGHT_ADDRESS = (
    "Give the address of ml-pipeline, or that of its web page (in Kubeflow with /pipeline)"
)


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """Address of the API server and how to access it."""

    url: str
    ui: str | None = None  # base address of the web page; None: the same as url
    namespace: str | None = None  # of the user, where KFP is set up for several
    ca_cert: str | None = None  # file
    insecure: bool = False  # neither check the certificate nor mind clear text

    def __post_init__(self):
        parts = urllib.parse.urlsplit(self.url)
        require(
            parts.scheme in ("http", "https") and bool(parts.hostname),
            f"--endpoint must be an address such as http://localhost:8888, not {self.url!r}.",
        )
        require(
            self.ca_cert is None or os.path.isfile(self.ca_cert),
            f"There is no file {self.ca_cert} to check the certificate with (--ca-cert).",
        )

    @property
    def web(self) -> str:
        """Address of the web page, without a slash at its end."""
        return (self.ui or os.environ.get("KF_PIPELINES_UI_ENDPOINT") or self.url).rstrip("/")

    def link(self, run_id: str) -> str:
        """Address of a run's page."""
        return f"{self.web}/#/runs/details/{run_id}"


def check_no_clear_text(endpoint: Endpoint) -> None:
    """Raises ``InputError`` if a token or cookies would cross a network where all can read them.

    The token that a cluster mounts into its pods goes over the cluster's own network, as KFP's
    client sends it there.
    """
    secret = next((v for v in (TOKEN_VARIABLE, COOKIES_VARIABLE) if os.environ.get(v)), None)
    for address in (endpoint.url, endpoint.web):
        parts = urllib.parse.urlsplit(address)
        is_open = parts.scheme == "http" and not _is_this_computer(parts.hostname or "")
        require(
            endpoint.insecure or secret is None or not is_open,
            f"What {secret} holds would go to {address} in clear text: use https://, forward the "
            "port to localhost (kubectl port-forward), or allow it with --insecure.",
        )


def _is_this_computer(host: str) -> bool:
    """Whether a host is the loopback interface by its name or number."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def connect(endpoint: Endpoint, needs_namespace: bool = False) -> Any:
    """The client of an endpoint that answers.

    Access is by what kfp.Client knows: a token or cookies from the environment, the token that a
    cluster mounts into its pods, or, by kfp's own variables, Google's proxy.

    Args:
        endpoint: The server.
        needs_namespace: Whether what comes next does, on a server for several users.

    Raises:
        InputError: The endpoint does not answer, is not KFP, denies access, needs a namespace, or
            would get a token or cookies in clear text.
    """
    check_no_clear_text(endpoint)
    is_shared = _knock(endpoint)
    require(
        not (is_shared and needs_namespace and endpoint.namespace is None),
        f"{endpoint.url} is set up for several users: name the namespace of your profile with "
        "--namespace.",
    )
    import urllib3
    from kfp.client import Client

    with no_noise(), sentences(endpoint):
        client = Client(
            host=endpoint.url,
            existing_token=os.environ.get(TOKEN_VARIABLE) or None,
            cookies=os.environ.get(COOKIES_VARIABLE) or None,
            credentials=_mounted_credentials(),
            ssl_ca_cert=endpoint.ca_cert,
            verify_ssl=not endpoint.insecure,
            ui_host=endpoint.ui,
        )
    rest = client.runs.api_client.rest_client
    # A redirect leads to a login page, whose text the client would take for an empty answer.
    rest.pool_manager.connection_pool_kw["retries"] = urllib3.Retry(
        3, redirect=0, raise_on_redirect=False
    )
    _refuse_pages(rest, endpoint)
    return client


def fetch(
    client: Any, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> bytes | None:
    """What stands at an address of the same server, with the client's access.

    Args:
        client: As ``connect`` gives it.
        url: Whole address.
        body: To be posted; None gets.
        headers: More headers.

    Returns:
        The content; None where the server has none, redirects or does not answer.
    """
    import urllib3

    api = client.runs.api_client
    sent = {**api.default_headers, **(headers or {})}
    if api.cookie:
        sent["Cookie"] = api.cookie
    api.update_params_for_auth(sent, [], ["Bearer"])
    try:
        answer = api.rest_client.pool_manager.request(
            *("GET" if body is None else "POST", url),
            body=body,
            headers=sent,
            redirect=False,
            retries=False,
            timeout=_TIMEOUT,
        )
    except (OSError, urllib3.exceptions.HTTPError):
        return None
    return answer.data if answer.status == 200 else None


@contextlib.contextmanager
def sentences(endpoint: Endpoint) -> Iterator[None]:
    """Turns connection and API errors into one sentence."""
    import kfp_server_api
    import urllib3

    where = endpoint.url
    try:
        yield
    except kfp_server_api.ApiException as error:
        raise InputError(_refusal(where, error)) from None
    except ssl.SSLCertVerificationError as error:
        raise InputError(
            f"The certificate of {where} is not trusted ({error.verify_message}); give "
            "the CA certificate with --ca-cert."
        ) from None
    except ssl.SSLError as error:
        raise InputError(
            f"{where} does not use TLS ({error.reason}). Use an http:// address."
        ) from None
    except (OSError, urllib3.exceptions.HTTPError) as error:
        reason = getattr(error, "reason", None) or error
        words = getattr(reason, "strerror", None) or type(reason).__name__
        raise InputError(
            f"Kubeflow Pipelines does not answer at {where} ({words}). Check the address, or "
            "forward the port: kubectl port-forward -n kubeflow svc/ml-pipeline 8888"
        ) from None
    except json.JSONDecodeError:
        raise InputError(
            f"{where} is not the API of Kubeflow Pipelines. {_RIGHT_ADDRESS}."
        ) from None


def _refusal(where: str, error: Any) -> str:
    if error.status in (401, 403):
        return (
            f"Access to {where} was denied ({error.status} {error.reason}). Set {TOKEN_VARIABLE} "
            f"or {COOKIES_VARIABLE}, or ask your administrator for access."
        )
    if 300 <= error.status < 400:
        return f"{where} {_LOGIN}."
    try:
        said = json.loads(error.body)
        message = said.get("message") or said.get("error") or error.reason
    except (ValueError, TypeError, AttributeError):
        if error.status == 404:
            return f"{where} is not the API of Kubeflow Pipelines (404). {_RIGHT_ADDRESS}."
        message = error.reason
    return f"{where} refused the request ({error.status}): {' '.join(str(message).split())}"


def _refuse_pages(rest: Any, endpoint: Endpoint) -> None:
    """Makes the client raise ``InputError`` for a page, which it would take for an empty answer."""
    request = rest.request

    def checked(*args: Any, **given: Any) -> Any:
        answer = request(*args, **given)
        _check_no_page(endpoint.url, answer.getheader("Content-Type"))
        return answer

    rest.request = checked


def _check_no_page(where: str, content_type: str | None) -> None:
    require(
        "html" not in (content_type or ""),
        f"{where} answers with a web page, so it is not the API of Kubeflow Pipelines, or it "
        f"{_LOGIN}. {_RIGHT_ADDRESS}.",
    )


def _knock(endpoint: Endpoint) -> bool:
    """Checks the server's health once; kfp.Client would retry for half a minute, with traces.

    Returns:
        Whether the server is set up for several users.
    """
    if os.environ.get("KF_PIPELINES_IAP_OAUTH2_CLIENT_ID"):
        return False  # not known: the client fetches a token first
    parts = urllib.parse.urlsplit(endpoint.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with no_noise(), sentences(endpoint):
        with socket.create_connection((parts.hostname, port), _TIMEOUT) as connection:
            if parts.scheme == "https":  # kfp's client crashes on this
                context = ssl.create_default_context(cafile=endpoint.ca_cert)
                if endpoint.insecure:
                    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                context.wrap_socket(connection, server_hostname=parts.hostname).close()

        import kfp_server_api

        config = kfp_server_api.Configuration(host=endpoint.url.rstrip("/"))
        config.verify_ssl = not endpoint.insecure
        config.ssl_ca_cert = endpoint.ca_cert
        config.retries = False
        token, credentials = os.environ.get(TOKEN_VARIABLE), _mounted_credentials()
        if token:
            config.api_key = {"authorization": token}
        elif credentials:
            credentials.refresh_api_key_hook(config)
        config.api_key_prefix = {"authorization": "Bearer"}
        api = kfp_server_api.HealthzServiceApi(
            kfp_server_api.ApiClient(config, cookie=os.environ.get(COOKIES_VARIABLE))
        )
        answer: Any = api.healthz_service_get_healthz(
            _preload_content=False, _request_timeout=(_TIMEOUT, _TIMEOUT)
        )
        _check_no_page(endpoint.url, answer.headers.get("Content-Type"))
        said = json.loads(answer.data)
    return isinstance(said, dict) and bool(said.get("multi_user"))


def _mounted_credentials() -> Any | None:
    """The token that a cluster mounts into pods which may use KFP; None outside such a pod."""
    from kfp import client

    path = os.environ.get(client.KF_PIPELINES_SA_TOKEN_ENV, client.KF_PIPELINES_SA_TOKEN_PATH)
    if not os.path.isfile(path):
        return None
    return client.ServiceAccountTokenVolumeCredentials(path)


@contextlib.contextmanager
def no_noise() -> Iterator[None]:
    """Silences the links and stack traces that kfp prints."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
