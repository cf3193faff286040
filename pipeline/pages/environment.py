"""The templates of this folder, in the style of the report."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from markupsafe import Markup

from components.pages import page_environment, report_style
from core.wording import setting

_HERE = Path(__file__).parent


def render(template: str, filters: Mapping[str, Any] = MappingProxyType({}), **values: Any) -> str:
    """The page of a template, which extends ``page.html.jinja``.

    Args:
        template: Name of its file.
        filters: Of its own, by name.
        values: By name.
    """
    environment = page_environment(_HERE)
    environment.filters |= {"setting": setting, **filters}
    own = Markup(_text("page.css") + graph_style())  # noqa: S704 - our own files
    return environment.get_template(template).render(style=report_style() + own, **values)


def graph_style() -> str:
    """The style of a graph, in a page and alone."""
    return _text("graph.css")


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
