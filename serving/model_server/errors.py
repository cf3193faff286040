"""What can go wrong, with the codes of gRPC that both fronts answer with."""

from __future__ import annotations

import grpc


class StatusError(Exception):
    """A request that the contract answers with ``code`` and ``message``."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


class LoadError(Exception):
    """A version that cannot be served; the message says why."""


def invalid(message: str) -> StatusError:
    """INVALID_ARGUMENT: the request is at fault and will be again."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def unavailable(message: str) -> StatusError:
    """UNAVAILABLE: the same request may well succeed later."""
    return StatusError(grpc.StatusCode.UNAVAILABLE, message)
