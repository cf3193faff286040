"""How HTML pages are written: by Jinja2 templates that escape whatever they are given.

Contract: a name that a template uses and nobody gave it is an error.
"""

from __future__ import annotations

import base64
from pathlib import Path

import jinja2


def page_environment(folder: Path) -> jinja2.Environment:
    """Loads the templates of ``folder``."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["data_uri"] = data_uri
    return environment


def data_uri(content: bytes | str, kind: str = "image/png") -> str:
    """An address that holds the content itself."""
    raw = content.encode() if isinstance(content, str) else content
    return f"data:{kind};base64," + base64.b64encode(raw).decode("ascii")
