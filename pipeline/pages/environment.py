"""The templates of this folder, in the style of the report."""

from pathlib import Path

import jinja2
from markupsafe import Markup

from components.pages import page_environment, report_style
from core.wording import setting

_HERE = Path(__file__).parent


def environment() -> jinja2.Environment:
    """The templates; each extends ``page.html.jinja``."""
    found = page_environment(_HERE)
    found.globals["style"] = report_style() + Markup(_text("page.css") + graph_style())  # noqa: S704 - our own files
    found.filters["setting"] = setting
    return found


def graph_style() -> str:
    """The style of a graph, in a page and alone."""
    return _text("graph.css")


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
