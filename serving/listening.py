"""Where ``inkwell serve`` may listen, checked before anything starts."""

import errno
import os
import socket
from collections.abc import Mapping

from serving.errors import ServingError
from serving.model_server.starting import LOCAL, bind_errno

EVERY = "0.0.0.0"  # noqa: S104 - only where the user asks for it
_LAST_PORT = 65535
_CHOICES = f"use {LOCAL} for this computer only, or {EVERY} for all addresses."


def listening_host(host: str, ports: Mapping[str, int]) -> tuple[str, str]:
    """The IPv4 address to listen on, and the host to show.

    A server gets the address that was checked here, as gRPC would listen on every address of a
    name, and REST on one. The name is shown if it stands for this address only.

    Args:
        host: An IPv4 address of this computer, or a name of it.
        ports: By flag; 0 stands for a free port.

    Raises:
        ServingError: No such address here; a port out of range, given twice or taken.
    """
    addresses = _addresses(host)
    for flag, port in ports.items():
        if not 0 <= port <= _LAST_PORT:
            raise ServingError(f"{flag} must be between 0 and {_LAST_PORT}, not {port}.")
        others = [other for other in ports if other != flag and ports[other] == port]
        if port and others:
            raise ServingError(
                f"{flag} and {others[0]} are both {port}; give each a port of its own."
            )
    address = addresses[0]
    for flag, port in ports.items():
        _check_free(host, address, flag, port)
    return address, host if set(addresses) == {address} else address


def _addresses(host: str) -> list[str]:
    try:
        if not host:  # to the system it means every address
            raise UnicodeError
        return socket.gethostbyname_ex(host)[2]
    except (OSError, UnicodeError):
        raise ServingError(
            f"--host {host!r} is neither an IPv4 address nor the name of a computer; {_CHOICES}"
        ) from None


def _check_free(host: str, address: str, flag: str, port: int) -> None:
    number = bind_errno(address, port)
    if number == errno.EADDRNOTAVAIL:
        raise ServingError(f"--host {host} is not an address of this computer; {_CHOICES}")
    if number == errno.EADDRINUSE:
        raise ServingError(f"{host}:{port} is taken; choose another port with {flag}.")
    if number:
        raise ServingError(
            f"{host}:{port} cannot be listened on ({os.strerror(number)}); choose another port "
            f"with {flag}."
        )
