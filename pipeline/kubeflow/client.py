"""Submits compiled pipelines to Kubeflow Pipelines with its own client.

Contract: the package becomes a version of the pipeline ``inkwell``, named by its content, so that
the same content is uploaded once, and a run of it is started.
A wrong endpoint, missing access or a wrong parameter is one sentence (``InputError``), raised
before anything is uploaded where possible. Tokens come from the environment and are never shown.
"""

import contextlib
import dataclasses
import datetime
import hashlib
import io
import json
import logging
import os
import socket
import ssl
import urllib.parse
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from core.config import InputError, require
from pipeline.config import RunConfig
from pipeline.kubeflow import settings

PIPELINE = "inkwell"
TOKEN_VARIABLE, COOKIES_VARIABLE = "INKWELL_KFP_TOKEN", "INKWELL_KFP_COOKIES"
_TIMEOUT = 10.0  # seconds for the first answer of an endpoint


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """Address of the API server and how to access it."""

    url: str
    ui: str | None = None  # base address of the web page; None: the same as url
    namespace: str | None = None  # of the user, where KFP is set up for several
    ca_cert: str | None = None  # file
    insecure: bool = False

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

    def link(self, run_id: str) -> str:
        """Address of a run's page."""
        base = self.ui or os.environ.get("KF_PIPELINES_UI_ENDPOINT") or self.url
        return f"{base.rstrip('/')}/#/runs/details/{run_id}"


def connect(endpoint: Endpoint) -> Any:
    """The client of an endpoint that answers.

    Access is by what kfp.Client knows: a token or cookies from the environment, the token that a
    cluster mounts into its pods, or, by kfp's own variables, Google's proxy.

    Raises:
        InputError: The endpoint does not answer, is not KFP, or denies access.
    """
    _knock(endpoint)
    from kfp.client import Client

    with no_noise(), sentences(endpoint):
        return Client(
            host=endpoint.url,
            existing_token=os.environ.get(TOKEN_VARIABLE) or None,
            cookies=os.environ.get(COOKIES_VARIABLE) or None,
            credentials=_mounted_credentials(),
            ssl_ca_cert=endpoint.ca_cert,
            verify_ssl=not endpoint.insecure,
            ui_host=endpoint.ui,
        )


def submit(
    client: Any,
    endpoint: Endpoint,
    package: Path,
    given: Mapping[str, str],
    experiment: str = PIPELINE,
    run_name: str | None = None,
    pipeline_root: str | None = None,
) -> tuple[str, list[str]]:
    """Uploads ``package`` if it is new, and starts a run of it.

    Args:
        client: As ``connect`` gives it.
        endpoint: The same endpoint.
        package: What ``inkwell compile`` wrote.
        given: Run parameters.
        experiment: Name under which the web page gathers runs; it is made if need be.
        run_name: Name of the run; None takes the time.
        pipeline_root: Place of the artifacts; None takes that of the package.

    Returns:
        Id of the run, and notes for the user.

    Raises:
        InputError: A parameter is wrong, or the server refuses something.
    """
    spec = read_package(package)
    parameters, notes = run_parameters(spec, given), []
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
    version = "sha256-" + hashlib.sha256(package.read_bytes()).hexdigest()[:16]
    with no_noise(), sentences(endpoint):
        pipeline_id = client.get_pipeline_id(PIPELINE) or _create_pipeline(client, endpoint)
        version_id = _find_version(client, pipeline_id, version)
        if version_id is None:
            uploaded = client.upload_pipeline_version(
                str(package), version, pipeline_id=pipeline_id, description="by inkwell submit"
            )
            version_id = uploaded.pipeline_version_id
            notes.append(f"Uploaded as version {version} of the pipeline {PIPELINE}.")
        else:
            notes.append(f"Version {version} of the pipeline {PIPELINE} already exists.")
        found = client.create_experiment(experiment, namespace=endpoint.namespace)
        run = client.run_pipeline(
            experiment_id=found.experiment_id,
            job_name=run_name or f"{PIPELINE} {now}",
            pipeline_id=pipeline_id,
            version_id=version_id,
            params=parameters,
            pipeline_root=pipeline_root or spec.get("defaultPipelineRoot"),
        )
    return run.run_id, notes


def read_package(package: Path) -> dict[str, Any]:
    """The pipeline spec in a package; raises ``InputError`` if it is not a package of Inkwell."""
    try:
        spec = next(yaml.safe_load_all(package.read_text(encoding="utf-8")))
        known = spec["pipelineInfo"]["name"] == PIPELINE and bool(spec["root"]["dag"]["tasks"])
    except OSError as error:
        raise InputError(f"{package} cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError, StopIteration, KeyError, TypeError):
        known = False
    require(known, f"{package} is not a package of this pipeline. Create one with: inkwell compile")
    return spec


def run_parameters(spec: dict[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """Values for a run of ``spec``, checked.

    Raises:
        InputError: A parameter is unknown, or its value would end the first pod.
    """
    from pipeline.kubeflow.nodes import overridden_config

    declared = spec["root"]["inputDefinitions"]["parameters"]
    for name in given:
        require(
            name in declared,
            f"There is no run parameter {name}; the parameters are {', '.join(sorted(declared))}.",
        )
    overridden_config(given, _compiled_config(spec))
    return dict(given)


def _compiled_config(spec: dict[str, Any]) -> RunConfig:
    """The configuration that a package was compiled with."""
    for executor in spec["deploymentSpec"]["executors"].values():
        for variable in executor["container"].get("env", ()):
            if variable["name"] == settings.VARIABLE:
                return settings.config_of(variable["value"])
    raise InputError("The package holds no settings; compile it again with: inkwell compile")


def _create_pipeline(client: Any, endpoint: Endpoint) -> str:
    import kfp_server_api

    body = kfp_server_api.V2beta1Pipeline(
        display_name=PIPELINE,
        name=PIPELINE,
        description="Trains, judges, gates and pushes generative models of handwritten digits.",
        namespace=endpoint.namespace,
    )
    return client.pipelines.pipeline_service_create_pipeline(pipeline=body).pipeline_id


def _find_version(client: Any, pipeline_id: str, name: str) -> str | None:
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    found = client.list_pipeline_versions(
        pipeline_id, filter=json.dumps({"predicates": [predicate]})
    )
    return found.pipeline_versions[0].pipeline_version_id if found.pipeline_versions else None


def _mounted_credentials() -> Any | None:
    """The token that a cluster mounts into pods which may use KFP; None outside such a pod."""
    from kfp import client

    path = os.environ.get(client.KF_PIPELINES_SA_TOKEN_ENV, client.KF_PIPELINES_SA_TOKEN_PATH)
    if not os.path.isfile(path):
        return None
    return client.ServiceAccountTokenVolumeCredentials(path)


def _knock(endpoint: Endpoint) -> None:
    """Checks the server's health once; kfp.Client would retry for half a minute, with traces."""
    if os.environ.get("KF_PIPELINES_IAP_OAUTH2_CLIENT_ID"):
        return  # the client fetches a token first
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
        answer = api.healthz_service_get_healthz(
            _preload_content=False, _request_timeout=(_TIMEOUT, _TIMEOUT)
        )
        json.loads(answer.data)


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
            f"{where} is not the API of Kubeflow Pipelines. Give the address of ml-pipeline, or "
            "that of its web page with /pipeline."
        ) from None


def _refusal(where: str, error: Any) -> str:
    if error.status in (401, 403):
        return (
            f"Access to {where} was denied ({error.status} {error.reason}). Set {TOKEN_VARIABLE} "
            f"or {COOKIES_VARIABLE}, or ask your administrator for access."
        )
    try:
        said = json.loads(error.body)
        message = said.get("message") or said.get("error") or error.reason
    except (ValueError, TypeError, AttributeError):
        if error.status == 404:
            return (
                f"{where} is not the API of Kubeflow Pipelines (404). Give the address of "
                "ml-pipeline, or that of its web page with /pipeline."
            )
        message = error.reason
    return f"{where} refused the request ({error.status}): {' '.join(str(message).split())}"


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


def parse_parameters(words: Sequence[str]) -> dict[str, str]:
    """``name=value`` each, as ``--param`` takes them."""
    pairs = [word.partition("=") for word in words]
    for (name, equals, _), word in zip(pairs, words, strict=True):
        require(
            bool(name and equals),
            f"--param {word} is not of the form name=value, as in data_uri=/x.",
        )
    known = {name: value for name, _, value in pairs}
    require(len(known) == len(pairs), "A parameter is given twice with --param.")
    return known
