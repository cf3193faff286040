"""YAML that every reader of a compiled package takes for the same values.

PyYAML writes YAML 1.1 and leaves a text such as 1e3, 0o17, 09 or 2026-1-2 without quotes, as it is
none of its numbers. Go's yaml.v3, with which KFP's API server reads, and readers of YAML 1.2 take
it for a number or a date. Contract: a text is quoted if any of them could take it for something
else.
"""

import re
from collections.abc import Sequence
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Quotes more texts than PyYAML does."""


# Whatever begins as a number, and the short forms of yes and no. PyYAML quotes a text that it would
# read as another type, and finds that type in the order in which these rules are added.
_Dumper.add_implicit_resolver("!number", re.compile(r"[-+.]*[0-9]"), list("-+.0123456789"))
_Dumper.add_implicit_resolver("!bool", re.compile(r"[yYnN]$"), list("yYnN"))


def to_yaml(documents: Sequence[Any]) -> str:
    """The documents as one text; lines are folded at 100 columns where they can be."""
    return yaml.dump_all(documents, Dumper=_Dumper, width=100)
