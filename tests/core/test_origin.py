import subprocess

from core import origin


def git(folder, *arguments: str) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_is_that_of_the_checkout_and_says_if_files_differ_from_it(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "model.py").write_text("a = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "First")
    git(tmp_path, "tag", "v1")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "new.txt").write_text("not tracked")
    assert origin._commit(tmp_path) == commit
    (tmp_path / "model.py").write_text("a = 2\n")
    assert origin._commit(tmp_path) == f"{commit}-dirty"


def test_code_that_merely_lies_below_a_checkout_has_no_commit(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "code").mkdir()
    assert origin._commit(tmp_path / "code") is None


def test_a_checkout_without_a_commit_or_without_git_has_none(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    assert origin._commit(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert origin._commit(tmp_path) is None
