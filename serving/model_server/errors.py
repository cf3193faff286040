"""Errors, with the gRPC codes that both fronts answer with."""

import re

import grpc

# Before TensorFlow's own sentence: where the graph was built, and how many nodes failed.
_BEFORE = re.compile(
    r"(?:.*<stack traces unavailable>\n)?(?:\d+ root error.*?\(0\) \w+:\s*)?", re.DOTALL
)
_AFTER = re.compile(r"\s*(?:\n|\[Op:)")  # the failed nodes, and the call that ran them
_ASSERTION = re.compile(r"assertion failed: \[(.*?)\s*\](?: \[.*)?")


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


def plain(message: str) -> str:
    """The sentence in what TensorFlow reports, without the nodes of the graph around it."""
    sentence = _AFTER.split(message[_BEFORE.match(message).end() :], maxsplit=1)[0]
    assertion = _ASSERTION.fullmatch(sentence)
    return (assertion[1] if assertion else sentence) or message
