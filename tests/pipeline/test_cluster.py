import json

import pytest
import yaml

from core.config import InputError
from pipeline.kubeflow.cluster import DATA_DIGEST, Cluster, Pod, load_cluster
from pipeline.plan import NODES, TRAINERS


def cluster_with(tmp_path, text: str) -> Cluster:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return load_cluster(str(path))


def test_trainers_get_a_gpu_and_its_image_and_no_other_node_does():
    cluster = load_cluster()
    with_gpu = {node_id for node_id in NODES if cluster.pod(node_id).gpus}
    assert with_gpu == set(TRAINERS)
    assert {n for n in NODES if cluster.image(n) == "inkwell-gpu"} == with_gpu
    assert {cluster.image(n) for n in set(NODES) - with_gpu} == {"inkwell-cpu"}


def test_the_root_of_the_cluster_itself_and_the_first_task_can_be_set(tmp_path):
    cluster = cluster_with(tmp_path, "pipeline_root: null\nnodes: {data-digest: {cpu: 500m}}\n")
    assert cluster.pipeline_root is None
    assert cluster.pod(DATA_DIGEST) == Pod(cpu="500m", memory="2Gi", gpus=0)


def test_a_file_needs_only_what_differs(tmp_path):
    cluster = cluster_with(
        tmp_path,
        "pipeline_root: s3://artifacts/inkwell\n"
        "trainers: {gpus: 0}\n"
        "nodes: {gan: {cpu: '8', gpus: 2}, report: {memory: 3Gi}}\n"
        "data_volume: {claim: digits, mount: /data}\n"
        "gpu: {node_selector: {pool: a100}}\n",
    )
    assert cluster.pipeline_root == "s3://artifacts/inkwell"
    assert cluster.pod("judge") == Pod(cpu="4", memory="12Gi", gpus=0)
    assert cluster.image("judge") == "inkwell-cpu"
    assert cluster.pod("gan") == Pod(cpu="8", memory="12Gi", gpus=2)
    assert cluster.image("gan") == "inkwell-gpu"
    assert cluster.pod("report") == Pod(cpu="1", memory="3Gi", gpus=0)
    assert cluster.data_volume.claim == "digits"
    assert cluster.gpu.node_selector["pool"] == "a100"
    assert cluster.serving_store.claim == "inkwell-models"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trainer: {gpus: 0}", "mine.yaml: Unknown setting trainer (did you mean trainers?)"),
        ("trainers: {gpu: 0}", "did you mean gpus?"),
        ("nodes: {gann: {cpu: '8'}}", "Unknown setting nodes.gann (did you mean gan?)"),
        ("nodes: {gan: {cpus: '8'}}", "Unknown setting nodes.gan.cpus"),
        ("others: {cpu: 2}", "others.cpu must be of type str"),
        ("others: {memory: 2 GB}", "memory must be a quantity such as 500m, 2 or 4Gi"),
        ("trainers: {gpus: -1}", "gpus must be between"),
        ("pipeline_root: /tmp/artifacts", "pipeline_root must be null or a bucket at minio://"),
        ("pipeline_root: minio://", "pipeline_root must be null or a bucket at minio://"),
        ("data_uri: data/mnist", "data_uri must be an absolute path"),
        ("data_uri: minio://bucket/mnist", "mounted with data_volume"),
        ("serving_store: {mount: models}", "mount must be an absolute path"),
        (
            "serving_store: {claim: My_Models}",
            "claim must be a Kubernetes name of a-z, 0-9, - and .",
        ),
        ("images: {cpu: 'in kwell'}", "images.cpu must be an image, as "),
        ("image_pull_policy: Sometimes", "image_pull_policy must be Always, IfNotPresent or Never"),
        (
            "secrets: [{name: s, env: {}}]",
            "secrets[0].env must be a mapping of at least 1",
        ),
        ("secrets: [{name: s, env: {a-b: c}}]", "'a-b' is no name of a variable"),
        ("run_as_user: 0", "pods do not run as root"),
        (
            "gpu: {tolerations: [{key: a, operator: Is}]}",
            "gpu.tolerations[0].operator must be Exists or Equal",
        ),
        ("gpu: {tolerations: [{key: a, value: b}]}", "that Exists has no value"),
        ("max_retries: 99", "max_retries must be between"),
        ("max_retries: [", "is not valid YAML"),
        ("- a", "must hold settings as key: value"),
    ],
)
def test_a_slip_is_one_sentence(tmp_path, text, words):
    with pytest.raises(InputError) as caught:
        cluster_with(tmp_path, text)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_tags_come_from_what_skaffold_built(tmp_path):
    built = tmp_path / "build.json"
    digest = "@sha256:" + "0" * 64
    tags = {"inkwell-cpu": f"registry.example:5000/a/inkwell-cpu:1f3a{digest}"}
    tags["inkwell-gpu"] = "registry.example:5000/a/inkwell-gpu:1f3a"
    builds = [{"imageName": name, "tag": tag} for name, tag in tags.items()]
    built.write_text(json.dumps({"builds": builds}))
    images = load_cluster(images=str(built)).images
    assert (images.cpu, images.gpu) == (tags["inkwell-cpu"], tags["inkwell-gpu"])

    built.write_text(json.dumps({"builds": builds[:1]}))
    with pytest.raises(InputError, match="holds no image inkwell-gpu"):
        load_cluster(images=str(built))
    built.write_text("[]")
    with pytest.raises(InputError, match="not what skaffold build --file-output writes"):
        load_cluster(images=str(built))
    with pytest.raises(InputError, match="cannot be read"):
        load_cluster(images=str(tmp_path / "none.json"))


def test_the_file_in_the_repository_names_every_setting():
    from pipeline.kubeflow.cluster import DEFAULT_CLUSTER

    assert set(yaml.safe_load(DEFAULT_CLUSTER.read_text())) == set(Cluster.__dataclass_fields__)
