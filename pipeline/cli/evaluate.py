"""The command ``inkwell evaluate``: measures trained models again, outside the pipeline.

Contract: as ``pipeline.cli.main``: heavy imports inside the command; exit codes 0 all approved, 1 a
crash, 2 the user's mistake, 3 a model was not approved, 130 interrupted.
"""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import (
    OUTPUT,
    PROFILE_NAMES,
    ConfigFile,
    Output,
    Overrides,
    Quiet,
    complain,
    console,
    leave,
    model_names,
    run_ids,
    user_errors,
)

_EVALUATE = """Evaluates the newest trained models again. Does not change what is served.

Compares each model with the champion, as the pipeline does. The last line names the folder with
metrics.json and the plots.

Examples:

```
inkwell evaluate
inkwell evaluate gan --deep
inkwell evaluate diffusion --set evaluator.generate_steps=50
inkwell evaluate --config my.yaml
inkwell evaluate --run 20261124-210011 --profile full
```
"""


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help=_EVALUATE)(evaluate)


def evaluate(
    model: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="autoencoder, diffusion or gan; all by default.",
            autocompletion=model_names,
        ),
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also run measurements that take minutes.")
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar=PROFILE_NAMES, help="Settings and gates; by default those of the run."
        ),
    ] = None,
    config_file: ConfigFile = None,
    set_: Overrides = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="Run of the models, or the beginning of its id; the newest by default.",
            autocompletion=run_ids,
        ),
    ] = None,
    output: Output = OUTPUT,
    to: Annotated[
        Path | None,
        typer.Option("--to", "-o", metavar="DIR", help="Directory for metrics and plots."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    with user_errors():
        from pipeline.local import evaluations
        from pipeline.results import CRASHED, INTERRUPTED, NOT_APPROVED, OK

        overrides = [*(set_ or []), *(["evaluator.deep=true"] if deep else [])]
        try:
            screen = console()
            found = evaluations.evaluate_and_show(
                model or [], profile, config_file, overrides, run, output, to, screen, quiet
            )
        except evaluations.EvaluationFailed as error:
            complain(error)
            leave(CRASHED)
        except KeyboardInterrupt:
            complain("Interrupted; nothing was changed.")
            leave(INTERRUPTED)
    leave(OK if all(evaluation.blessed for evaluation in found) else NOT_APPROVED)
