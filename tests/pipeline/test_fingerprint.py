import pytest

from pipeline import fingerprint
from pipeline.fingerprint import code_fingerprint, source_files


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """components.a imports trainer_modules.common.b inside a function; c stands alone."""
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    for name, text in {
        "components/__init__.py": "",
        "components/a/__init__.py": "",
        "components/a/main.py": "from . import near\nimport numpy\n\ndef f():\n"
        "    from trainer_modules.common import b\n",
        "components/a/near.py": "WIDTH = 32  # channels\n",
        "components/a/page.jinja": "<p>",
        "trainer_modules/__init__.py": "",
        "trainer_modules/common/__init__.py": "",
        "trainer_modules/common/b.py": "import components.a.main\n",  # a circle must end
        "trainer_modules/common/c.py": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def code() -> str:
    return code_fingerprint("components.a.main")


def test_imports_are_followed_wherever_they_stand(tree):
    found = {str(path.relative_to(tree)) for path in source_files(["components.a.main"])}
    assert found == {
        "components/__init__.py",
        "components/a/__init__.py",
        "components/a/main.py",
        "components/a/near.py",
        "trainer_modules/__init__.py",
        "trainer_modules/common/__init__.py",
        "trainer_modules/common/b.py",
    }


def test_the_same_code_has_the_same_fingerprint(tree):
    assert code() == code()


def test_a_changed_value_changes_it_and_a_changed_comment_does_not(tree):
    before = code()
    (tree / "components/a/near.py").write_text("WIDTH = 32   # of the first block\n\n")
    assert code() == before
    (tree / "components/a/near.py").write_text("WIDTH = 33  # channels\n")
    assert code() != before


def test_code_that_is_not_imported_does_not_count(tree):
    before = code()
    (tree / "trainer_modules/common/c.py").write_text("CHANGED = True\n")
    assert code() == before


def test_other_files_beside_the_code_count_byte_for_byte(tree):
    before = code()
    (tree / "components/a/page.jinja").write_text("<p> ")
    assert code() != before


def test_a_module_that_does_not_exist_is_an_error(tree):
    with pytest.raises(FileNotFoundError, match=r"components\.vae"):
        code_fingerprint("components.vae")
