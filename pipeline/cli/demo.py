"""The command ``demo``: the playground with the models that are shipped with the project."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import file_errors, leave, tell, user_errors

_PORTS = (8500, 8501, 8502)  # as of inkwell serve
_DEMO = """Opens the playground with small trained models, without training, until Ctrl-C.

Examples:

```
inkwell demo
inkwell demo --no-open
```
"""


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help=_DEMO)(demo)


def demo(
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
    models: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the packed models.")
    ] = None,
) -> None:
    with user_errors(), file_errors():
        from serving.demo import demo as demo_until_told
        from serving.packed import DEMO_MODELS

        try:
            code = demo_until_told(models or DEMO_MODELS, _PORTS, not no_open, tell)
        except KeyboardInterrupt:  # before the server starts; later it is how a demo ends
            code = 0
    leave(code)
