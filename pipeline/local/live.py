"""The page of a run while it goes on: nodes, time to go, losses and the newest samples.

Contract: ``<output_dir>/<profile>/live.html`` is of the newest run of the profile. It is replaced
whole every few seconds by a thread of the run, and the browser loads it again until the run has
ended; then it points to the report. It needs no server and no network. A page that cannot be
written is a warning: it is no reason for a run to end.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import functools
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from components.pages import page_environment, report_style
from components.report.charts import line_chart
from core.artifacts import SAMPLES_DIR, read_bytes, step_title
from core.files import PRIVATE_FILE_MODE, write_whole
from core.foreign import safe
from core.models import MODELS, STAGES
from core.progress import Progress
from pipeline.local.workspace import ARTIFACTS
from pipeline.results import OK, RunResult, load_results
from pipeline.terminal.display import (
    CACHED,
    DONE,
    FAILED,
    INTERRUPTED,
    RUNNING,
    WAITING,
    Board,
    duration,
)
from pipeline.terminal.tables import end_sentence

PAGE = "live.html"
_SECONDS = 3.0  # between two pages
_LOST_SECONDS = 60  # without a new page: the run was killed
_KINDS = {DONE: "yes", CACHED: "yes", FAILED: "no", INTERRUPTED: "no"}  # classes of the style
# Says so if no page was written for long: the browser reads the clock, the page does not change.
_SCRIPT = (
    "const page = document.body.dataset;"
    "if (Date.now() / 1000 - page.written > page.lost)"
    " document.getElementById('lost').hidden = false;"
)
_LOG = logging.getLogger(__name__)


class Node(NamedTuple):
    """A line of the table of nodes."""

    id: str
    state: str
    kind: str  # class of the state
    time: str
    progress: Progress | None  # of a running node
    words: str  # what it does, and the time to go of that


class Samples(NamedTuple):
    """The newest picture of a model."""

    title: str
    png: bytes


def usual_seconds(output_dir: Path, profile: str) -> dict[str, float]:
    """Seconds of every node when it was last computed in a run of the profile."""
    return {
        node.id: node.seconds
        for result in load_results(output_dir)
        if result.profile == profile
        for node in result.nodes
        if node.state == DONE and node.seconds
    }


class LivePage:
    """Keeps the page of one run, next to another display that gets the same calls."""

    def __init__(
        self,
        profile_dir: Path,
        board: Board,
        run_id: str,
        started: datetime.datetime,
        samples_of: Callable[[str], Path | None],
    ):
        """``samples_of`` names the folder of pictures of a node that has ended."""
        self.path = profile_dir / PAGE
        self._board = board
        self._run = {
            "run_id": run_id,
            "profile": profile_dir.name,
            "started": started.strftime("%Y-%m-%d %H:%M"),
        }
        self._clock = time.monotonic()
        self._samples_of = samples_of
        self._folders: dict[str, Path | None] = {}
        self._losses: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
        self._lock = threading.Lock()  # of the losses
        self._writing = threading.Lock()  # an older page replaces no newer one
        self._stop = threading.Event()
        self._is_lost = False
        self._display: Any = None

    @contextlib.contextmanager
    def follows(self, display: Any) -> Iterator[Self]:
        """Writes the page until the block ends; every call goes on to ``display``."""
        self._display = display
        writer = threading.Thread(target=self._keep_writing, name="live page", daemon=True)
        writer.start()
        try:
            yield self
        finally:
            self._stop.set()
            writer.join()

    def started(self, node_id: str) -> None:
        self._display.started(node_id)

    def progressed(self, progress: Progress) -> None:
        self._display.progressed(progress)
        losses = {name: v for name, v in progress.values.items() if name.endswith("loss")}
        with self._lock:
            lines = self._losses.setdefault(progress.stage, {}) if losses else {}
            for name, value in losses.items():
                steps, values = lines.setdefault(name, ([], []))
                if steps and progress.step <= steps[-1]:  # the training began again
                    steps.clear()
                    values.clear()
                steps.append(progress.step)
                values.append(float(value))

    def finished(self, node_id: str, state: str) -> None:
        self._display.finished(node_id, state)
        if any(stage.node_id == node_id for stage in STAGES):
            self._folders[node_id] = self._samples_of(node_id)

    def ended(self, result: RunResult) -> None:
        """Writes the last page, which points to the report."""
        self._write(result)

    def _keep_writing(self) -> None:
        while not self._stop.is_set():
            self._write()
            self._stop.wait(_SECONDS)

    def _write(self, result: RunResult | None = None) -> None:
        try:
            with self._writing:
                write_whole(self.path, self._render(result), PRIVATE_FILE_MODE)
        except OSError as error:
            if not self._is_lost:
                _LOG.warning("The page %s could not be written (%s).", self.path, error.strerror)
            self._is_lost = True

    def _render(self, result: RunResult | None) -> str:
        with self._board.lock:
            nodes = [self._node(node_id) for node_id in self._board.nodes]
            share, left = self._board.share(), self._board.time_to_go()
            is_known = bool(self._board.usual)
        links = {}
        if result:
            places = {"report": result.report, "page about the data": result.check}
            places["log"] = result.log
            links = {
                words: quote(os.path.relpath(place, self.path.parent))
                for words, place in places.items()
                if place
            }
        return _template().render(
            **self._run,
            nodes=nodes,
            ended=sum(node.state not in (WAITING, RUNNING) for node in nodes),
            time=duration(result.seconds if result else time.monotonic() - self._clock),
            share=share,
            left=duration(left) if left else "",
            is_known=is_known,
            samples=list(self._samples()),
            charts=self._charts(),
            result=result,
            is_good=result is not None and result.exit_code == OK,
            sentence=safe(end_sentence(result)) if result else "",
            links=links,
            written=int(time.time()),
            lost=_LOST_SECONDS,
            seconds=int(_SECONDS),
            style=report_style(),
            script=Markup(_SCRIPT),  # noqa: S704 - ours
            script_digest=base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode(),
        )

    def _node(self, node_id: str) -> Node:
        node = self._board.nodes[node_id]
        progress = node.progress if node.state == RUNNING else None
        words = ""
        if progress:
            eta = self._board.eta(node_id)
            words = f"{progress.stage.removeprefix(node_id).strip()} step {progress.step:,} of "
            words += f"{progress.total:,}"
            words += f", {duration(eta)} to go" if eta is not None else ""
        time_ = duration(self._board.seconds(node_id))
        return Node(node_id, node.state, _KINDS.get(node.state, ""), time_, progress, words)

    def _samples(self) -> Iterator[Samples]:
        """The newest grid of every model that has one in this run."""
        for name, kind in MODELS.items():
            for stage in reversed(kind.stages):
                folder = self._folders.get(stage.node_id) or self._written_by(stage.node_id)
                grids = folder.glob("*_*[0-9].png") if folder else ()
                newest = max(grids, key=lambda grid: grid.stem, default=None)
                content = read_bytes(newest) if newest else None
                if newest and content:
                    yield Samples(f"{name}, {step_title(newest.stem)}", content)
                    break

    def _written_by(self, node_id: str) -> Path | None:
        """The pictures of a training of this run: its folder has the highest number."""
        node = self._board.nodes.get(node_id)
        if node is None or node.state in (WAITING, CACHED):  # then it is another run's
            return None
        models = self.path.parent.glob(f"{ARTIFACTS}/{node_id}/model/*")
        numbered = [model for model in models if model.name.isdecimal()]
        newest = max(numbered, key=lambda model: int(model.name), default=None)
        return newest / SAMPLES_DIR if newest else None

    def _charts(self) -> list[tuple[str, Markup]]:
        with self._lock:
            found = {
                stage: {name.replace("_", " "): (x[:], y[:]) for name, (x, y) in lines.items()}
                for stage, lines in self._losses.items()
            }
        charts = []
        for stage, lines in found.items():
            svg = line_chart(lines, "training step", "loss", f"Loss of {stage} so far")
            charts.append((stage, Markup(svg)))  # noqa: S704 - the chart escapes
        return charts


@functools.cache
def _template() -> jinja2.Template:
    return page_environment(Path(__file__).parent).get_template("live.html.jinja")
