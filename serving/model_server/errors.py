"""Errors, with the gRPC codes that both fronts answer with."""

import errno
import re

import grpc

# Before TensorFlow's own sentence: where the graph was built, and how many nodes failed.
_BEFORE = re.compile(
    r"(?:.*<stack traces unavailable>\n)?(?:\d+ root error.*?\(0\) \w+:\s*)?", re.DOTALL
)
_AFTER = re.compile(r"\s*(?:\n|\[Op:)")  # the failed nodes, and the call that ran them
_ASSERTION = re.compile(r"assertion failed: \[(.*?)\s*\](?: \[.*)?")

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_OF_ERRNO = {
    errno.ENOENT: grpc.StatusCode.NOT_FOUND,
    errno.EACCES: grpc.StatusCode.PERMISSION_DENIED,
    errno.EPERM: grpc.StatusCode.PERMISSION_DENIED,
    errno.ENOTDIR: grpc.StatusCode.FAILED_PRECONDITION,
    errno.EMFILE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errno.ENFILE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errno.ENOMEM: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class StatusError(Exception):
    """A request that the contract answers with ``code`` and ``message``."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


class LoadError(Exception):
    """A version that cannot be served; the message says why, the code is what clients get."""

    def __init__(self, message: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN):
        super().__init__(message)
        self.code = code


def code_of(error: BaseException) -> grpc.StatusCode:
    """The code of any error, as TensorFlow gives one to what the system reports."""
    if isinstance(error, (StatusError, LoadError)):
        return error.code
    if isinstance(error, MemoryError):
        return grpc.StatusCode.RESOURCE_EXHAUSTED
    if isinstance(error, OSError):
        return _OF_ERRNO.get(error.errno or 0, grpc.StatusCode.UNKNOWN)
    # ``error_code`` is that of TensorFlow's own errors.
    return _CODES.get(getattr(error, "error_code", None) or -1, grpc.StatusCode.UNKNOWN)


def words_of(error: BaseException) -> str:
    """The error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


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
