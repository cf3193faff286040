"""A path is not an owner: what another user of the machine could put in the way is not used.

The neighbour is the user 12345. Tests in which files are his need root, who can give files away.
"""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.pusher.push import push
from core import files
from core.config import InputError
from core.files import open_own, write_whole
from core.origin import public, public_metrics
from pipeline.cli.main import app
from pipeline.config import RunConfig
from pipeline.local import evaluations, runner
from pipeline.local.workspace import check_ours, lock, make_directory
from pipeline.terminal.quiet import output_to
from serving.locking import locked
from serving.releases import RELEASES_FILE, Release, apply, read_releases
from serving.versions import list_versions

NEIGHBOUR = 12345
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can give a file to another user"
)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A file of the user's, to which the neighbour makes links."""
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    return path


def given_away(path: Path, mode: int) -> Path:
    """The path as the neighbour's."""
    path.mkdir() if not path.exists() else None
    os.lchown(path, NEIGHBOUR, NEIGHBOUR)
    path.chmod(mode)
    return path


def version(serving: Path, model: str, number: int) -> Path:
    folder = serving / model / str(number)
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text(f"graph {number}")
    return folder


def says(*arguments: object) -> str:
    """What a command says that refuses its arguments."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


# --- folders ---------------------------------------------------------------------------------


@needs_root
def test_the_folder_that_a_neighbour_made_first_is_no_output_folder(tmp_path, notes):
    """He made the name that the help shows, with a link that a run's lock would follow."""
    trap = tmp_path / "try"
    trap.mkdir()
    (trap / ".lock").symlink_to(notes)
    given_away(trap, 0o777)
    with pytest.raises(InputError, match=rf"{trap} belongs to user 12345, not to user root.*chown"):
        make_directory(trap)
    assert notes.read_text() == "mine"


@needs_root
@pytest.mark.parametrize("which", ["output_dir", "serving_dir"])
def test_a_run_refuses_the_folders_of_others_before_its_first_node(tmp_path, which):
    folders = {"output_dir": str(tmp_path / "out"), "serving_dir": str(tmp_path / "models")}
    folders[which] = str(given_away(tmp_path / "his", 0o755))
    config = RunConfig(profile="smoke", **folders)
    with pytest.raises(InputError, match="belongs to user 12345"):
        runner.run(config, build=None)


@needs_root
def test_a_link_that_a_neighbour_made_is_no_folder_of_ours(tmp_path):
    (tmp_path / "own").mkdir()
    link = tmp_path / "link"
    link.symlink_to("own")
    check_ours(link, "--output")
    os.lchown(link, NEIGHBOUR, NEIGHBOUR)
    with pytest.raises(InputError, match="belongs to user 12345"):
        check_ours(link, "--output")


@pytest.mark.parametrize(("mode", "refused"), [(0o777, True), (0o1777, False), (0o775, False)])
def test_a_folder_that_everybody_may_change_is_refused_unless_files_stay_their_owners(
    tmp_path, mode, refused
):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    if refused:
        with pytest.raises(InputError, match=r"can be changed by every user.*chmod o-w"):
            check_ours(folder, "--output")
    else:
        check_ours(folder, "--output")


@pytest.mark.parametrize(
    "command",
    [
        ["models", "--serving"],
        ["serve", "--serving"],
        ["promote", "gan", "1", "--serving"],
        ["rollback", "gan", "--serving"],
    ],
)
def test_models_in_a_folder_that_everybody_may_change_are_not_served(tmp_path, command):
    """A model is a program, which would run as the user who serves it."""
    version(tmp_path / "models", "gan", 1)
    (tmp_path / "models").chmod(0o777)
    assert "can be changed by every user" in says(*command, tmp_path / "models")


def test_models_of_others_are_not_evaluated(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    monkeypatch.setattr(evaluations, "choose_runs", lambda *_: [None])
    with pytest.raises(InputError, match="can be changed by every user"):
        evaluations.evaluate_and_show(
            *([], "smoke", None, [], None, str(tmp_path / "out"), None, None)
        )


def test_what_runs_keep_is_the_users_alone(tmp_path):
    make_directory(tmp_path / "outputs")
    with lock(tmp_path / "outputs"), output_to(tmp_path / "outputs" / "run.log"):
        pass
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "outputs").iterdir()}
    assert (tmp_path / "outputs").stat().st_mode & 0o777 == 0o700
    assert modes == {".lock": 0o600, "run.log": 0o600}


# --- files -----------------------------------------------------------------------------------


def test_the_lock_of_a_run_is_not_written_through_a_link(tmp_path, notes):
    folder = tmp_path / "outputs"
    folder.mkdir()
    (folder / ".lock").symlink_to(notes)
    with pytest.raises(InputError, match=r"\.lock cannot be used.*remove it"), lock(folder):
        pass
    assert notes.read_text() == "mine"


def test_the_lock_of_a_model_is_not_taken_through_a_link(tmp_path, notes, caplog):
    (tmp_path / ".gan.lock").symlink_to(tmp_path / "made")
    with locked(tmp_path, "gan"):
        pass
    assert not (tmp_path / "made").exists() and "going on without" in caplog.text


def test_a_log_is_not_written_through_a_link(tmp_path, notes):
    (tmp_path / "run.log").symlink_to(notes)
    with (
        pytest.raises(InputError, match="run.log cannot be written"),
        output_to(tmp_path / "run.log"),
    ):
        pass
    assert notes.read_text() == "mine"


@pytest.mark.parametrize("kind", ["second name", "pipe", "folder"])
def test_only_a_plain_file_with_one_name_is_opened(tmp_path, notes, kind):
    """A second name of a file leads to it like a link; a pipe would make the command wait."""
    path = tmp_path / "file"
    {"second name": lambda: os.link(notes, path), "pipe": lambda: os.mkfifo(path)}.get(
        kind, path.mkdir
    )()
    with pytest.raises(OSError):
        open_own(path, os.O_RDWR)


@needs_root
def test_a_file_of_another_user_is_not_opened(tmp_path):
    path = tmp_path / "file"
    path.touch()
    os.chown(path, NEIGHBOUR, NEIGHBOUR)
    with pytest.raises(PermissionError, match="belongs to user 12345"):
        open_own(path, os.O_RDWR)
    os.close(open_own(path, os.O_RDWR, shared=True))  # of a team's, or of pods of several users


@needs_root
def test_the_victim_is_no_root_either():
    """As users 1000 and 12345, in a folder that everybody may write and the sticky bit guards."""
    shared = Path(tempfile.mkdtemp(prefix="inkwell-shared-"))
    try:
        shared.chmod(0o1777)
        assert as_user(NEIGHBOUR, lambda: open_to_all(shared / "try")) == ""
        assert "belongs to user 12345" in as_user(1000, lambda: make_directory(shared / "try"))
        assert as_user(1000, lambda: make_directory(shared / "own")) == ""
        assert "own cannot be written" in as_user(NEIGHBOUR, lambda: make_directory(shared / "own"))
    finally:
        subprocess.run(["rm", "-rf", str(shared)], check=True)


def open_to_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def as_user(uid: int, work) -> str:
    """Does ``work`` in a child process of that user; the error's words, if there is one."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            work()
        except BaseException as error:
            os.write(writer, str(error).encode() or b"?")
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, "rb") as stream:
        return stream.read().decode()


def test_the_name_of_what_is_staged_cannot_be_foretold(tmp_path, monkeypatch):
    seen = set()
    monkeypatch.setattr(files.os, "fsync", lambda _: seen.update(os.listdir(tmp_path)))
    for _ in range(3):
        write_whole(tmp_path / "models.config", "")
    staged = {name for name in seen if name.startswith(".")}
    assert len(staged) == 3 and not any(str(os.getpid()) in name for name in staged)


def test_a_link_under_a_foretold_name_is_not_followed(tmp_path, notes, monkeypatch):
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0" * 16)
    (tmp_path / f".models.config.{'0' * 16}").symlink_to(notes)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "models.config", "new")
    assert notes.read_text() == "mine" and not (tmp_path / "models.config").exists()


def test_a_link_under_the_name_itself_is_replaced(tmp_path, notes):
    (tmp_path / "models.config").symlink_to(notes)
    write_whole(tmp_path / "models.config", "new")
    assert notes.read_text() == "mine" and not (tmp_path / "models.config").is_symlink()


def test_what_a_killed_writer_left_goes_with_a_later_write(tmp_path):
    old, young = (tmp_path / f".a.json.{digit * 16}" for digit in "12")
    for left in (old, young):
        left.touch()
    os.utime(old, (0, 0))
    write_whole(tmp_path / "a.json", "{}")
    assert not old.exists() and young.exists()


def test_labels_can_be_read_by_a_server_of_another_user_whatever_the_umask(tmp_path):
    version(tmp_path, "gan", 1)
    usual = os.umask(0o077)
    try:
        apply(tmp_path, "gan", Release(1))
    finally:
        os.umask(usual)
    modes = {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir() if p.suffix}
    assert {modes[RELEASES_FILE], modes["models.config"]} == {0o644}


# --- models and versions ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../outside", "gan/../../outside", "..", ".hidden", ""])
@pytest.mark.parametrize("command", [["promote", "9"], ["rollback"]])
def test_a_path_is_no_model(tmp_path, name, command):
    """``inkwell promote ../home/outside 9`` had the server load a model from there."""
    serving = tmp_path / "models"
    version(serving, "gan", 9)
    for number in (8, 9):
        version(tmp_path, "outside", number)
        version(serving, ".hidden", number)
    verb, *rest = command
    said = says(verb, name, *rest, "--serving", serving)
    assert said.startswith(f"inkwell: There is no version of {name}") and "gan" in said
    assert read_releases(serving) == {} and not (serving / "models.config").exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "/etc"])
def test_a_model_with_a_link_is_not_pushed(tmp_path, target):
    """The text of the file behind it was in the version that is served."""
    version(tmp_path, "trained", 1)
    model = tmp_path / "trained" / "1"
    (model / "assets").mkdir()
    (model / "assets" / "leak").symlink_to(target)
    with pytest.raises(InputError, match=r"assets/leak is a link"):
        push(model, tmp_path / "models" / "gan")
    assert os.listdir(tmp_path / "models" / "gan") == []


def test_an_old_version_that_is_a_link_is_removed_and_its_target_stays(tmp_path):
    archive = version(tmp_path, "archive", 1)
    models = tmp_path / "models" / "gan"
    models.mkdir(parents=True)
    (models / "1").symlink_to(archive)
    pushed = push(version(tmp_path, "trained", 2), models, keep_versions=1)
    assert [str(v.number) for v in list_versions(models)] == [pushed.version]
    assert (archive / "saved_model.pb").exists()
    assert sorted(os.listdir(models)) == [pushed.version]


def test_an_old_version_that_cannot_be_removed_does_not_fail_the_push(
    tmp_path, monkeypatch, caplog
):
    old = version(tmp_path / "models", "gan", 1)

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("components.pusher.push.shutil.rmtree", refused)
    pushed = push(version(tmp_path, "trained", 2), tmp_path / "models" / "gan", keep_versions=1)
    assert Path(pushed.destination, "saved_model.pb").read_text() == "graph 2"
    assert f"{old} cannot be removed (Permission denied)" in caplog.text


def test_what_is_published_with_a_model_names_no_folder_of_the_user():
    place = "/home/ada/inkwell/outputs/quick/pipeline/gan/model/17"
    assert (
        public(place) == "gan/model/17" and public("gs://b/gan/model/17") == "gs://b/gan/model/17"
    )
    met = {"version": "7", "path": "/home/ada/serving_models/gan/7"}
    published = public_metrics({"model": "gan", "champion": met, "best": None})
    assert published["champion"] == {"version": "7", "path": "gan/7"} and "ada" not in str(
        published
    )
