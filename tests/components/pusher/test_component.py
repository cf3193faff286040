"""The node push-*: what it pushes, and what it refuses."""

import json
import os
from importlib.metadata import version as version_of
from pathlib import Path

import pytest
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local import local_dag_runner
from tfx.types import channel, component_spec, standard_artifacts

from components.pusher.component import Executor, Pusher, extra_files
from core.artifacts import record_files, unchanged
from core.config import InputError
from core.origin import code_origin
from core.wording import FORM_ONLY
from serving.releases import Release, apply
from serving.versions import damage, judged_by_quality, list_versions

KINDS = {
    "model": standard_artifacts.Model,
    "model_blessing": standard_artifacts.ModelBlessing,
    "infra_blessing": standard_artifacts.InfraBlessing,
    "evaluation": standard_artifacts.ModelEvaluation,
}


METRICS = {
    "model": "gan",
    "blessed": True,
    "figures": [{"name": "frechet_distance", "title": "FD", "value": 4.5678, "better": "lower"}],
    "primary": "frechet_distance",
}


def fill(artifacts: dict[str, object], blessed: int = 1, infra_blessed: int = 1) -> None:
    """Writes what trainer, Evaluator and serving check would."""
    files = {
        "model": {
            "Format-Serving/saved_model.pb": "graph",
            "history.json": '{"steps": 4321, "parameters": {"trainable": 70000, "frozen": 7}}',
            "config.json": '{"gradient_penalty": 0.625}',
        },
        "model_blessing": {},
        "infra_blessing": {"tf_serving_warmup_requests": "records"},
        "evaluation": {
            "metrics.json": json.dumps(METRICS),
            "clusters.json": "centres",
            "data_record.json": "quantiles",
        },
    }
    for name, contents in files.items():
        for file, text in contents.items():
            path = Path(artifacts[name].uri, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    record_files(artifacts["model"])
    verdicts = {"model_blessing": blessed, "infra_blessing": infra_blessed}
    for name, verdict in verdicts.items():
        artifacts[name].set_int_custom_property("blessed", verdict)
        artifacts[name].set_string_custom_property("reason", "" if verdict else f"{name} says no.")
        with unchanged(Path(artifacts["model"].uri, "Format-Serving")) as judged:
            artifacts[name].set_string_custom_property("model_files", judged)


def run_executor(tmp_path: Path, after_verdicts=lambda artifacts: None, **verdicts: int):
    """One call of the executor, as a runner makes it; returns the PushedModel.

    ``after_verdicts`` is called with the artifacts before it.
    """
    artifacts = {name: kind() for name, kind in KINDS.items()}
    for name, artifact in artifacts.items():
        artifact.uri = str(tmp_path / name)
    pushed_model = standard_artifacts.PushedModel()
    pushed_model.uri = str(tmp_path / "pushed_model")
    fill(artifacts, **verdicts)
    after_verdicts(artifacts)
    context = Executor.Context(tmp_dir=str(tmp_path), unique_id="1", pipeline_run_id="run-7")
    Executor(context).Do(
        {name: [artifact] for name, artifact in artifacts.items()},
        {"pushed_model": [pushed_model]},
        {
            "model_name": "gan",
            "serving_dir": str(tmp_path / "serving"),
            "keep_versions": 5,
            "data_dir": "data/mnist",
        },
    )
    return pushed_model


def test_blessed_model_is_pushed_with_metrics_lineage_and_warmup(tmp_path: Path):
    pushed = run_executor(tmp_path)
    [version] = list_versions(tmp_path / "serving" / "gan")
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_version") == str(version.number)
    assert pushed.get_string_custom_property("pushed_destination") == str(version.path)
    assert (version.path / "saved_model.pb").read_text() == "graph"
    assert not (version.path / "history.json").exists()
    extra = version.path / "assets.extra"
    assert json.loads((extra / "metrics.json").read_text())["model"] == "gan"
    assert (extra / "tf_serving_warmup_requests").read_text() == "records"
    assert (extra / "clusters.json").read_text() == "centres"
    assert (extra / "data_record.json").read_text() == "quantiles"
    lineage = json.loads((extra / "lineage.json").read_text())
    assert lineage["model"] == "gan"
    assert lineage["model_uri"] == "/".join((tmp_path / "model").parts[-3:])
    assert lineage["evaluation_uri"] == "/".join((tmp_path / "evaluation").parts[-3:])
    assert lineage["run_id"] == "run-7"
    assert lineage["pushed_at"].endswith("+00:00")
    assert (lineage["data"], lineage["settings"]) == (None, {"gan": {"gradient_penalty": 0.625}})
    assert lineage["commit"] == code_origin()["commit"]
    assert lineage["packages"]["keras"] == version_of("keras")
    best = {"name": "frechet_distance", "value": 4.5678, "better": "lower"}
    assert (lineage["primary"], lineage["quality_gates"]) == (best, True)
    written = json.loads((tmp_path / "pushed_model" / "pushed.json").read_text())
    assert written["version"] == str(version.number)


def test_gates_that_judge_no_quality_are_told_in_the_lineage_and_on_the_card(tmp_path, monkeypatch):
    monkeypatch.setitem(METRICS, "quality_gates", False)
    monkeypatch.setitem(METRICS, "gates", [{"metric": "frechet_distance", "passed": True}])
    run_executor(tmp_path)
    [version] = list_versions(tmp_path / "serving" / "gan")
    assert not judged_by_quality(version.path)
    for card in ("model_card.md", "model_card.html"):
        assert FORM_ONLY in (version.path / "assets.extra" / card).read_text()


def test_the_model_card_of_this_very_version_travels_with_it(tmp_path: Path):
    run_executor(tmp_path)
    [version] = list_versions(tmp_path / "serving" / "gan")
    markdown = (version.path / "assets.extra" / "model_card.md").read_text()
    page = (version.path / "assets.extra" / "model_card.html").read_text()
    lineage = json.loads((version.path / "assets.extra" / "lineage.json").read_text())
    for text in (markdown, page):
        for fact in ("4.568", "4,321", "70,007", "0.625", "run-7", "data/mnist"):
            assert fact in text
        assert lineage["pushed_at"] in text.replace("&#x27;", "'")


def test_the_card_is_there_in_the_moment_in_which_the_version_is(tmp_path: Path, monkeypatch):
    """What a watching server may see: the version's own directory, from its rename on."""
    seen = []
    rename = os.rename

    def watch(source, target):
        before = sorted(path.name for path in (Path(source) / "assets.extra").iterdir())
        assert not Path(target).exists()
        rename(source, target)
        seen.append((Path(target).name.isdecimal(), before))

    monkeypatch.setattr("components.pusher.push.os.rename", watch)
    run_executor(tmp_path)
    [(is_version, files)] = seen
    assert is_version and {"model_card.html", "model_card.md", "metrics.json"} <= set(files)


def test_base_model_and_statistics_are_on_the_card_and_in_the_lineage(tmp_path: Path):
    pb = pytest.importorskip("tensorflow_metadata.proto.v0.statistics_pb2")
    artifacts = {name: kind() for name, kind in KINDS.items()}
    artifacts |= {
        "base_model": standard_artifacts.Model(),
        "statistics": standard_artifacts.ExampleStatistics(),
    }
    for name, artifact in artifacts.items():
        artifact.uri = str(tmp_path / name)
    fill(artifacts)
    (tmp_path / "base_model").mkdir()
    (tmp_path / "base_model" / "history.json").write_text('{"steps": 98765}')
    (tmp_path / "base_model" / "config.json").write_text('{"epochs": 11}')
    data = json.dumps({"digest": "d" * 64, "max_images": None})
    artifacts["statistics"].set_string_custom_property("data", data)
    lists = pb.DatasetFeatureStatisticsList()
    lists.datasets.add(num_examples=54321)
    (tmp_path / "statistics" / "Split-train").mkdir(parents=True)
    (tmp_path / "statistics" / "Split-train" / "FeatureStats.pb").write_bytes(
        lists.SerializeToString()
    )
    files = extra_files("autoencoder", artifacts, "run-7", "data/own")
    card = files["model_card.md"].decode()
    assert "98,765" in card and "4,321" in card and "train 54,321 images" in card
    lineage = json.loads(files["lineage.json"])
    assert lineage["data"] == {"digest": "d" * 64, "max_images": None}
    assert lineage["settings"] == {
        "autoencoder": {"epochs": 11},
        "finetune_autoencoder": {"gradient_penalty": 0.625},
    }
    assert lineage["base_model_uri"] == "/".join((tmp_path / "base_model").parts[-3:])
    assert lineage["statistics_uri"] == "/".join((tmp_path / "statistics").parts[-3:])


@pytest.mark.parametrize(
    ("verdicts", "reason"),
    [
        ({"blessed": 0}, "The evaluation refused the model: model_blessing says no."),
        ({"infra_blessed": 0}, "The serving check refused the model: infra_blessing says no."),
    ],
)
def test_unblessed_model_is_not_pushed_and_nothing_is_written(tmp_path: Path, verdicts, reason):
    pushed = run_executor(tmp_path, **verdicts)
    assert pushed.get_int_custom_property("pushed") == 0
    assert pushed.get_string_custom_property("reason") == reason
    assert pushed.get_string_custom_property("pushed_destination") == ""
    assert not (tmp_path / "serving").exists()
    assert json.loads((tmp_path / "pushed_model" / "pushed.json").read_text())["pushed"] is False


def write_model(text: str):
    """Another model of the same trainer's, after the verdicts."""

    def write(artifacts) -> None:
        Path(artifacts["model"].uri, "Format-Serving", "saved_model.pb").write_text(text)
        record_files(artifacts["model"])

    return write


def test_a_model_that_is_not_the_judged_one_stops_the_run(tmp_path: Path):
    with pytest.raises(InputError, match="saved_model.pb differs; .* --from-node gan$"):
        run_executor(tmp_path, write_model("grap!"))
    assert list_versions(tmp_path / "serving" / "gan") == []


def test_each_verdict_alone_is_compared_with_the_model(tmp_path: Path):
    def forget(name):
        def change(artifacts) -> None:
            write_model("grap!")(artifacts)
            artifacts[name].set_string_custom_property("model_files", "")

        return change

    with pytest.raises(InputError, match="the serving check approved: saved_model.pb differs"):
        run_executor(tmp_path, forget("model_blessing"))
    with pytest.raises(InputError, match="the evaluation approved: saved_model.pb differs"):
        run_executor(tmp_path, forget("infra_blessing"))


def test_a_version_says_which_files_it_has(tmp_path: Path):
    run_executor(tmp_path)
    [version] = list_versions(tmp_path / "serving" / "gan")
    assert damage(version.path) == ""
    (version.path / "saved_model.pb").write_text("grap!")
    assert damage(version.path) == "saved_model.pb differs"


def test_a_promotion_after_the_verdict_refuses_the_push(tmp_path: Path):
    serving = tmp_path / "serving"
    for version in ("7", "8"):
        (serving / "gan" / version).mkdir(parents=True)
        (serving / "gan" / version / "saved_model.pb").write_text(version)

    def promote(artifacts) -> None:
        path = "/the/pod/of/the/evaluation/gan/8"
        artifacts["model_blessing"].set_string_custom_property("baseline_model", path)
        apply(serving, "gan", Release(stable=7))

    pushed = run_executor(tmp_path, promote)
    words = (
        "The model was compared with version 8, and clients get version 7 now; run again to "
        "compare with it."
    )
    assert pushed.get_int_custom_property("pushed") == 0
    assert pushed.get_int_custom_property("superseded") == 1
    assert pushed.get_string_custom_property("reason") == words
    written = json.loads((tmp_path / "pushed_model" / "pushed.json").read_text())
    assert written == {"pushed": False, "reason": words}
    assert [version.number for version in list_versions(serving / "gan")] == [7, 8]


class _SourceSpec(component_spec.ComponentSpec):
    PARAMETERS = {}
    INPUTS = {}
    OUTPUTS = {name: component_spec.ChannelParameter(type=kind) for name, kind in KINDS.items()}


class _SourceExecutor(base_executor.BaseExecutor):
    def Do(self, input_dict, output_dict, exec_properties):
        fill({name: found[0] for name, found in output_dict.items()})


class _Source(base_component.BaseComponent):
    """Stands where trainer, Evaluator and serving check stand."""

    SPEC_CLASS = _SourceSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_SourceExecutor)

    def __init__(self):
        outputs = {name: channel.Channel(type=kind) for name, kind in KINDS.items()}
        super().__init__(spec=_SourceSpec(**outputs))


def test_node_pushes_once_in_a_pipeline_and_is_cached_after(tmp_path: Path):
    connection = metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.db"))

    def run() -> list[int]:
        source = _Source()
        node = Pusher(**source.outputs, model_name="gan", serving_dir=str(tmp_path / "serving"))
        local_dag_runner.LocalDagRunner().run(
            pipeline.Pipeline(
                pipeline_name="push",
                pipeline_root=str(tmp_path / "root"),
                components=[source, node.with_id("push-gan")],
                enable_cache=True,
                metadata_connection_config=connection,
            )
        )
        return [version.number for version in list_versions(tmp_path / "serving" / "gan")]

    first = run()
    assert len(first) == 1
    assert run() == first
