"""HTML pages from Jinja2 templates, which escape all values.

Contract: a name that a template uses but does not get is an error. What would change the order of
the text, or act otherwise without being seen, is shown.
"""

import base64
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from core.foreign import shown


def page_environment(folder: Path) -> jinja2.Environment:
    """Loads the templates of ``folder``."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
    )
    environment.filters["data_uri"] = data_uri
    return environment


def report_style() -> Markup:
    """The report's style sheet, for other pages that look like it."""
    css = (Path(__file__).parent / "report" / "report.css").read_text(encoding="utf-8")
    return Markup(css)  # noqa: S704 - our own file


def data_uri(content: bytes | str, kind: str = "image/png") -> str:
    """A data URI of the content."""
    raw = content.encode() if isinstance(content, str) else content
    return f"data:{kind};base64," + base64.b64encode(raw).decode("ascii")


def _visible(value: Any) -> Any:
    """Text as it may be on a page; a part that is HTML already stays as it is."""
    return shown(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
