"""Files in a bucket that speaks S3 (s3://bucket/path), such as KFP's own store.

Contract: raises ``OSError``, of which the message is one line. Address and access come from the
variables AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from the
pod's own role; AWS_ALLOW_HTTP=true allows an address without TLS. Needs the extra ``s3`` (obstore).
"""

import contextlib
import datetime
import functools
import posixpath
from collections.abc import Iterator
from typing import Any

from core.config import InputError

SCHEME = "s3://"
_PATIENCE = datetime.timedelta(seconds=30)  # else three minutes


def exists(path: str) -> bool:
    """Whether there is an object of that name."""
    try:
        size(path)
    except FileNotFoundError:
        return False
    return True


def is_dir(path: str) -> bool:
    """Whether there is an object below ``path``."""
    return bool(entries(path))


def entries(folder: str) -> list[tuple[str, bool]]:
    """Name of each object and each folder in ``folder``, and whether it is a folder."""
    bucket, name = _parts(folder)
    obstore = _obstore()
    with _told():
        found = obstore.list_with_delimiter(_store(bucket), name or None)
    names = [(posixpath.basename(prefix), True) for prefix in found["common_prefixes"]]
    return names + [(posixpath.basename(each["path"]), False) for each in found["objects"]]


def size(path: str) -> int:
    """Bytes of an object."""
    bucket, name = _parts(path)
    obstore = _obstore()
    with _told():
        return obstore.head(_store(bucket), name)["size"]


def read(path: str) -> bytes:
    """The whole object."""
    bucket, name = _parts(path)
    obstore = _obstore()
    with _told():
        return bytes(obstore.get(_store(bucket), name).bytes())


def pieces(path: str, size: int) -> Iterator[bytes]:
    """The object in pieces of about ``size`` bytes."""
    bucket, name = _parts(path)
    obstore = _obstore()
    with _told():
        for piece in obstore.get(_store(bucket), name).stream(min_chunk_size=size):
            yield bytes(piece)


def _parts(path: str) -> tuple[str, str]:
    """Bucket and name of an object."""
    bucket, _, name = path.removeprefix(SCHEME).partition("/")
    return bucket, name.strip("/")


@functools.cache
def _store(bucket: str) -> Any:
    from obstore.store import S3Store  # pyrefly: ignore[missing-import]

    retries = {"max_retries": 4, "retry_timeout": _PATIENCE}
    return S3Store(bucket, retry_config=retries)


def _obstore() -> Any:
    try:
        import obstore  # pyrefly: ignore[missing-import]
    except ImportError:
        raise InputError(
            "Data at s3:// needs the package obstore; install it with: pip install 'inkwell[s3]'"
        ) from None
    return obstore


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Errors of obstore as ``OSError``; what the server says is on the first line."""
    from obstore.exceptions import BaseError  # pyrefly: ignore[missing-import]

    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(_first_line(error)) from None
    except BaseError as error:
        raise OSError(_first_line(error)) from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    # What follows a colon there is the server's answer, in XML.
    return lines[0].partition(": <?xml")[0].strip(": ") if lines else type(error).__name__
