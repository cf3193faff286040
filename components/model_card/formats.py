"""Writes a model card as Markdown and as one HTML file that needs no network.

Contract: pure; both formats hold the same words in the same order. Everything from outside is
escaped. Pictures go into the HTML alone, as long as the file stays below ``_PICTURE_BYTES`` more.
"""

from __future__ import annotations

import base64
import re
from html import escape
from pathlib import Path

from components.model_card.content import Card, Grid, Section
from core.artifacts import Picture

_PICTURES, _PICTURE_BYTES = 2, 200_000  # at most so many, and so many bytes in all
_STYLE = Path(__file__).parent / "card.css"
_NUMBER = r"-?[\d.,]+(e-?\d+)?"
_NUMBERS = re.compile(rf"(at most |at least )?{_NUMBER}( to {_NUMBER})?")  # never broken
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def to_markdown(card: Card) -> str:
    """The card as GitHub-flavoured Markdown."""
    lines = [f"# {_markdown(card.title)}", "", _markdown(card.summary), ""]
    if card.pictures:
        lines += ["Pictures are in `model_card.html`, which says the same.", ""]
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
    """The words with everything escaped that Markdown or HTML in it would read as markup."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", " ".join(str(words).split()))


def to_html(card: Card) -> str:
    """The card as a page without script, with the first small pictures."""
    style = _STYLE.read_text(encoding="utf-8")
    overview = "\n".join(map(_block, card.overview))
    body = "\n".join(_section(section) for section in card.sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(card.title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
<h1>{escape(card.title)}</h1>
<p class="lead">{escape(card.summary)}</p>
{overview}
{_pictures(card)}
{body}
</main>
</body>
</html>
"""


def _pictures(card: Card) -> str:
    shown, left = [], _PICTURE_BYTES
    for picture in card.pictures:
        if len(shown) < _PICTURES and len(picture.png) <= left:
            shown.append(_figure(picture))
            left -= len(picture.png)
    return f'<div class="pictures">{"".join(shown)}</div>' if shown else ""


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(picture.title)}">'
        f"<figcaption><strong>{escape(picture.title)}</strong> {escape(picture.caption)}"
        "</figcaption></figure>"
    )


def _section(section: Section) -> str:
    blocks = "\n".join(_block(block) for block in section.blocks)
    return f"<section>\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>"


def _cell(words: str) -> str:
    kind = ' class="n"' if _NUMBERS.fullmatch(words) else ""
    return f"<td{kind}>{escape(words)}</td>"


def _block(block: str | tuple[str, ...] | Grid) -> str:
    if isinstance(block, str):
        return f"<p>{escape(block)}</p>"
    if isinstance(block, tuple):
        return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in block) + "</ul>"
    title = escape(block.title) or "Table"
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in block.columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(map(_cell, row[1:])) + "</tr>"
        for row in block.rows
    )
    return (
        (f"<h3>{title}</h3>" if block.title else "")
        + f'<div class="scroll" tabindex="0" role="region" aria-label="{title}"><table>'
        + f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
