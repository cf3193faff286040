import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

pytest.importorskip("tfx")
from core.config import InputError
from core.models import MODELS
from pipeline.environment import set_environment
from pipeline.local.runner import StartError, run
from pipeline.local.workspace import temporary_folder
from pipeline.results import load_results
from serving.releases import Release, apply
from serving.versions import newest_version
from tests.pipeline.toy import pushing_pipeline, states, toy_pipeline


def test_nodes_are_done_then_cached(config):
    assert states(run(config, build=toy_pipeline())) == {
        "make": "done",
        "copy": "done",
        "other": "done",
    }
    assert set(states(run(config, build=toy_pipeline())).values()) == {"cached"}


def test_a_changed_parameter_runs_the_node_and_what_depends_on_it(config):
    run(config, build=toy_pipeline("a"))
    assert states(run(config, build=toy_pipeline("b"))) == {
        "make": "done",
        "copy": "done",
        "other": "cached",
    }


def test_from_node_runs_it_and_what_depends_on_it_again(config):
    run(config, build=toy_pipeline())
    result = run(config, from_node="make", build=toy_pipeline())
    assert states(result) == {"make": "done", "copy": "done", "other": "cached"}
    result = run(config, from_node="copy", build=toy_pipeline())
    assert states(result) == {"make": "cached", "copy": "done", "other": "cached"}


@pytest.mark.parametrize("umask", [0, 0o077])
def test_only_the_owner_changes_artifacts_and_versions_and_all_read_them(config, umask):
    usual = os.umask(umask)
    try:
        result = run(config, build=pushing_pipeline())
    finally:
        os.umask(usual)
    assert result.failure is None
    output, serving = Path(config.output_dir), Path(config.serving_dir)
    for private in (output, output / "smoke"):  # the user's data is in there
        assert private.stat().st_mode & 0o777 == 0o700
    found = (output / "smoke" / "pipeline").rglob("*")
    modes = {p: p.stat().st_mode & 0o777 for p in (*found, serving, *serving.rglob("*"))}
    assert len(list(serving.rglob("saved_model.pb"))) == 1
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o755}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o644}


def test_a_users_mistake_inside_a_node_is_one_sentence(config):
    result = run(config, build=toy_pipeline(fail="input"))
    assert result.exit_code == 2
    assert result.failure.node == "copy"
    assert result.failure.message == "The labels hold one class; give at least two."
    assert states(result) == {"make": "done", "other": "done", "copy": "failed"}


def test_a_crash_names_the_error_and_a_rerun_resumes_after_what_was_done(config):
    result = run(config, build=toy_pipeline(fail="crash"))
    assert result.exit_code == 1
    assert result.failure.message == "ZeroDivisionError: division by zero"
    assert "Traceback" in Path(result.log).read_text()
    assert states(run(config, build=toy_pipeline())) == {
        "make": "cached",
        "other": "cached",
        "copy": "done",
    }


@pytest.fixture
def terminal():
    """SIGINT as a terminal's process has it; a script's background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("fail", ["interrupt", "interrupt in C++"])
def test_an_interrupt_is_reported_and_a_rerun_resumes(config, fail, terminal):
    result = run(config, build=toy_pipeline(fail=fail))
    assert result.exit_code == 130
    assert states(result) == {"make": "done", "other": "done", "copy": "interrupted"}
    assert load_results(Path(config.output_dir)) == [result]
    assert states(run(config, build=toy_pipeline()))["make"] == "cached"


@pytest.mark.parametrize(
    ("text", "state"), [("swallow", "interrupted"), ("swallow at the end", "done")]
)
def test_an_interrupt_that_a_library_swallows_ends_the_run_soon(config, text, state, terminal):
    result = run(config, build=toy_pipeline(text=text))
    assert result.exit_code == 130
    assert states(result) == {"make": state, "other": "not run", "copy": "not run"}


def test_noise_of_libraries_and_children_goes_to_the_log_alone(config, capfd):
    result = run(config, build=toy_pipeline())
    screen = capfd.readouterr()
    log = Path(result.log).read_text()
    for words in ("library noise", "noise from a child process"):
        assert words in log and words not in screen.out + screen.err
    assert "make started" in screen.out and "copy done" in screen.out
    assert screen.err == ""


def test_results_are_saved_with_the_configuration(config):
    result = run(config, build=toy_pipeline())
    assert load_results(Path(config.output_dir)) == [result]
    [path] = Path(config.output_dir).glob("smoke/runs/*.json")
    assert json.loads(path.read_text())["config"]["profile"] == "smoke"


def test_a_second_run_on_the_same_directory_is_refused_while_the_first_goes_on(config, tmp_path):
    lock = Path(config.output_dir) / ".lock"
    lock.parent.mkdir(parents=True)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys; f = open(sys.argv[1], 'a+'); f.write('4242'); f.flush();"
            "fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()",
            str(lock),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="process 4242"):
            run(config, build=toy_pipeline())
    finally:
        holder.communicate()
    other = dataclasses.replace(config, output_dir=str(tmp_path / "other"))
    assert run(other, build=toy_pipeline()).failure is None
    assert run(config, build=toy_pipeline()).failure is None  # the lock went with its holder


def test_relative_paths_are_those_of_the_start(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(dataclasses.replace(config, output_dir="here"), build=toy_pipeline())
    assert os.path.isabs(result.log) and Path(result.log).is_relative_to(tmp_path / "here")


def test_an_output_directory_that_cannot_be_made_is_one_sentence(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written; name another"):
        run(dataclasses.replace(config, output_dir=str(tmp_path / "file")), build=toy_pipeline())


@pytest.mark.parametrize("place", ["file", "/proc/inkwell"])
def test_a_serving_directory_that_cannot_be_written_is_found_before_anything_runs(
    config, tmp_path, place
):
    (tmp_path / "file").write_text("")
    config = dataclasses.replace(config, serving_dir=str(tmp_path / place))
    with pytest.raises(InputError, match="cannot be written; .* --set serving_dir=") as caught:
        run(config, build=toy_pipeline())
    assert config.serving_dir in str(caught.value)
    assert load_results(Path(config.output_dir)) == []


@pytest.fixture
def gan_alone(monkeypatch):
    """The GAN is the only model of the pipeline."""
    from pipeline.local import metadata, runner

    for module in (metadata, runner):
        monkeypatch.setattr(module, "MODELS", {"gan": MODELS["gan"]})


def the_version(config) -> Path:
    return newest_version(Path(config.serving_dir) / "gan").path


def test_what_is_said_to_be_in_serving_is_there(config, gan_alone):
    result = run(config, build=pushing_pipeline())
    assert result.exit_code == 0 and result.models[0].problem == ""
    again = run(config, build=pushing_pipeline())
    assert (again.exit_code, states(again)["push-gan"]) == (0, "cached")
    assert again.models[0].version == the_version(config).name


@pytest.mark.parametrize(
    ("fault", "problem"),
    [("delete", "the directory is gone"), ("damage", "saved_model.pb differs")],
)
def test_a_version_that_is_lost_after_its_push_is_found_at_the_end(
    config, gan_alone, fault, problem
):
    result = run(config, build=pushing_pipeline(fault))
    assert states(result)["push-gan"] == "done"
    assert (result.models[0].pushed, result.models[0].problem) == (True, problem)
    assert result.exit_code == 3
    shutil.rmtree(result.models[0].destination, ignore_errors=True)
    again = run(config, build=pushing_pipeline())  # what the closing sentence says to do
    assert (again.exit_code, states(again)["push-gan"]) == (0, "done")
    assert (the_version(config) / "saved_model.pb").read_text() == "graph"


def test_a_cached_push_whose_version_is_lost_later_is_found_at_the_end(config, gan_alone):
    run(config, build=pushing_pipeline())
    result = run(config, build=pushing_pipeline("delete"))
    assert states(result)["push-gan"] == "cached"
    assert (result.exit_code, result.models[0].problem) == (3, "the directory is gone")


def test_a_damaged_champion_stops_the_run_before_its_first_node(config, gan_alone):
    run(config, build=pushing_pipeline())
    (the_version(config) / "saved_model.pb").write_text("grapH")
    words = "gan in serving is damaged: saved_model.pb differs in .*/gan/\\d+. Restore that version"
    with pytest.raises(InputError, match=words):
        run(config, build=pushing_pipeline())
    assert len(load_results(Path(config.output_dir))) == 1


def test_a_pushed_version_under_a_stable_label_is_told(config, gan_alone):
    model = Path(config.serving_dir) / "gan" / "7"
    model.mkdir(parents=True)
    (model / "saved_model.pb").write_text("older")
    apply(Path(config.serving_dir), "gan", Release(stable=7))
    result = run(config, build=pushing_pipeline(champion="7"))
    assert (result.exit_code, result.models[0].served) == (0, "7")


def test_a_push_that_met_another_champion_is_refused_and_tried_again(config, gan_alone):
    model = Path(config.serving_dir) / "gan" / "7"
    model.mkdir(parents=True)
    (model / "saved_model.pb").write_text("of another run")
    result = run(config, build=pushing_pipeline())
    assert (result.exit_code, result.models[0].pushed) == (3, False)
    assert "compared with no version, and clients get version 7 now" in result.models[0].refusal
    shutil.rmtree(model)
    again = run(config, build=pushing_pipeline())
    assert (again.exit_code, states(again)["push-gan"]) == (0, "done")


def test_what_nodes_leave_in_the_temporary_folder_goes_with_the_run(config, tmp_path, monkeypatch):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    result = run(config, build=toy_pipeline(text="litter"))
    left = (Path(config.output_dir) / "smoke/pipeline/make/model").glob("*/text")
    names = [Path(name) for path in left for name in path.read_text().split()]
    assert result.exit_code in (0, 3) and len(names) == 3
    assert all(name.parent.parent == folder and not name.exists() for name in names)
    assert os.listdir(folder) == []
    assert (os.environ["TMPDIR"], tempfile.gettempdir()) == (str(folder), str(folder))


def test_without_a_temporary_directory_a_run_says_how_to_name_one(config, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    words = r"^No temporary directory can be written \(.+\); name one in TMPDIR\.$"
    with pytest.raises(InputError, match=words):
        run(config, build=toy_pipeline())
    assert load_results(Path(config.output_dir)) == []


def test_a_node_may_take_the_name_of_the_temporary_directory_away(monkeypatch):
    monkeypatch.delenv("TMPDIR", raising=False)
    with temporary_folder():
        del os.environ["TMPDIR"]
    assert "TMPDIR" not in os.environ


def test_an_interrupt_before_the_first_node_is_none_of_a_nodes(config, terminal):
    def build(*_):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt as error:  # as an import may do
            raise ImportError("initialization failed") from error

    with pytest.raises(KeyboardInterrupt):
        run(config, build=build)
    assert load_results(Path(config.output_dir)) == []


def test_a_run_that_cannot_start_says_why_and_keeps_the_stack_trace_in_the_log(config):
    def build(*_):
        raise ImportError("initialization failed")

    with pytest.raises(StartError, match="The run could not start: .*; the log is ") as caught:
        run(config, build=build)
    assert "\n" not in str(caught.value)
    assert "Traceback" in Path(str(caught.value).rpartition("the log is ")[2]).read_text()


@pytest.mark.parametrize("users", [None, "0"])
def test_onednn_is_asked_for_unless_the_user_chose(monkeypatch, users):
    monkeypatch.setattr(sys, "argv", ["inkwell"])
    monkeypatch.setattr(os, "environ", {"TF_ENABLE_ONEDNN_OPTS": users} if users else {})
    set_environment()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == (users or "1")


@pytest.mark.parametrize(
    ("processors", "users", "threads"),
    [(1, None, "1"), (2, None, "1"), (9, None, "4"), (2, "2", "2")],
)
def test_an_operation_gets_half_of_the_processors_unless_the_user_chose(
    monkeypatch, processors, users, threads
):
    monkeypatch.setattr(sys, "argv", ["inkwell"])
    monkeypatch.setattr(os, "environ", {"TF_NUM_INTRAOP_THREADS": users} if users else {})
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(processors)))
    set_environment()
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == threads


@pytest.mark.parametrize("users", [None, "/home/ada/keras"])
def test_caches_stay_with_the_virtual_environment_unless_the_user_chose(monkeypatch, users):
    if sys.prefix == sys.base_prefix:
        pytest.skip("there is no virtual environment")
    monkeypatch.setattr(sys, "argv", ["inkwell"])
    monkeypatch.setattr(os, "environ", {"KERAS_HOME": users} if users else {})
    set_environment()
    assert os.environ["KERAS_HOME"] == (users or f"{sys.prefix}/cache/keras")
    assert os.environ["MPLCONFIGDIR"] == f"{sys.prefix}/cache/matplotlib"
