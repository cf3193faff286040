"""The command ``inkwell evaluate``: measures trained models again, outside the pipeline.

Contract: as ``pipeline.cli.main``: heavy imports inside the command; exit codes 0 all approved, 1 a
crash, 2 the user's mistake, 3 a model was not approved, 130 interrupted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import PROFILE_NAMES, complain, console, leave, user_errors

_EVALUATE = """Evaluates the newest trained models again; changes nothing that is served.

Each is compared with the champion, as the pipeline's nodes do it. The folder that is named at the
end holds metrics.json and the pictures of every model.

Examples:

```
inkwell evaluate
inkwell evaluate gan --deep
inkwell evaluate diffusion --set evaluator.generate_steps=50
inkwell evaluate --run 20261124-210011 --profile full
```
"""


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help=_EVALUATE)(evaluate)


def evaluate(
    model: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="autoencoder, diffusion, gan; all if none."),
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also measure what takes minutes more.")
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar=PROFILE_NAMES, help="Settings and gates; those of the run if not given."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; may be repeated."),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN_ID", help="Models of this run; the newest of each."),
    ] = None,
    output: Annotated[str, typer.Option(metavar="DIR", help="Where runs keep their files.")] = (
        "outputs"
    ),
    to: Annotated[
        Path | None,
        typer.Option("--to", "-o", metavar="DIR", help="Where metrics and pictures go."),
    ] = None,
) -> None:
    with user_errors():
        import json

        from core.config import InputError
        from pipeline.config import load_config
        from pipeline.local import evaluations
        from pipeline.local.failures import explain
        from pipeline.local.workspace import absolute, make_directory
        from pipeline.results import CRASHED, INTERRUPTED, NOT_APPROVED, OK
        from pipeline.terminal import tables
        from pipeline.terminal.screen import say

        overrides = [*(set_ or []), f"output_dir={json.dumps(output)}"]
        if deep:
            overrides.append("evaluator.deep=true")
        if profile is not None:
            load_config(profile, None, overrides)  # a wrong setting is told first
        runs = evaluations.choose_runs(Path(output), profile, run)
        config = absolute(load_config(profile or runs[0].profile, None, overrides))
        candidates = evaluations.find_candidates(Path(config.output_dir), runs, model or [])
        folder = (to or evaluations.new_folder(config)).absolute()
        make_directory(folder)
        names = ", ".join(f"{c.model} of run {c.run_id}" for c in candidates)
        screen = console()
        say(screen, f"Profile {config.profile}: {names}.")
        try:
            found = evaluations.evaluate_candidates(candidates, config, folder)
        except InputError:
            raise
        except KeyboardInterrupt:
            complain("Interrupted; nothing was changed.")
            leave(INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - the edge: one sentence, and the log has the rest
            log = folder / "evaluate.log"
            complain(f"{explain(error)[1]}; the log is {log}")
            leave(CRASHED)
        for evaluation, candidate in zip(found, candidates, strict=True):
            screen.print(tables.figure_table(evaluation))
            for sentence in tables.missing_sentences(evaluation):
                say(screen, f"Missing: {sentence}")
            if evaluation.gates:
                screen.print(tables.gate_table(evaluations.model_result(evaluation)))
            sentence = evaluations.end_sentence(evaluation, candidate, config.serving_dir)
            say(screen, sentence)
        say(screen, str(folder))
    leave(OK if all(evaluation.blessed for evaluation in found) else NOT_APPROVED)
