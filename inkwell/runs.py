"""Runs as Python objects: start one, list them, read their metrics, compare two.

    import inkwell
    run = inkwell.run("smoke", settings={"gan.epochs": 2})
    run.metrics["gan"]["fd_over_floor"].value

Contract: a run is that of ``inkwell run``, in a process of its own, so that it leaves this one as
it was. What is known of a run is what ``inkwell show`` tells.
"""

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.wording import with_interval
from pipeline.local import history
from pipeline.profiles import DEFAULT_PROFILE
from pipeline.results import load_results

_OUTPUT = "outputs"
_SHOWN = 3  # metrics of each model in a notebook


class Run(history.Run):
    """One run: ``result`` (nodes, models, gates), ``settings``, ``origin``, ``data``, ``metrics``.

    ``metrics`` holds a ``Metric`` with value, 95 % interval and reference by model and name.
    """

    @property
    def id(self) -> str:
        """As ``inkwell show`` takes it."""
        return self.result.run_id

    @property
    def verdict(self) -> str:
        """How it ended, in a word or two: pushed, not approved, crashed, stopped, interrupted."""
        return self.result.verdict

    @property
    def report(self) -> Path | None:
        """Its page; None if it ended before that was written."""
        return Path(self.result.report) if self.result.report else None

    def diff(self, other: "Run") -> history.Difference:
        """What differs between this run and ``other``: settings, data, code, verdicts, metrics."""
        return history.compare(self, other)

    def __repr__(self) -> str:
        return f"<run {self.id}, profile {self.result.profile}: {self.verdict}>"

    def _repr_html_(self) -> str:
        """For a notebook: a row for each model, with its verdict and its first metrics."""
        rows = ""
        for model in self.result.models:
            measured = [*self.metrics.get(model.name, {}).values()][:_SHOWN]
            words = [f"{m.title}: {with_interval(m.value, m.interval)}" for m in measured]
            state = "pushed" if model.pushed else "not pushed"
            cells = (model.name, state, *words, *[""] * (_SHOWN - len(words)))
            rows += f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"
        return f"<p>{html.escape(repr(self)[1:-1])}</p><table>{rows}</table>"


def run(
    profile: str = DEFAULT_PROFILE,
    *,
    data: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    output: str | Path = _OUTPUT,
    from_node: str | None = None,
    quiet: bool = False,
) -> Run:
    """Runs the pipeline and waits for its end, whatever it is.

    Args:
        profile: quick, full or smoke.
        data: Directory of images and labels; None takes MNIST.
        settings: Values by dotted key, as ``--set`` takes them: ``{"gan.epochs": 12}``.
        output: Where runs keep their files.
        from_node: This node and all after it run even if cached.
        quiet: Whether not to print what the run says.

    Raises:
        InputError: A setting, the data or a directory is wrong, or another run uses ``output``.
    """
    from pipeline.config import check_gates, load_config, run_arguments
    from pipeline.local import detached
    from pipeline.plan import check_node

    given = {**(settings or {}), "output_dir": str(output)}
    overrides = [f"{key}={json.dumps(value)}" for key, value in given.items()]
    source = None if data is None else str(data)
    config = load_config(profile, source, overrides)
    check_gates(config)
    if from_node is not None:
        check_node(from_node)
    run_id = detached.start(config, run_arguments(profile, None, source, overrides, from_node))
    for piece in detached.follow(detached.find(Path(output), run_id)):
        if not quiet:
            print(piece, end="")
    return find(run_id, output)


def runs(output: str | Path = _OUTPUT) -> list[Run]:
    """All runs in ``output``, the newest last; a record that is torn is skipped with a warning."""
    folder = Path(output)
    records = (folder / r.profile / "runs" / f"{r.run_id}.json" for r in load_results(folder))
    return [Run(**vars(history.read(record))) for record in records]


def find(name: str = history.NEWEST, output: str | Path = _OUTPUT) -> Run:
    """The run of that id, or of the id that begins so, or the newest.

    Raises:
        InputError: There is none, or more than one.
    """
    return Run(**vars(history.find(Path(output), name)))
