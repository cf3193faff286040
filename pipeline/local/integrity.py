"""Whether the artifacts of earlier runs are still those that their nodes wrote.

Contract: ``Ledger`` keeps the digests of the files of every artifact that a run finished, in one
file beside the metadata; paths are those of the metadata. Reading 200 MB takes half a second.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from core.artifacts import read_json
from core.files import difference, digests, write_whole

LEDGER_FILE = "artifacts.json"


class Ledger:
    """Digests of the files of each artifact, by its path below the directory of a profile."""

    def __init__(self, profile_dir: Path):
        """A ledger that is missing or cannot be read is empty."""
        self._folder, self._file = profile_dir, profile_dir / LEDGER_FILE
        try:
            found = read_json(self._file)
        except (OSError, ValueError):
            found = None
        self._known: dict[str, dict[str, str]] = found if isinstance(found, dict) else {}

    def __contains__(self, uri: str) -> bool:
        return uri in self._known

    def record(self, uris: Iterable[str]) -> None:
        """Keeps the digests that the artifacts have now.

        Raises:
            OSError: An artifact cannot be read, or the ledger not written.
        """
        self._known |= {uri: digests(self._folder / uri) for uri in uris}
        write_whole(self._file, json.dumps(self._known, indent=1))

    def damaged(self) -> dict[str, str]:
        """The artifacts that are no longer as they were recorded, each with what differs.

        One that was deleted is not among them, as TFX notices that by itself.
        """
        found = {}
        for uri, expected in self._known.items():
            if (self._folder / uri).is_dir() and (words := self._damage(uri, expected)):
                found[uri] = words
        return found

    def forget(self, uris: Iterable[str]) -> None:
        """Drops what was recorded of artifacts.

        Raises:
            OSError: The ledger cannot be written.
        """
        for uri in uris:
            del self._known[uri]
        write_whole(self._file, json.dumps(self._known, indent=1))

    def _damage(self, uri: str, expected: dict[str, str]) -> str:
        try:
            return difference(expected, digests(self._folder / uri))
        except OSError as error:
            return f"{error.filename} cannot be read ({error.strerror})"
