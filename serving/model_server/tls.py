"""TLS of both fronts and of the playground: a certificate and its key, in PEM.

Contract: whatever names them is checked before anything is loaded; the key is never written to a
file of ours, and a key with a password is refused rather than asked for.
"""

import dataclasses
import os
import ssl
from pathlib import Path

import grpc

from serving.errors import ServingError


@dataclasses.dataclass(frozen=True)
class Tls:
    """What a server identifies itself with, each in PEM."""

    key: bytes = dataclasses.field(repr=False)
    certificate: bytes
    authority: bytes | None = None  # whose certificates clients may show
    verifies_clients: bool = False  # clients must show one

    def credentials(self) -> grpc.ServerCredentials:
        """For gRPC."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)], self.authority, self.verifies_clients
        )

    def context(self) -> ssl.SSLContext:
        """For HTTP.

        Raises:
            ssl.SSLError: A part is not PEM, or the key is not the certificate's.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever the machine's OpenSSL allows
        context.set_alpn_protocols(["http/1.1"])
        if self.authority:
            context.load_verify_locations(cadata=self.authority.decode("ascii", "replace"))
        if self.verifies_clients:
            context.verify_mode = ssl.CERT_REQUIRED
        memory = os.memfd_create("tls")  # OpenSSL reads keys from files alone
        try:
            os.write(memory, self.certificate + b"\n" + self.key)
            context.load_cert_chain(f"/proc/self/fd/{memory}", password="")
        finally:
            os.close(memory)
        return context


def read_tls(certificate: Path, key: Path) -> Tls:
    """The pair of ``--tls-cert`` and ``--tls-key``.

    Raises:
        ServingError: A file cannot be read, or the pair cannot be used.
    """
    contents = []
    for what, path in (("certificate", certificate), ("key", key)):
        try:
            contents.append(path.read_bytes())
        except OSError as error:
            raise ServingError(f"The {what} {path} cannot be read ({error.strerror}).") from None
    return checked(Tls(contents[1], contents[0]), f"{certificate} and {key}")


def checked(tls: Tls, source: str) -> Tls:
    """The same; raises ``ServingError`` if OpenSSL cannot use it."""
    try:
        if tls.verifies_clients and not tls.authority:
            raise ServingError(
                f"{source}: client_verify needs custom_ca, the authority of clients."
            )
        tls.context()
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise ServingError(
            f"{source} cannot be used for TLS ({why}); give a certificate and its key without a "
            "password, both in PEM."
        ) from None
    return tls
