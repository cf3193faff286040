"""Errors for users of the serving commands and of the client."""


class ServingError(Exception):
    """One clear sentence: what is wrong, where, and how to fix it."""


class RequestError(ServingError):
    """A model server refused a request or did not answer it.

    ``code`` is the name of the gRPC code, such as INVALID_ARGUMENT or DEADLINE_EXCEEDED.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class NoServerError(RequestError):
    """Nothing listens at the address, or it does not exist; UNAVAILABLE."""

    def __init__(self, address: str, reason: str):
        super().__init__(
            "UNAVAILABLE",
            f"No model server answers at {address} ({reason}); start one with: inkwell serve",
        )


class ImageWarning(UserWarning):
    """One sentence: an image was read, but perhaps not as it is meant."""
