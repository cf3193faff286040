"""What happens to files and streams between and during runs, and how the next command goes on."""

import datetime
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tfx")
from core.config import InputError
from pipeline.config import RunConfig
from pipeline.local import database, workspace
from pipeline.local.doctor import examine
from pipeline.local.failures import explain
from pipeline.local.runner import run
from pipeline.results import load_results, order_of
from tests.conftest import ROOT
from tests.pipeline.toy import states, toy_pipeline

CACHED = {"make": "cached", "copy": "cached", "other": "cached"}


def profile_dir(config: RunConfig) -> Path:
    return Path(config.output_dir) / "smoke"


def metadata(config: RunConfig) -> Path:
    return profile_dir(config) / database.DATABASE


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", ["flip", "cut", "delete", "add"])
def test_a_damaged_artifact_is_made_again_with_what_depends_on_it(config, capfd, harm):
    run(config, build=toy_pipeline("some text"))
    [text] = profile_dir(config).glob("pipeline/make/model/*/text")
    sound = text.read_bytes()
    stamp = text.stat()
    {
        "flip": lambda: flip(text),
        "cut": lambda: text.write_bytes(sound[:-3]),
        "delete": text.unlink,
        "add": lambda: text.with_name("more").touch(),
    }[harm]()
    if text.exists():
        os.utime(text, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # the time tells nothing
    capfd.readouterr()
    result = run(config, build=toy_pipeline("some text"))
    assert states(result) == {"make": "done", "copy": "done", "other": "cached"}
    told = [line for line in capfd.readouterr().out.splitlines() if "is damaged" in line]
    assert told and told[0].startswith(str(text.parent)) and "so it is made again" in told[0]
    assert all(path.read_bytes() == sound for path in _newest_texts(config))
    assert states(run(config, build=toy_pipeline("some text"))) == CACHED


def _newest_texts(config: RunConfig) -> list[Path]:
    return [
        max(profile_dir(config).glob(f"pipeline/{node}/model/*/text"), key=os.path.getmtime)
        for node in ("make", "copy")
    ]


def test_what_a_killed_run_did_not_record_is_recorded_by_the_next(config):
    run(config, build=toy_pipeline())
    (profile_dir(config) / "artifacts.json").unlink()
    assert states(run(config, build=toy_pipeline())) == CACHED
    [text] = profile_dir(config).glob("pipeline/make/model/*/text")
    flip(text)
    assert states(run(config, build=toy_pipeline()))["make"] == "done"


def test_a_run_whose_record_cannot_be_written_ends_as_it_ended(config, monkeypatch, capfd):
    from pipeline.local import runner

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(runner, "save_result", full)
        assert set(states(run(config, build=toy_pipeline())).values()) == {"done"}
    assert states(run(config, build=toy_pipeline())) == CACHED


@pytest.mark.parametrize("number", [37, 95])
def test_a_file_system_that_cannot_lock_is_a_warning(config, monkeypatch, caplog, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(workspace.fcntl, "flock", flock)
    assert set(states(run(config, build=toy_pipeline())).values()) == {"done"}
    assert "cannot be locked" in caplog.text


def test_moved_outputs_are_cached_and_their_pages_and_logs_are_found(config, tmp_path):
    run(config, build=toy_pipeline())
    there = tmp_path / "γ and blanks"
    shutil.move(config.output_dir, there)
    moved = RunConfig("smoke", output_dir=str(there), serving_dir=config.serving_dir)
    [before] = load_results(there)
    assert Path(before.log).is_file() and there in Path(before.log).parents
    assert states(run(moved, build=toy_pipeline())) == CACHED
    for path in (there / "smoke").rglob("*.json"):
        record = json.loads(path.read_text())
        record.pop("config", None)  # where the user wants things
        assert config.output_dir not in json.dumps(record)
    with sqlite3.connect(there / "smoke" / database.DATABASE) as found:
        uris = [uri for (uri,) in found.execute("SELECT uri FROM Artifact")]
    assert uris and not any(uri.startswith("/") for uri in uris)


def test_a_torn_record_is_skipped_with_a_warning(config, caplog):
    first = run(config, build=toy_pipeline())
    runs = profile_dir(config) / "runs"
    for name, content in {"a": "", "b": "{", "c": "[]", "d": '{"result": {"run_id": 1}}'}.items():
        (runs / f"20200101-00000{ord(name) % 10}.json").write_text(content)
    assert load_results(Path(config.output_dir)) == [first]
    assert caplog.text.count("cannot be read as the record of a run") == 4
    second = run(config, build=toy_pipeline())
    assert load_results(Path(config.output_dir)) == [first, second]


def harm_header(path: Path) -> None:
    path.write_bytes(b"SQLite format 2\0" + path.read_bytes()[16:])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scramble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for start in range(4096, len(content), 8192):
        content[start : start + 64] = os.urandom(64)
    path.write_bytes(content)


def write_text(path: Path) -> None:
    path.write_text("These are notes.\n" * 300)


def other_database(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE notes (text)")


@pytest.mark.parametrize("harm", [harm_header, cut, scramble, write_text, other_database])
def test_a_damaged_database_is_one_sentence_and_its_copy_comes_back(config, harm):
    run(config, build=toy_pipeline())
    path = metadata(config)
    harm(path)
    with pytest.raises(InputError, match="inkwell doctor --repair --output"):
        run(config, build=toy_pipeline())
    output, serving = Path(config.output_dir), Path(config.serving_dir)
    told = dict(reversed(found) for found in examine(output, serving, repair=False))
    assert [words for words, is_sound in told.items() if not is_sound]
    assert all(is_sound for is_sound, _ in examine(output, serving, repair=True))
    assert path.with_name(f"{path.name}.damaged-1").is_file()  # nothing was deleted
    assert states(run(config, build=toy_pipeline())) == CACHED


def test_without_a_sound_copy_all_is_made_again(config):
    run(config, build=toy_pipeline())
    path = metadata(config)
    write_text(path)
    write_text(path.with_name(f"{path.name}.copy"))
    *_, (is_sound, words) = [
        found
        for found in examine(Path(config.output_dir), Path(config.serving_dir), repair=True)
        if "metadata" in found[1]
    ]
    assert is_sound and "There is no sound copy" in words
    assert set(states(run(config, build=toy_pipeline())).values()) == {"done"}


def test_a_locked_a_newer_and_a_strange_database_are_one_sentence(config, monkeypatch):
    run(config, build=toy_pipeline())
    path = metadata(config)
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.1)
    holder = sqlite3.connect(path)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(InputError, match="is used by another program"):
        run(config, build=toy_pipeline())
    holder.rollback()
    holder.execute("UPDATE MLMDEnv SET schema_version = 99")
    holder.commit()
    with pytest.raises(InputError, match="newer ML Metadata .schema 99, this one knows"):
        run(config, build=toy_pipeline())
    holder.execute("UPDATE MLMDEnv SET schema_version = 10")
    holder.commit()
    holder.close()
    assert states(run(config, build=toy_pipeline())) == CACHED
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="is not a file; move it away"):
        run(config, build=toy_pipeline())


def test_ml_metadata_makes_the_schema_that_is_known(config):
    run(config, build=toy_pipeline())
    with sqlite3.connect(metadata(config)) as found:
        assert found.execute("SELECT schema_version FROM MLMDEnv").fetchall() == [
            (database._NEWEST,)
        ]


def test_the_order_of_runs_grows_though_the_clock_goes_back(config, monkeypatch):
    class Clock(datetime.datetime):
        day = 27

        @classmethod
        def now(cls, tz=None):
            return datetime.datetime(2026, 11, cls.day, 1, 30, tzinfo=tz or datetime.UTC)

    monkeypatch.setattr(workspace.datetime, "datetime", Clock)
    first = run(config, build=toy_pipeline("a"))
    second = run(config, build=toy_pipeline("b"))
    Clock.day = 20
    third = run(config, build=toy_pipeline("c"))
    assert [first.run_id, second.run_id, third.run_id] == [
        *("20261127-013000", "20261127-013000-2", "20261127-013000-3")
    ]
    assert load_results(Path(config.output_dir)) == [first, second, third]
    assert order_of("20261127-013000-10") > order_of("20261127-013000-9")


@pytest.mark.parametrize("name", ["logs", "runs", "pipeline"])
def test_a_place_that_cannot_be_written_is_found_at_once(config, name):
    folder = profile_dir(config)
    folder.mkdir(parents=True)
    (folder / name).touch()
    with pytest.raises(InputError, match=f"{name} cannot be written"):
        run(config, build=toy_pipeline())


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "/out/x"),
        RuntimeError("RESOURCE_EXHAUSTED: /out/x.tmp; No space left on device"),
        OSError(122, "Disk quota exceeded", "/out/x"),
    ],
)
def test_a_full_disk_is_told_as_such_whichever_library_met_it(error):
    wrapped = RuntimeError("the node failed")
    wrapped.__cause__ = error
    assert explain(wrapped) == (
        "crash",
        "The disk is full. Free some space and run the same command again.",
    )


# As ``inkwell run`` does it, with three small nodes.
RUN = """
import contextlib, sys
from pipeline.cli.common import console, open_streams
open_streams()
from pipeline.config import RunConfig
from pipeline.local.runner import run
from pipeline.terminal.tables import print_summary
from tests.pipeline.toy import states, toy_pipeline
result = run(RunConfig("smoke", output_dir=sys.argv[1], serving_dir=sys.argv[2]),
             build=toy_pipeline(*sys.argv[3:]))
with contextlib.suppress(OSError):
    print_summary(result, console(), "\\u00b1 \\u2264 \\u2265 \\u2192 W\\u00f6rter")
sys.exit(0 if result.failure is None else 9)
"""


def started(config: RunConfig, shell: str, **variables: str):
    words = ["bash", "-c", shell, "bash", sys.executable, RUN, config.output_dir]
    return subprocess.run(
        [*words, config.serving_dir],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("shell", "variables"),
    [
        ('"$1" -c "$2" "${@:3}"', {"PYTHONIOENCODING": "ascii"}),
        ('"$1" -c "$2" "${@:3}"', {"PYTHONIOENCODING": "latin-1"}),
        ('"$1" -c "$2" "${@:3}"', {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        ('"$1" -c "$2" "${@:3}" >/dev/full', {}),
        ('"$1" -c "$2" "${@:3}" >&-', {}),
        ('"$1" -c "$2" "${@:3}" <&- >&- 2>&-', {}),
        ('"$1" -c "$2" "${@:3}" | true; exit ${PIPESTATUS[0]}', {}),
    ],
    ids=["ascii", "latin-1", "POSIX", "full", "closed", "all closed", "reader gone"],
)
def test_no_stream_fails_a_run(config, shell, variables):
    ended = started(config, shell, **variables)
    [result] = load_results(Path(config.output_dir))
    assert set(states(result).values()) == {"done"}
    assert ended.returncode in (0, 120), ended.stderr.decode()  # 120: Python's own last flush
    if variables:
        assert b"+- <= >= ->" in ended.stdout or "± <= >= -> Wörter".encode("latin-1") in (
            ended.stdout
        )


def test_a_hangup_is_recorded_and_the_next_run_goes_on(config):
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as under nohup it would be ignored
    try:
        result = run(config, build=toy_pipeline(fail="hangup"))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert result.exit_code == 130
    assert load_results(Path(config.output_dir)) == [result]
    assert states(run(config, build=toy_pipeline()))["make"] == "cached"
