"""Writes the notebooks as pages of the documents, with the output of the run that was just made.

    python -m benchmarks.notebook_pages      after the notebooks ran; `make notebooks` does both

Contract: each executed ``notebooks/*.ipynb`` becomes ``docs/notebooks/<name>.md``, text and code as
they are, printed text and values below the code, pictures as PNG files next to the page. Pages of
notebooks that no longer exist are removed.
"""

import base64
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.command import mistakes_exit
from core.config import require
from core.files import write_whole

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "notebooks"


@mistakes_exit("notebook_pages")
def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    found = sorted((ROOT / "notebooks").glob("*.ipynb"))
    require(bool(found), "There is no executed notebook in notebooks/; run: make notebooks")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    for path in found:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        page = "\n\n".join(part for cell in cells for part in _parts(cell, path.stem))
        write_whole(FOLDER / f"{path.stem}.md", page + "\n")
        print(f"{FOLDER / path.stem}.md")
    return 0


def _parts(cell: Mapping[str, Any], name: str) -> Iterator[str]:
    """A cell as Markdown: its text, or its code and what the code showed."""
    source = "".join(cell["source"]).strip()
    if cell["cell_type"] == "markdown":
        yield source
    elif cell["cell_type"] == "code" and source:
        yield f"```python\n{source}\n```"
        for printed, outputs in itertools.groupby(cell["outputs"], lambda o: o.get("name")):
            if printed == "stdout":
                yield _block("".join("".join(output["text"]) for output in outputs))
            elif printed is None:
                yield from (_value(output["data"], name) for output in outputs)


def _value(data: Mapping[str, Any], name: str) -> str:
    """What a cell showed: its picture, else its text."""
    if "image/png" not in data:
        return _block("".join(data["text/plain"]))
    number = len(list(FOLDER.glob(f"{name}-*.png"))) + 1
    picture = FOLDER / f"{name}-{number}.png"
    picture.write_bytes(base64.b64decode(data["image/png"]))
    return f"![Output {number}]({picture.name})"


def _block(text: str) -> str:
    return f"```text\n{text.strip()}\n```"


if __name__ == "__main__":
    raise SystemExit(main())
