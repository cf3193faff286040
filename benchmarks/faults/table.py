"""The table of accidents, read from ``accidents.yaml``; in Markdown for docs/reliability.md."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.config import InputError, from_dict, require
from pipeline.config import read_yaml
from pipeline.plan import NODES

FILE = Path(__file__).with_name("accidents.yaml")
ENDS = {  # how the first command ends, and its exit codes
    "done": (0,),
    "refused": (2,),
    "stopped": (2,),
    "failed": (1,),
    "interrupted": (130,),
    "killed": (-9,),
}
_EVERY_NODE = "every node"
_WORDS = {
    "done": "goes on to the end",
    "refused": "ends with one sentence (exit code 2)",
    "stopped": "ends at a node with one sentence (exit code 2)",
    "failed": "ends with one sentence (exit code 1)",
    "interrupted": "ends, recorded as interrupted (exit code 130)",
    "killed": "is gone",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One kind of accident: an entry of the file."""

    kind: str  # heading that it belongs to
    what: str  # is done, in words
    do: str  # the injector
    to: tuple[str, ...] = ("",)  # what the injector is told, one accident each
    times: int = 1  # with different chance
    first: str = "done"  # how the command ends that meets the accident: a key of ENDS
    says: str = ""  # what that command must say
    within: float = 0.0  # seconds it may take; 0: any
    remedy: str = ""  # command that the sentence names, before the same command is run again
    quick: tuple[str, ...] = ()  # those of ``to`` that the short part does once
    mounts: bool = False  # whether it mounts file systems

    def __post_init__(self):
        require(self.first in ENDS, f"{self.what}: first is not one of {', '.join(ENDS)}.")
        require(set(self.quick) <= set(self.to), f"{self.what}: quick names what to does not.")

    def markdown(self) -> list[str]:
        """Its line in the documentation."""
        number = len(self.to) * self.times
        follows = f", then `{self.remedy}`" if self.remedy else ""
        return [self.kind, self.what, str(number), f"{_WORDS[self.first]}{follows}"]


@dataclasses.dataclass(frozen=True)
class Accident:
    """One accident of a row."""

    row: Row
    to: str
    seed: int

    @property
    def title(self) -> str:
        """In a line."""
        return ": ".join(filter(None, (self.row.what, self.to)))


def read_table(path: Path = FILE) -> list[Row]:
    """All rows.

    Raises:
        InputError: The file cannot be read, or a row is malformed.
    """
    rows = [_row(kind, entry) for kind, all_ in read_yaml(path).items() for entry in all_]
    names = [row.what for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, f"{path}: these accidents are there twice: {', '.join(twice)}.")
    return rows


def _row(kind: str, entry: Any) -> Row:
    if not isinstance(entry, dict):
        raise InputError(f"{FILE}: {entry} under {kind} is no accident.")
    if entry.get("to") == _EVERY_NODE:
        entry = {**entry, "to": list(NODES)}
    return from_dict(Row, {"kind": kind, **entry}, source=str(entry.get("what", kind)))


def accidents(rows: Sequence[Row], seed: int, is_quick: bool = False) -> list[Accident]:
    """All accidents of the rows, or those of the short part."""
    found = []
    for row in rows:
        targets = row.quick if is_quick else row.to
        times = 1 if is_quick else row.times
        found += [Accident(row, to, n) for n, to in itertools.product(range(times), targets)]
    return [dataclasses.replace(one, seed=seed * 1000 + i) for i, one in enumerate(found)]


def markdown(rows: Sequence[Row]) -> str:
    """The table of the documentation, one line per row, the number of all last."""
    lines = [["kind", "accident", "times", "the command that meets it"]]
    lines += [row.markdown() for row in rows]
    total = sum(len(row.to) * row.times for row in rows)
    lines.append(["all", "", str(total), ""])
    rule = ["---", "---", "---:", "---"]
    return "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], rule, *lines[1:]))
