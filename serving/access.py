"""Who may call a server: whoever holds its token, by a name of its own, from a page of its own.

Contract: both fronts of the model server and the playground ask these questions before they read
a request. A web page in a browser on this computer is a caller too: one of another site is known
by its ``Origin``, and one whose name was made to lead here (DNS rebinding) by its ``Host``.
"""

import dataclasses
import hmac
import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path

from serving.errors import ServingError

_SHORTEST_TOKEN, _LONGEST_TOKEN = 16, 4096
_OF_OTHERS = 0o077
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/@?#\[\]]+)(?::(\d+))?", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}
_JSON = "application/json"  # a browser asks the server before a page of another site sends it
UNAUTHENTICATED = (
    "This server asks for a token: send it as a Bearer token in the header Authorization, or give "
    "inkwell a --token-file."
)


@dataclasses.dataclass(frozen=True)
class Access:
    """What a server asks of those who call it."""

    token: str = dataclasses.field(default="", repr=False)  # empty if it asks for none
    hosts: frozenset[str] | None = frozenset()  # besides addresses and localhost; None for any
    page_port: int | None = None  # of the playground, whose pages may call
    is_encrypted: bool = False

    def is_authorized(self, authorization: str) -> bool:
        """Whether the header holds the token; always, if none is asked for."""
        if not self.token:
            return True
        scheme, _, given = authorization.strip().partition(" ")
        is_right = hmac.compare_digest(
            given.strip().encode(errors="surrogateescape"), self.token.encode()
        )
        return is_right and scheme.lower() == "bearer"

    def is_host(self, given: Sequence[str]) -> bool:
        """Whether every ``Host`` header names this server; HTTP/1.0 has none."""
        return self.hosts is None or all(self._is_name(host_name(host)) for host in given)

    def _is_name(self, name: str) -> bool:
        if name == "localhost" or name in (self.hosts or ()):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    def is_page(self, origin: str, host: str) -> bool:
        """Whether the page is the playground's, at its port of the host that is called."""
        scheme = "https" if self.is_encrypted else "http"
        return self.page_port is not None and _parts(origin) == (
            scheme, host_name(host), self.page_port
        )  # fmt: skip

    def is_foreign(self, origin: str, host: str) -> bool:
        """Whether a page of another site sends this; programs send no ``Origin``."""
        _, name, port = _parts(origin)
        is_same = bool(name) and host.lower() in (name, f"{name}:{port}")
        return bool(origin) and not is_same and not self.is_page(origin, host)


def host_name(host: str) -> str:
    """The name or address in a ``Host`` header, in small letters; empty if it is none."""
    found = _HOST.fullmatch(host)
    return found[1].lower().removesuffix(".") if found else ""


def is_json(content_type: str) -> bool:
    """Whether a ``Content-Type`` is that of JSON."""
    return content_type.partition(";")[0].strip().lower() == _JSON


def is_loopback(host: str) -> bool:
    """Whether an address is of this computer only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def exposure(host: str, has_token: bool, is_encrypted: bool) -> str:
    """What it means to listen on this address, in one line; empty on loopback, or behind both."""
    if is_loopback(host) or (has_token and is_encrypted):
        return ""
    plain = "there is no encryption (--tls-cert, --tls-key)"
    if has_token:
        return f"Whoever is on the way may read the token, and all that is sent: {plain}."
    also = "" if is_encrypted else f", and {plain}"
    return (
        f"Whoever reaches this computer may use the models: there is no login (--token-file){also}."
    )


def read_token(path: Path) -> str:
    """The token in a file, on its only line.

    Raises:
        ServingError: The file cannot be read, or holds no token.
    """
    try:
        with open(path, encoding="utf-8") as file:
            words = file.read(_LONGEST_TOKEN + 1).split()
    except OSError as error:
        raise ServingError(f"The token file {path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        words = []
    is_token = len(words) == 1 and words[0].isascii() and words[0].isprintable()
    if not is_token or not _SHORTEST_TOKEN <= len(words[0]) <= _LONGEST_TOKEN:
        raise ServingError(
            f"The token file {path} must hold one word of {_SHORTEST_TOKEN} to {_LONGEST_TOKEN} "
            "ASCII characters; make one with: openssl rand -hex 32"
        )
    return words[0]


def doubt_about(path: Path) -> str:
    """One sentence if others than its owner may use the token file; empty if not."""
    if path.stat().st_mode & _OF_OTHERS:
        return f"Others than its owner may use the token file {path}; run: chmod 600 {path}"
    return ""


def _parts(origin: str) -> tuple[str, str, int]:
    """Scheme, host and port; the host is empty for ``null`` and what is no origin."""
    scheme, _, rest = origin.lower().partition("://")
    found = _HOST.fullmatch(rest)
    if scheme not in _PORTS or not found:
        return "", "", 0
    return scheme, host_name(rest), int(found[2] or _PORTS[scheme])
