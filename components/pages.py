"""HTML pages from Jinja2 templates, which escape all values.

Contract: a name that a template uses but does not get is an error.
"""

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
    """A data URI of the content."""
    raw = content.encode() if isinstance(content, str) else content
    return f"data:{kind};base64," + base64.b64encode(raw).decode("ascii")
