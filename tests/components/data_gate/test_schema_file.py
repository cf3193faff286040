"""A schema that the user wrote: what is wrong with it is one sentence."""

import pytest

pytest.importorskip("tensorflow_metadata")
from components.data_gate.schema import read_schema
from core.config import InputError


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no feature image"),
        (b'feature { name: "image" }', "has no feature label"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_a_schema_that_cannot_be_used_is_one_sentence(tmp_path, content, words):
    (tmp_path / "schema.pbtxt").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_schema(str(tmp_path))
