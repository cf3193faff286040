"""Checks names against a server before a request, so that a mistake gets a plain sentence.

Contract: only the names that a server returns are compared, never its messages.
"""

from core.config import suggest
from core.models import MODELS
from serving.client import Client
from serving.errors import RequestError, ServingError
from serving.releases import CANARY, STABLE


def check_served(client: Client) -> None:
    """Does nothing if the model is served and a version of it has the client's label.

    Raises:
        ServingError: The model is not served, or no version has the label.
        RequestError: The server does not answer.
    """
    model, label = client.model, client.label
    if not _is_known(client):
        known = []
        for name in MODELS:  # a server has no call that lists its models
            with Client(name, client.server) as other:
                known += [name] if _is_known(other) else []
        serves = f"it serves {', '.join(known)}" if known else "it serves no model of this project"
        raise ServingError(
            f"The server at {client.server} does not serve {model}{suggest(model, known)}; "
            f"{serves}."
        )
    try:
        client.version()
    except RequestError as error:
        if label and error.code == "INVALID_ARGUMENT":
            how = f"the labels are {STABLE} and {CANARY}."
            if label in (STABLE, CANARY):
                how = f"set it with: inkwell promote {model} VERSION --label {label}"
            raise ServingError(f"No version of {model} has the label {label}; {how}") from None
        if error.code == "NOT_FOUND":
            raise ServingError(
                f"No version of {model} is ready on the server at {client.server}; list the "
                "states with: inkwell models"
            ) from None
        raise


def inputs_of(client: Client, signature: str) -> list[str]:
    """Names of the inputs of a signature, sorted.

    Raises:
        ServingError: As ``check_served``, or the model has no such signature.
        RequestError: The server does not answer.
    """
    check_served(client)
    signatures = client.signatures()
    if signature not in signatures:
        raise ServingError(
            f"The model {client.model} has no signature {signature}"
            f"{suggest(signature, list(signatures))}; it has {', '.join(sorted(signatures))}."
        )
    return signatures[signature]


def _is_known(client: Client) -> bool:
    try:
        client.states()
    except RequestError as error:
        if error.code == "NOT_FOUND":
            return False
        raise
    return True
