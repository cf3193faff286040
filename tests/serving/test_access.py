"""What a server asks of its callers, and what its owner is told."""

from pathlib import Path

import pytest

from pipeline.cli.client import server_of
from serving.access import Access, doubt_about, exposure, read_token
from serving.errors import ServingError

TOKEN = "c0ffee-c0ffee-c0ffee"
LOGIN, ENCRYPTION = "there is no login (--token-file)", "there is no encryption (--tls-cert"


@pytest.mark.parametrize(
    ("host", "has_token", "is_encrypted", "told"),
    [
        ("127.0.0.1", False, False, ()),
        ("127.9.9.9", False, False, ()),
        ("0.0.0.0", True, True, ()),
        ("0.0.0.0", False, False, (LOGIN, ENCRYPTION)),
        ("192.0.2.1", False, True, (LOGIN,)),
        ("192.0.2.1", True, False, ("may read the token", ENCRYPTION)),
    ],
)
def test_what_it_means_to_listen_beyond_loopback_is_one_line(host, has_token, is_encrypted, told):
    line = exposure(host, has_token, is_encrypted)
    assert bool(line) == bool(told) and "\n" not in line
    for words in (LOGIN, ENCRYPTION, "may read the token"):
        assert (words in line) == (words in told)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o602])
def test_a_token_file_of_more_than_its_owner_is_told(tmp_path: Path, mode):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    assert doubt_about(path) == ""
    path.chmod(mode)
    assert f"chmod 600 {path}" in doubt_about(path)


@pytest.mark.parametrize(
    "content", ["", "\n", "fifteen-letters", "a" * 4097, "ä" * 20, "\x1b" * 20]
)
def test_what_is_no_token_is_refused_without_being_shown(tmp_path: Path, content):
    (tmp_path / "token").write_text(content)
    with pytest.raises(ServingError, match="must hold one word of 16 to 4096") as caught:
        read_token(tmp_path / "token")
    assert not content.strip() or content.strip() not in str(caught.value)
    (tmp_path / "token").write_bytes(b"\xff" * 20)
    with pytest.raises(ServingError, match="must hold one word"):
        read_token(tmp_path / "token")
    (tmp_path / "token").write_text(f"\n  {TOKEN}\r\n")
    assert read_token(tmp_path / "token") == TOKEN


def test_neither_token_is_shown_with_the_object_that_holds_it(tmp_path: Path):
    (tmp_path / "token").write_text(TOKEN)
    server = server_of("localhost:1", tmp_path / "token", None)
    assert TOKEN not in f"{Access(TOKEN)!r} {server!r} {server}"


@pytest.mark.parametrize(
    ("address", "is_clear"),
    [
        ("localhost:8501", False),
        ("127.0.0.1:8501", False),
        ("https://models.example", False),
        ("unix:/run/rest", False),
        ("models.example:8501", True),
        ("http://192.0.2.1:8501/", True),
        ("localhost.evil.example:8501", True),
    ],
)
def test_a_token_that_would_go_in_clear_text_is_told(tmp_path: Path, capsys, address, is_clear):
    (tmp_path / "token").write_text(TOKEN)
    server_of(address, tmp_path / "token", None)
    assert ("unencrypted" in capsys.readouterr().err) == is_clear
    server_of(address, None, None)
    server_of(address, tmp_path / "token", tmp_path / "ca.pem")
    assert capsys.readouterr().err == ""


def test_a_page_has_the_same_scheme_name_and_port_as_the_playground():
    access = Access(page_port=8502)
    assert access.is_page("http://localhost:8502", "localhost:8501")
    assert access.is_page("http://LOCALHOST:8502", "Localhost")
    for origin in ("https://localhost:8502", "http://localhost:8503", "http://a:8502", "null", ""):
        assert not access.is_page(origin, "localhost:8501")
    assert Access(page_port=443, is_encrypted=True).is_page("https://a", "a:8501")
    assert not Access().is_page("http://localhost:80", "localhost:8501")
