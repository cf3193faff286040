"""Submits compiled pipelines to Kubeflow Pipelines with its own client.

Contract: the package becomes a version of the pipeline ``inkwell``, named by its content, so that
the same content is uploaded once, and a run of it is started. A wrong parameter is one sentence
(``InputError``), raised before a server is asked.
"""

import dataclasses
import datetime
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from core.config import InputError, require
from pipeline.config import RunConfig
from pipeline.kubeflow import settings
from pipeline.kubeflow.access import Endpoint, no_noise, sentences
from pipeline.kubeflow.cluster import DATA_DIGEST, ROOT_FORM, ROOT_WORDS
from pipeline.kubeflow.spec import ACCOUNT_VARIABLE

PIPELINE = "inkwell"
CLUSTERS_ROOT = "default"  # as a pipeline root: that of the cluster's own settings
# Where a profile of Kubeflow may write in KFP's own bucket; manifests/kustomize/base/installs/
# multi-user/pipelines-profile-controller/sync.py:190-200 of KFP 2.17 (older ones: anywhere).
_OPEN_TO_PROFILES = ("artifacts/", "private-artifacts/{0}/", "private/{0}/", "shared/")


@dataclasses.dataclass(frozen=True)
class Job:
    """A package and what its runs are given, all of it checked."""

    package: Path
    parameters: dict[str, str]
    root: str | None  # where artifacts go; None: as the cluster's own settings have it
    account: str | None  # service account of the pods; None: KFP's own


def read_job(
    package: Path,
    given: Mapping[str, str],
    pipeline_root: str | None = None,
    service_account: str | None = None,
) -> Job:
    """Reads a package and checks what its runs are given; asks no server.

    Args:
        package: What ``inkwell compile`` wrote.
        given: Run parameters.
        pipeline_root: As ``choose_root`` takes it.
        service_account: Under which the pods run; None takes that of the package.

    Raises:
        InputError: It is no package, or a value is wrong.
    """
    spec = read_package(package)
    root = choose_root(spec, pipeline_root)
    account = service_account or packaged_account(spec)
    return Job(package, run_parameters(spec, given), root, account)


def submit(
    client: Any,
    endpoint: Endpoint,
    job: Job,
    experiment: str = PIPELINE,
    run_name: str | None = None,
) -> tuple[str, list[str]]:
    """Uploads the package if it is new, and starts a run of it.

    Args:
        client: As ``connect`` gives it.
        endpoint: The same endpoint.
        job: What to run.
        experiment: Name under which the web page gathers runs; it is made if need be.
        run_name: Name of the run; None takes the time.

    Returns:
        Id of the run, and notes for the user.

    Raises:
        InputError: The server refuses something.
    """
    notes = root_notes(job.root, endpoint)
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
    with no_noise(), sentences(endpoint):
        pipeline_id, version_id, note = upload(client, endpoint, job.package)
        run = client.run_pipeline(
            experiment_id=find_experiment(client, endpoint, experiment, create=True),
            job_name=run_name or f"{PIPELINE} {now}",
            pipeline_id=pipeline_id,
            version_id=version_id,
            params=job.parameters,
            pipeline_root=job.root,
            service_account=job.account,
        )
    return run.run_id, [*notes, note]


def upload(client: Any, endpoint: Endpoint, package: Path) -> tuple[str, str, str]:
    """Uploads a package if its content is new; ids of pipeline and version, and a note."""
    version = "sha256-" + hashlib.sha256(package.read_bytes()).hexdigest()[:16]
    pipeline_id = find_pipeline(client, endpoint) or _create_pipeline(client, endpoint)
    found = _only(
        client.list_pipeline_versions(
            pipeline_id, filter=_equals("display_name", version)
        ).pipeline_versions,
        f"version {version} of the pipeline {PIPELINE}",
    )
    if found:
        note = f"Version {version} of the pipeline {PIPELINE} already exists."
        return pipeline_id, found.pipeline_version_id, note
    uploaded = client.upload_pipeline_version(
        str(package), version, pipeline_id=pipeline_id, description="by inkwell submit"
    )
    note = f"Uploaded as version {version} of the pipeline {PIPELINE}."
    return pipeline_id, uploaded.pipeline_version_id, note


def find_pipeline(client: Any, endpoint: Endpoint) -> str | None:
    """Id of the pipeline ``inkwell`` in the user's namespace; None if there is none.

    It is looked up by the name, which is unique in a namespace, while display names are not
    (backend/src/apiserver/model/pipeline.go of KFP; the filter knows ``name`` from 2.5 on).
    """
    pipelines = client.list_pipelines(
        namespace=endpoint.namespace, filter=_equals("name", PIPELINE)
    ).pipelines
    found = _only(pipelines, f"pipeline named {PIPELINE}")
    return found.pipeline_id if found else None


def find_experiment(client: Any, endpoint: Endpoint, name: str, create: bool = False) -> str | None:
    """Id of an experiment in the user's namespace; None if there is none and none is made."""
    experiments = client.list_experiments(
        namespace=endpoint.namespace, filter=_equals("display_name", name)
    ).experiments
    found = _only(experiments, f"experiment named {name}")
    if found is None and create:
        found = client.create_experiment(name, namespace=endpoint.namespace)
    return found.experiment_id if found else None


def choose_root(spec: dict[str, Any], given: str | None) -> str | None:
    """Where a run's artifacts go; None leaves it to the cluster's own settings.

    It goes with every run, as no part of KFP reads the one in the package (its root_dag.go takes
    the run's, or else that of the ConfigMap kfp-launcher).

    Args:
        spec: The pipeline spec.
        given: By the user: a bucket, or ``default`` for the cluster's own; None takes that of the
            package.

    Raises:
        InputError: It is no bucket.
    """
    if given == CLUSTERS_ROOT:
        return None
    require(
        given is None or bool(re.fullmatch(ROOT_FORM, given)),
        f"--pipeline-root must be {ROOT_WORDS}, or {CLUSTERS_ROOT} for the cluster's own; not "
        f"{given!r}.",
    )
    return given or spec.get("defaultPipelineRoot")


def packaged_account(spec: dict[str, Any]) -> str | None:
    """The service account that the package was compiled for; None for KFP's own."""
    first = spec["deploymentSpec"]["executors"].get(f"{DATA_DIGEST}_executor", {})
    variables = first.get("container", {}).get("env", ())
    return next((v["value"] for v in variables if v["name"] == ACCOUNT_VARIABLE), None)


def root_notes(root: str | None, endpoint: Endpoint) -> list[str]:
    """A warning where the profile of a user of Kubeflow may not write to the root."""
    bucket = "minio://mlpipeline/"
    if endpoint.namespace is None or root is None or not root.startswith(bucket):
        return []
    places = [place.format(endpoint.namespace) for place in _OPEN_TO_PROFILES]
    if f"{root}/".removeprefix(bucket).startswith(tuple(places)):
        return []
    return [
        f"Note: from KFP 2.15 on, a profile may write only to {', '.join(places)} of KFP's bucket, "
        f"not to {root}; give --pipeline-root {bucket}{places[1]}inkwell, or --pipeline-root "
        f"{CLUSTERS_ROOT} for the cluster's own."
    ]


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


def _equals(key: str, value: str) -> str:
    """A filter of KFP's lists."""
    predicate = {"operation": "EQUALS", "key": key, "stringValue": value}
    return json.dumps({"predicates": [predicate]})


def _only(found: Sequence[Any] | None, what: str) -> Any | None:
    """The one that a list holds; raises ``InputError`` if it holds several."""
    require(
        len(found or []) < 2,
        f"There are {len(found or [])} of the {what} on the server, so it is not clear which is "
        "meant; delete or rename all but one.",
    )
    return found[0] if found else None


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
