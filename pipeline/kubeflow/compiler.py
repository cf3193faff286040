"""Compiles the pipeline for an open-source Kubeflow Pipelines 2.x cluster.

Contract: the same ``create_pipeline`` as on this machine goes through TFX's KubeflowV2DagRunner;
``pipeline.kubeflow.spec`` then adds the rest. The result is one YAML file with two documents, the
pipeline and its Kubernetes settings. Takes about a second, and ten for importing TFX.
"""

import dataclasses
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from core.config import InputError, require
from core.files import write_whole
from pipeline.config import RunConfig, check_gates, load_config
from pipeline.environment import set_environment
from pipeline.kubeflow import settings
from pipeline.kubeflow import spec as kubeflow_spec
from pipeline.kubeflow.cluster import Cluster, check_data_uri, load_cluster, open_secrets
from pipeline.kubeflow.yaml_text import to_yaml
from pipeline.plan import NODES
from pipeline.terminal.quiet import output_to

OWN_ROOT = "in the cluster's own root"
_TAGGED = re.compile(r":[\w.-]+(@sha256:\w+)?$|@sha256:\w+$")
_HEADER = "# Inkwell for Kubeflow Pipelines 2.x, made by `inkwell compile`; not edited by hand.\n"


def compile_options(
    path: Path,
    profile: str | None,
    config_file: Path | None = None,
    data: str | None = None,
    overrides: Sequence[str] = (),
    cluster_file: str | None = None,
    images_file: str | None = None,
) -> list[str]:
    """Compiles by the options of the command line; returns notes for the user.

    Args:
        path: File to write.
        profile: Name of a profile; None uses the one that ``config_file`` extends, or full.
        config_file: As ``load_config``.
        data: Directory of images and labels as pods see it; None uses that of the cluster.
        overrides: As ``load_config``.
        cluster_file: As ``load_cluster``.
        images_file: As ``load_cluster``.

    Raises:
        InputError: An option is wrong, or ``path`` cannot be written.
    """
    cluster = load_cluster(cluster_file, images_file)
    if data is not None:
        check_data_uri(data, "--data")
        cluster = dataclasses.replace(cluster, data_uri=data)
    config = load_config(profile, cluster.data_uri, overrides, config_file, default="full")
    require(path.suffix in (".yaml", ".yml"), f"{path} must end in .yaml, as KFP requires.")
    check_gates(config)
    _check_writable(path)
    set_environment()
    with output_to(None):
        compile_pipeline(config, cluster, path)

    gpu_nodes = [node_id for node_id in NODES if cluster.pod(node_id).gpus]
    notes = [
        f"{path}: profile {config.profile}, {len(NODES)} nodes, {len(gpu_nodes)} of them on GPU "
        f"nodes; data {cluster.data_uri}, artifacts {cluster.pipeline_root or OWN_ROOT}."
    ]
    untagged = [name for name in vars(cluster.images).values() if not _TAGGED.search(name)]
    if untagged:
        notes.append(
            f"Note: {' and '.join(untagged)} have no tag, so the cluster pulls the latest. Give "
            "--images, or tags in the cluster's settings."
        )
    if found := open_secrets(cluster):
        notes.append(
            f"Note: {' and '.join(found)} of env can be read in the package, in KFP's database and "
            "on its page. Put what is secret into a Secret, and name it under secrets."
        )
    return notes


def compile_pipeline(config: RunConfig, cluster: Cluster, path: Path) -> None:
    """Writes the compiled pipeline to ``path`` atomically.

    Args:
        config: The resolved configuration; its paths are replaced by those of the cluster.
        cluster: The cluster's settings.
        path: A name that ends in .yaml, as the KFP client requires.
    """
    on_cluster = dataclasses.replace(
        config,
        data_dir=cluster.data_uri,
        serving_dir=cluster.serving_store.mount,
        beam_args=cluster.beam_args or config.beam_args,
    )
    words = settings.words_of(on_cluster)
    if settings.config_of(words) != on_cluster:
        raise ValueError(f"These words do not stand for the configuration: {words}")
    spec, code_flags = tfx_spec(on_cluster, cluster)
    kubeflow_spec.check_names(spec)
    kubeflow_spec.leave_to_pods(spec, code_flags)
    if cluster.join_tasks:
        for members in kubeflow_spec.JUDGING:
            kubeflow_spec.join(spec, members)
    kubeflow_spec.add_parameters(spec, cluster.data_uri, cluster.gates == "fixed")
    kubeflow_spec.add_data_digest(spec, cluster)
    kubeflow_spec.leave_out_implied(spec)
    kubeflow_spec.set_caching(spec)
    kubeflow_spec.set_retries(spec, cluster)
    kubeflow_spec.set_resources(spec, cluster)
    kubeflow_spec.set_variables(spec, cluster, words)
    if cluster.pipeline_root:  # no backend reads it: `inkwell submit` hands it to the run
        spec["defaultPipelineRoot"] = cluster.pipeline_root
    platform = kubeflow_spec.platform_document(spec, cluster)
    kubeflow_spec.check(spec, platform)

    write_whole(path, _HEADER + to_yaml([spec, platform]))


def _check_writable(path: Path) -> None:
    """Raises ``InputError`` unless the file can be created, which is tried."""
    require(not path.is_dir(), f"{path} is a directory; name a file with --output.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(
            f"{path} cannot be written in {path.parent.absolute()} ({error.strerror}); name "
            "another file with --output."
        ) from None


def tfx_spec(
    config: RunConfig, cluster: Cluster, content: Mapping[str, str] = MappingProxyType({})
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """TFX's own pipeline spec (schema 2.1), and the flags of ``stamp_code`` by node id.

    ``content`` is as for ``create_pipeline``.
    """
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

    from pipeline.pipeline import create_pipeline

    root = cluster.pipeline_root or "minio://the-run-decides"
    pipeline = create_pipeline(config, root, content=content)
    ids = [component.id for component in pipeline.components]
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        config=kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image={node_id: cluster.image(node_id) for node_id in ids}
            | {"default_image_path": cluster.images.cpu},
            default_commands=kubeflow_spec.ENTRYPOINT,
            use_pipeline_spec_2_1=True,
        )
    )
    spec = runner.run(pipeline, write_out=False)["pipelineSpec"]
    flags = {
        component.id: list(component.executor_spec.extra_flags) for component in pipeline.components
    }
    return spec, flags
