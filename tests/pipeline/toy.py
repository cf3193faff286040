"""Pipelines of three small nodes, to try the runner without training anything.

TFX reads the annotations of a component as they stand, so they are not postponed here.
"""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration.pipeline import Pipeline
from tfx.types.standard_artifacts import InfraBlessing, Model, ModelBlessing, ModelEvaluation

from components.pusher.component import Pusher
from core import progress
from core.artifacts import METRICS_FILE, MODEL_FILES, SAVED_MODEL_DIR, record_files, unchanged
from core.config import InputError
from pipeline.plan import PIPELINE_NAME


def states(result) -> dict[str, str]:
    """State of every node of a run, by its id."""
    return {node.id: node.state for node in result.nodes}


@component
def Make(model: OutputArtifact[Model], text: Parameter[str]):
    print("library noise")
    os.system("echo noise from a child process")
    if text == "swallow":
        _swallowed_interrupt()
    for step in range(1, 4):
        progress.report("make", step, 3, loss=1.0 / step)
    if text == "litter":
        text = " ".join(_litter())
    with open(os.path.join(model.uri, "text"), "w") as file:
        file.write(text)
    if text == "swallow at the end":
        _swallowed_interrupt()


def _litter() -> list[str]:
    """Files that are left in the temporary folder: by Python, its child, and a shell."""
    code = "import tempfile; print(tempfile.mkstemp()[1])"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shell = subprocess.run(["mktemp"], capture_output=True, text=True, check=True)
    return [tempfile.mkstemp()[1], child.stdout.strip(), shell.stdout.strip()]


def _swallowed_interrupt():
    """As where the signal arrives while a library calls back from C."""
    with contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)


@component
def Copy(source: InputArtifact[Model], model: OutputArtifact[Model], fail: Parameter[str]):
    if fail == "input":
        raise InputError("The labels hold one class; give at least two.")
    if fail == "crash":
        raise ZeroDivisionError("division by zero")
    if fail == "stale once":
        marker = Path(tempfile.gettempdir(), "met")
        if not marker.exists():
            marker.touch()
            os.mkdir(os.path.join(model.uri, "remains"))
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), source.uri)
    if fail in ("interrupt", "interrupt in C++", "hangup"):
        try:
            os.kill(os.getpid(), signal.SIGHUP if fail == "hangup" else signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt as error:
            if fail != "interrupt in C++":
                raise
            raise SystemError("bad argument to internal function") from error
    with open(os.path.join(source.uri, "text")) as file, open(f"{model.uri}/text", "w") as out:
        out.write(file.read())


def toy_pipeline(text: str = "a", fail: str = ""):
    """A builder as ``pipeline.local.runner.run`` takes it: make -> copy, with other in between."""

    def build(config, root, connection):
        make = Make(text=text).with_id("make")
        copy = Copy(source=make.outputs["model"], fail=fail).with_id("copy")
        other = Make(text="other").with_id("other")
        return Pipeline(PIPELINE_NAME, root, connection, [make, copy, other], enable_cache=True)

    return build


@component
def Approve(
    model: OutputArtifact[Model],
    evaluation: OutputArtifact[ModelEvaluation],
    blessing: OutputArtifact[ModelBlessing],
    infra_blessing: OutputArtifact[InfraBlessing],
    champion: Parameter[str],
):
    """Stands where trainer, evaluator and serving check stand."""
    folder = Path(model.uri, SAVED_MODEL_DIR)
    folder.mkdir()
    (folder / "saved_model.pb").write_text("graph")
    record_files(model)
    Path(evaluation.uri, METRICS_FILE).write_text("{}")
    with unchanged(folder) as files:
        for verdict in (blessing, infra_blessing):
            verdict.set_int_custom_property("blessed", 1)
            verdict.set_string_custom_property(MODEL_FILES, files)
    blessing.set_string_custom_property("baseline_model", champion)


@component
def Harm(
    evaluation: InputArtifact[ModelEvaluation], serving_dir: Parameter[str], fault: Parameter[str]
):
    """What happens to the pushed versions outside the pipeline while it runs."""
    for version in Path(serving_dir, "gan").iterdir():
        if fault == "delete":
            shutil.rmtree(version)
        if fault == "damage":
            (version / "saved_model.pb").write_text("grapH")


def pushing_pipeline(fault: str = "", champion: str = ""):
    """approve -> push-gan, and then harm by ``fault``: delete or damage."""

    def build(config, root, connection):
        approve = Approve(champion=champion).with_id("approve")
        outputs = approve.outputs
        push = Pusher(
            model_name="gan",
            serving_dir=config.serving_dir,
            model=outputs["model"],
            model_blessing=outputs["blessing"],
            infra_blessing=outputs["infra_blessing"],
            evaluation=outputs["evaluation"],
        ).with_id("push-gan")
        harm = Harm(
            evaluation=outputs["evaluation"], serving_dir=config.serving_dir, fault=fault
        ).with_id("harm")
        harm.add_upstream_node(push)
        return Pipeline(PIPELINE_NAME, root, connection, [approve, push, harm], enable_cache=True)

    return build
