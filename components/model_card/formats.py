"""Writes a model card as Markdown and as one HTML file that needs no network.

Contract: pure; both formats hold the same text in the same order. All input is escaped. Only the
HTML has images, of ``_PICTURE_BYTES`` at most, and only the Markdown has a header.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from components.model_card.content import Card, Grid
from components.pages import page_environment
from core.artifacts import Picture
from core.foreign import shown

_HERE = Path(__file__).parent
_PICTURES, _PICTURE_BYTES = 2, 200_000  # limits of their number and total bytes
_NUMBER = r"-?[\d.,]+(e-?\d+)?"
_NUMBERS = re.compile(rf"(at most |at least )?{_NUMBER}( to {_NUMBER})?")  # never broken


def to_markdown(card: Card) -> str:
    """The card as GitHub-flavoured Markdown, below a header in YAML that model hubs read."""
    header = yaml.safe_dump(dict(card.header), sort_keys=False, allow_unicode=True, width=1000)
    lines = ["---", f"{shown(header)}---", ""]
    lines += [f"# {_markdown(card.title)}", "", _markdown(card.summary), ""]
    if card.pictures:
        lines += ["The plots are in `model_card.html`, which has the same text.", ""]
    for block in card.overview:
        lines += [*_markdown_block(block), ""]
    for section in card.sections:
        lines += [f"## {_markdown(section.title)}", ""]
        for block in section.blocks:
            lines += [*_markdown_block(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_block(block: str | tuple[str, ...] | Grid) -> list[str]:
    if isinstance(block, str):
        return [_markdown(block)]
    if isinstance(block, tuple):
        return [f"- {_markdown(item)}" for item in block]
    head = [f"**{_markdown(block.title)}**", ""] if block.title else []
    rows = [block.columns, ["---"] * len(block.columns), *block.rows]
    cells = [[c if i == 1 else _markdown(c) for c in row] for i, row in enumerate(rows)]
    return head + [f"| {' | '.join(row)} |" for row in cells]


def _markdown(words: str) -> str:
    """The text with all characters escaped that Markdown or HTML would read as markup."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", shown(" ".join(str(words).split())))


def to_html(card: Card) -> str:
    """The card as a page without script, with the first small plots."""
    environment = page_environment(_HERE)
    environment.tests["numeric"] = _is_numeric
    return environment.get_template("card.html.jinja").render(
        card=card,
        style=(_HERE / "card.css").read_text(encoding="utf-8"),
        pictures=list(_small(card.pictures)),
    )


def _small(pictures: Sequence[Picture]) -> Iterator[Picture]:
    """The first plots within the limits."""
    taken, left = 0, _PICTURE_BYTES
    for picture in pictures:
        if picture.png and taken < _PICTURES and len(picture.png) <= left:
            taken, left = taken + 1, left - len(picture.png)
            yield picture


def _is_numeric(value: str) -> bool:
    return _NUMBERS.fullmatch(value) is not None
