"""Signatures of pushed versions: that the team made a version, and no file has changed since.

Contract: ``assets.extra/manifest.json`` of a version names its model, its number and the SHA-256 of
every other file; ``manifest.sig`` next to it is the Ed25519 signature of that file. A version that
was changed, moved to another number or put under another model's name has a fault. OpenSSL makes
the keys, and checks a manifest as well:

    openssl genpkey -algorithm ed25519 -out inkwell.key
    openssl pkey -in inkwell.key -pubout -out inkwell.pub
    openssl pkeyutl -verify -pubin -inkey inkwell.pub -rawin -in manifest.json -sigfile manifest.sig
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from core.files import difference, digests
from serving.errors import ServingError
from serving.versions import EXTRA_DIR, extra_file

KEY_VARIABLE = "INKWELL_SIGNING_KEY"  # the private key: the path of its file, or its PEM text
MANIFEST_FILE, SIGNATURE_FILE = "manifest.json", "manifest.sig"
_UNSIGNED = {f"{EXTRA_DIR}/{MANIFEST_FILE}", f"{EXTRA_DIR}/{SIGNATURE_FILE}"}
_PUBLIC = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


def signing_key(variables: Mapping[str, str] = os.environ) -> Ed25519PrivateKey | None:
    """The private key that ``KEY_VARIABLE`` names; None if it is not set.

    Raises:
        ServingError: The file cannot be read, or it holds no Ed25519 key without a password.
    """
    given = variables.get(KEY_VARIABLE, "")
    if not given:
        return None
    is_text = given.lstrip().startswith("-----BEGIN")
    where = f"The text in {KEY_VARIABLE}" if is_text else f"{given}, named in {KEY_VARIABLE},"
    try:
        key = load_pem_private_key(given.encode() if is_text else Path(given).read_bytes(), None)
    except OSError as error:
        raise ServingError(f"{where} cannot be read ({error.strerror}).") from None
    except (ValueError, TypeError):  # no PEM text, or one with a password
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ServingError(
            f"{where} is no Ed25519 key without a password; make one with: "
            "openssl genpkey -algorithm ed25519 -out inkwell.key"
        )
    return key


def public_keys(path: Path) -> list[Ed25519PublicKey]:
    """The public keys in a PEM file: one, or several while keys are exchanged.

    Raises:
        ServingError: The file cannot be read, or holds no Ed25519 key, or another kind as well.
    """
    try:
        found = _PUBLIC.findall(path.read_bytes())
        keys = [load_pem_public_key(text) for text in found]
    except OSError as error:
        raise ServingError(f"{path} cannot be read ({error.strerror}).") from None
    except ValueError:
        keys = []
    known = [key for key in keys if isinstance(key, Ed25519PublicKey)]
    if not known or len(known) < len(keys):
        raise ServingError(
            f"{path} does not hold Ed25519 public keys alone; write one with: "
            "openssl pkey -in inkwell.key -pubout -out inkwell.pub"
        )
    return known


def sign(folder: Path, model: str, number: int, key: Ed25519PrivateKey) -> None:
    """Adds manifest and signature to the directory of a version whose other files are complete."""
    manifest = {"model": model, "version": number, "files": _files(folder)}
    content = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
    extra_file(folder, MANIFEST_FILE).write_bytes(content)
    extra_file(folder, SIGNATURE_FILE).write_bytes(key.sign(content))


def fault(folder: Path, model: str, number: int, keys: Sequence[Ed25519PublicKey]) -> str:
    """Why a version is not one that the owner of a key made, in words; empty if it is.

    Args:
        folder: Its directory.
        model: Name under which it is served.
        number: Under which it is served.
        keys: One of them must have signed it.
    """
    try:
        content = extra_file(folder, MANIFEST_FILE).read_bytes()
        signature = extra_file(folder, SIGNATURE_FILE).read_bytes()
        found = _files(folder)
        link = next((path for path in folder.rglob("*") if path.is_symlink()), None)
    except FileNotFoundError:
        return "it has no signature"
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror})"
    if not any(_is_signed(content, signature, key) for key in keys):
        return "its signature is not made with a known key"
    manifest = json.loads(content)
    if (manifest["model"], manifest["version"]) != (model, number):
        return f"it was signed as version {manifest['version']} of {manifest['model']}"
    if link is not None:
        return f"{link.relative_to(folder)} is a link"
    what = difference(manifest["files"], found)
    return what and f"{what} since it was signed"


def _files(folder: Path) -> dict[str, str]:
    found = digests(folder)
    return {name: digest for name, digest in found.items() if name not in _UNSIGNED}


def _is_signed(content: bytes, signature: bytes, key: Ed25519PublicKey) -> bool:
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True
