"""The commands about past runs: runs, show, diff, lineage, gc.

Contract: as ``pipeline.cli.main``: heavy imports inside the commands; a mistake is one sentence and
exit code 2. With ``--json`` standard output is one JSON value and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.common import (
    OUTPUT,
    SERVING,
    Json,
    Open,
    Output,
    Page,
    Serving,
    console,
    leave,
    model_names,
    print_json,
    run_ids,
    tell,
    user_errors,
    write_page,
)

if TYPE_CHECKING:
    from pipeline.local.history import Run
    from pipeline.local.overview import Listed
    from pipeline.results import RunResult

RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Its id, the beginning of it, or newest.", autocompletion=run_ids
    ),
]
_RUNS = """Lists the runs, the newest last, or writes a page with their metrics.

Examples:

```
inkwell runs
inkwell runs -o runs.html
inkwell runs --json
```
"""
_SHOW = """Shows a run: its nodes, models, metrics and files.

Examples:

```
inkwell show newest
inkwell show 20261127-08 --metrics
inkwell show 20261127-08 --json
```
"""
_DIFF = """Compares two runs: settings, data, code, verdicts and metrics.

Examples:

```
inkwell diff 20261127-082957 newest
inkwell diff 20261126 20261127 --json
```
"""
_LINEAGE = """Shows where a pushed version comes from: commit, data, settings, packages, artifacts.

Examples:

```
inkwell lineage gan
inkwell lineage gan -o lineage.html
inkwell lineage gan@1795769075 --json
inkwell lineage autoencoder@newest --serving outputs/try/models
```
"""
_TENSORBOARD = """Opens TensorBoard: losses, samples and settings of all runs, live ones too.

Examples:

```
inkwell tensorboard
inkwell tensorboard --port 6007 --output outputs/try
```
"""
_GC = """Lists artifacts of past runs that nothing needs any more, and removes them with --delete.

An artifact stays if one of the newest runs, the newest result of its node or a pushed version needs
it. Records, logs, metrics and reports stay.

Examples:

```
inkwell gc
inkwell gc --keep 3
inkwell gc --delete
```
"""


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    for function, text in ((runs, _RUNS), (show, _SHOW), (diff, _DIFF), (lineage, _LINEAGE)):
        app.command(help=text)(function)
    app.command(help=_TENSORBOARD)(tensorboard)
    app.command(help=_GC)(gc)


def runs(
    page: Page = None, open_: Open = False, output: Output = OUTPUT, as_json: Json = False
) -> None:
    with user_errors():
        from pipeline.cli.run_tables import runs_table
        from pipeline.local.overview import list_runs
        from pipeline.local.workspace import spelled_out
        from pipeline.terminal.screen import say

        found = list_runs(_existing(output))
        if as_json:
            print_json([_listed(one) for one in found])
        elif page or open_:
            from pipeline.pages.runs import runs_page

            path = page or Path(output) / "runs.html"
            write_page(path, runs_page(found, path.parent), open_)
        elif found:
            console().print(runs_table([one.result for one in found]))
        else:
            where = spelled_out(output)
            say(console(), f"There are no runs in {where} yet; start one with: inkwell run")


def show(
    run: RunName,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Every metric, not those of the gates alone.")
    ] = False,
    output: Output = OUTPUT,
    as_json: Json = False,
) -> None:
    with user_errors():
        from pipeline.cli import run_tables as tables
        from pipeline.terminal.screen import say
        from pipeline.terminal.tables import (
            end_sentence,
            gate_table,
            model_sentence,
            node_table,
        )

        found = _find(output, run)
        if as_json:
            print_json(_everything(found))
            return
        screen, result = console(), found.result
        screen.print(node_table(result.nodes, result.seconds))
        screen.print()
        for model in result.models:
            if metrics and found.metrics[model.name]:
                screen.print(tables.metrics_table(model.name, found.metrics[model.name]))
                screen.print()
            elif model.gates:
                screen.print(gate_table(model))
                screen.print()
        screen.print(tables.run_facts(found))
        screen.print()
        for judged in (model for model in result.models if model.blessed is not None):
            say(screen, model_sentence(judged))
        say(screen, end_sentence(result))


def diff(
    run_a: Annotated[
        str,
        typer.Argument(
            metavar="RUN_A", help="Its id, the beginning of it, or newest.", autocompletion=run_ids
        ),
    ],
    run_b: Annotated[
        str, typer.Argument(metavar="RUN_B", help="The other run.", autocompletion=run_ids)
    ],
    output: Output = OUTPUT,
    as_json: Json = False,
) -> None:
    with user_errors():
        from pipeline.cli.run_tables import difference_tables
        from pipeline.local import history

        found = history.compare(_find(output, run_a), _find(output, run_b))
        if as_json:
            print_json(_comparison(found))
        else:
            show_all(difference_tables(found))


def lineage(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL[@VERSION]",
            help="A model; its version by number or label, or newest. By default, the one served.",
            autocompletion=model_names,
        ),
    ],
    page: Annotated[
        Path | None,
        typer.Option(
            "--page", "-o", metavar="FILE", help="Write it as a page, or draw it to a .svg file."
        ),
    ] = None,
    open_: Open = False,
    serving: Serving = SERVING,
    output: Output = OUTPUT,
    as_json: Json = False,
) -> None:
    with user_errors():
        import dataclasses

        from pipeline.cli.run_tables import origin_tables
        from pipeline.local.lineage import trace
        from pipeline.local.workspace import check_exists

        check_exists(serving, SERVING, "the one of the pushed versions with --serving")
        origin = trace(name, serving, Path(output))
        if as_json:
            print_json(dataclasses.asdict(origin))
        elif page or open_:
            from pipeline.pages.lineage import lineage_graph, lineage_page

            path = page or Path(output) / "lineage.html"
            if path.suffix == ".svg":
                content = lineage_graph(origin, path.parent, alone=True)
            else:
                content = lineage_page(origin, path.parent)
            write_page(path, content, open_)
        else:
            show_all(origin_tables(origin))


def tensorboard(
    output: Output = OUTPUT,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port of the page; 0 for any.")
    ] = 6006,
) -> None:
    with user_errors():
        from pipeline.local.tensorboard import serve

        code = serve(_existing(output), port, tell)
    leave(code)


def gc(
    output: Output = OUTPUT,
    serving: Serving = SERVING,
    keep: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Newest runs of each profile that stay whole."),
    ] = 1,
    delete: Annotated[
        bool, typer.Option("--delete", "--yes", help="Remove them instead of listing them.")
    ] = False,
    as_json: Json = False,
) -> None:
    with user_errors():
        from core.config import InputError
        from pipeline.cli.run_tables import garbage_table, size
        from pipeline.local.garbage import collect
        from pipeline.local.workspace import check_exists, check_ours
        from pipeline.terminal.screen import say

        check_exists(output, "", "the one of the runs with --output")
        check_exists(serving, SERVING, "the one of the pushed versions with --serving")
        check_ours(Path(output), "--output")
        try:
            found = collect(Path(output), _serving_dirs(output, serving), keep, delete)
        except OSError as error:
            raise InputError(
                f"{error.filename} cannot be removed ({error.strerror}); what is left goes with "
                "the next inkwell gc --delete."
            ) from None
        if as_json:
            rows = [{"path": one.path, "bytes": one.size} for one in found]
            print_json({"deleted": delete, "artifacts": rows})
            return
        screen, total = console(), sum(one.size for one in found)
        if not found:
            say(screen, f"Every artifact in {output} is needed; nothing to remove.")
            return
        screen.print(garbage_table(found))
        told = f"{len(found)} artifact{'s' * (len(found) > 1)}, {size(total)}"
        if delete:
            say(screen, f"Removed {told}.")
        else:
            say(screen, f"Nothing needs these {told}; remove them with: inkwell gc --delete")


def _serving_dirs(output: str, serving: Path) -> list[Path]:
    """The directory that was named, and those that past runs pushed to."""
    from pipeline.local.history import settings_of

    pushed_to = {
        settings_of(path).get("serving_dir") for path in Path(output).glob("*/runs/*.json")
    }
    return [serving, *(Path(place) for place in pushed_to if place and "://" not in place)]


def load(output: str) -> list[RunResult]:
    """The records in ``output``, oldest first."""
    from pipeline.results import load_results

    return load_results(_existing(output))


def _existing(output: str) -> Path:
    """The directory of the runs; raises ``InputError`` if it was named and is not there."""
    from pipeline.local.workspace import check_exists

    check_exists(output, OUTPUT, "the one of the runs with --output")
    return Path(output)


def show_all(parts) -> None:
    """Prints tables and sentences with blank lines between them."""
    from pipeline.terminal.screen import say

    screen = console()
    for i, part in enumerate(parts):
        if i:
            screen.print()
        if isinstance(part, str):
            say(screen, part)
        else:
            screen.print(part)


def _find(output: str, name: str) -> Run:
    from pipeline.local.history import find

    return find(_existing(output), name)


def _listed(one: Listed) -> dict[str, Any]:
    record, changed = _record(one.result), one.changed
    for model in one.result.models:
        record["models"][model.name]["gates"] = [
            {
                "metric": gate.metric or None,
                "title": gate.title,
                "value": gate.value,
                "interval": gate.interval,
                "threshold": gate.threshold,
                "passed": gate.passed,
            }
            for gate in model.gates
        ]
    return {**record, "settings_changed": changed}


def _record(result: RunResult) -> dict[str, Any]:
    return {
        "run_id": result.run_id,
        "profile": result.profile,
        "started": result.started,
        "seconds": result.seconds,
        "end": result.verdict,
        "exit_code": result.exit_code,
        "models": {
            model.name: {
                "approved": model.blessed,
                "pushed": bool(model.pushed),
                "version": model.version or None,
            }
            for model in result.models
        },
        "report": result.report,
        "log": result.log,
    }


def _everything(run: Run) -> dict[str, Any]:
    import dataclasses

    return {
        **_record(run.result),
        "nodes": [dataclasses.asdict(node) for node in run.result.nodes],
        "failure": run.result.failure and dataclasses.asdict(run.result.failure),
        "data": run.data or None,
        **{"commit": None, "packages": None, **run.origin},
        "settings": run.settings,
        "metrics": {
            model: {name: dataclasses.asdict(metric) for name, metric in metrics.items()}
            for model, metrics in run.metrics.items()
        },
        "record": run.record,
    }


def _comparison(found) -> dict[str, Any]:
    import dataclasses

    changes: dict[str, dict[str, Any]] = {}
    for change in found.changes:
        sides = [metric and dataclasses.asdict(metric) for metric in change.metrics]
        entry = {"change": change.verdict or None, "runs": sides}
        changes.setdefault(change.model, {})[change.either.name] = entry
    return {
        "runs": [run.result.run_id for run in found.runs],
        "end": [run.result.verdict for run in found.runs],
        "verdicts": found.verdicts,
        "settings": found.settings,
        "data": found.data,
        "code": found.code,
        "metrics": changes,
        "same": found.same,
    }
