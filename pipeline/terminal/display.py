"""Shows a run while it goes: a live table on a terminal, plain lines anywhere else.

Contract: a display is a context manager with ``started``, ``progressed`` and ``finished``, called
by the runner from any thread. It writes to a ``Screen``, which outlives its reader.
"""

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from core.progress import Progress
from pipeline.terminal.screen import PlainTable, say

WAITING, RUNNING, DONE, CACHED, FAILED, NOT_RUN = (
    "waiting",
    "running",
    "done",
    "cached",
    "failed",
    "not run",
)
INTERRUPTED = "interrupted"  # by the user, not a failure of the node
STYLES = {
    RUNNING: "bold cyan",
    DONE: "green",
    CACHED: "color(32)",  # a blue that is legible on black and on white; "blue" is too dark
    FAILED: "bold red",
    INTERRUPTED: "bold yellow",
}
_REDRAWS_PER_SECOND = 2  # the cores belong to the training
_SECONDS_BETWEEN_LINES = 15.0
_MIN_SECONDS_FOR_ETA = 2.0  # before that the first steps' tracing would mislead
_FIGURES = 4  # newest metrics shown next to the bar
_BAR = 12  # characters


@dataclasses.dataclass
class NodeProgress:
    """The state of one node."""

    state: str = WAITING
    started: float = 0.0
    seconds: float | None = None
    progress: Progress | None = None
    stage_started: tuple[float, int] = (0.0, 0)  # time and step of the stage's first record


class Board:
    """State of all nodes of a run, shared by all displays."""

    def __init__(
        self,
        node_ids: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
        usual: Mapping[str, float] | None = None,
    ):
        """``usual`` are the seconds of nodes in earlier runs; None shows nothing of the whole."""
        self.nodes = {node_id: NodeProgress() for node_id in node_ids}
        self.running: str | None = None
        self.lock = threading.Lock()  # a display is drawn by a thread of its own
        self.usual = usual
        self._clock = clock

    def started(self, node_id: str) -> None:
        with self.lock:
            self.nodes[node_id] = NodeProgress(state=RUNNING, started=self._clock())
            self.running = node_id

    def progressed(self, progress: Progress) -> None:
        with self.lock:
            node = self.nodes.get(self.running or "")
            if node is None:
                return
            old = node.progress
            if old is None or old.stage != progress.stage or progress.step < old.step:
                node.stage_started = (self._clock(), progress.step)
            node.progress = progress

    def finished(self, node_id: str, state: str) -> None:
        with self.lock:
            node = self.nodes[node_id]
            node.state = state
            node.seconds = self._clock() - node.started
            self.running = None

    def seconds(self, node_id: str) -> float | None:
        """Seconds the node has taken, so far if it runs."""
        node = self.nodes[node_id]
        return self._clock() - node.started if node.state == RUNNING else node.seconds

    def eta(self, node_id: str) -> float | None:
        """Seconds until the running stage ends at its pace so far; None while that is unknown."""
        node = self.nodes[node_id]
        since, first_step = node.stage_started
        elapsed = self._clock() - since
        if node.progress is None or elapsed < _MIN_SECONDS_FOR_ETA:
            return None
        steps = node.progress.step - first_step
        return elapsed / steps * (node.progress.total - node.progress.step) if steps > 0 else None

    def share(self) -> float:
        """Part of the run that is over, 0 to 1: of its usual time, or of its nodes."""
        usual = self.usual or {}
        known = all(usual.get(node_id) for node_id in self.nodes)
        weights = {node_id: usual[node_id] if known else 1.0 for node_id in self.nodes}
        over = 0.0
        for node_id, node in self.nodes.items():
            if node.state == RUNNING and known:
                over += min(self._clock() - node.started, weights[node_id])
            elif node.state not in (WAITING, RUNNING):
                over += weights[node_id]
        return over / sum(weights.values())

    def time_to_go(self) -> float | None:
        """Seconds until the run ends, by the usual seconds of its nodes; None while unknown.

        Until a node has been computed all may come from the cache.
        """
        usual = self.usual or {}
        if not any(node.state == DONE for node in self.nodes.values()):
            return None
        left = 0.0
        for node_id, node in self.nodes.items():
            if node.state not in (WAITING, RUNNING):
                continue
            if node_id not in usual:
                return None
            left += usual[node_id]
            if node.state == RUNNING:
                left -= min(self._clock() - node.started, usual[node_id])
        return left


class LiveDisplay:
    """The table on a terminal: state, seconds, bar and newest metrics of every node."""

    def __init__(self, board: Board, console: Console):
        def draw() -> PlainTable:
            with board.lock:
                return board_table(board, console.width, console.height)

        # The board alone changes; the table is drawn from it.
        self.started, self.progressed = board.started, board.progressed
        self.finished = board.finished
        self._live = Live(
            console=console,
            get_renderable=draw,
            refresh_per_second=_REDRAWS_PER_SECOND,
            transient=True,  # the closing table takes its place
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_) -> None:
        self._live.stop()


class PlainDisplay:
    """One line per start and finish, and some lines of progress."""

    def __init__(self, board: Board, console: Console, clock: Callable[[], float] = time.monotonic):
        self._board = board
        self._console = console
        self._clock = clock
        self._last_line = 0.0
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        return None

    def started(self, node_id: str) -> None:
        self._board.started(node_id)
        self._last_line = self._clock()
        self._say(f"[{self._done + 1}/{len(self._board.nodes)}] {node_id} started")

    def progressed(self, progress: Progress) -> None:
        self._board.progressed(progress)
        node_id = self._board.running
        if node_id is None or self._clock() - self._last_line < _SECONDS_BETWEEN_LINES:
            return
        self._last_line = self._clock()
        eta = self._board.eta(node_id)
        remaining = f", {duration(eta)} to go" if eta is not None else ""
        self._say(
            f"      {progress.stage} {progress.step}/{progress.total}"
            f"{remaining}  {figures(progress)}".rstrip()
        )

    def finished(self, node_id: str, state: str) -> None:
        self._board.finished(node_id, state)
        self._done += 1
        seconds = duration(self._board.nodes[node_id].seconds)
        self._say(f"[{self._done}/{len(self._board.nodes)}] {node_id} {state}, {seconds}")

    def _say(self, line: str) -> None:
        say(self._console, line)


def make_display(board: Board, console: Console) -> LiveDisplay | PlainDisplay:
    """The display that suits the console."""
    return (LiveDisplay if console.is_terminal else PlainDisplay)(board, console)


def board_table(board: Board, width: int, height: int) -> PlainTable:
    """All nodes as a table of at most ``height`` lines; hides the oldest finished nodes."""
    other = 2 if board.usual is None else 3  # titles, the count of the hidden, the whole run
    hidden = _hidden(board, height - other)
    states = [WAITING, *(node.state for node in board.nodes.values())]
    widths = [*(max(map(len, words)) for words in (board.nodes, states)), len("12 min 05 s")]
    gap = 2
    table = PlainTable()
    for title, columns in zip(("node", "state", "time"), widths, strict=True):
        justify = "right" if title == "time" else "left"
        table.add_column(title, justify=justify, no_wrap=True, width=columns)
    # Rich would squeeze every column for a long detail, so the detail is cut here.
    table.add_column(no_wrap=True)
    room = max(0, width - sum(widths) - gap * len(widths) - gap)
    if hidden:
        table.add_row(f"({len(hidden)} finished)")
    for node_id, node in board.nodes.items():
        if node_id not in hidden:
            table.add_row(
                node_id,
                Text(node.state, style=STYLES.get(node.state, "dim")),
                duration(board.seconds(node_id)),
                _detail(board, node_id, room),
            )
    if board.usual is not None:
        ended = sum(node.state not in (WAITING, RUNNING) for node in board.nodes.values())
        seconds = sum(board.seconds(node_id) or 0.0 for node_id in board.nodes)
        left = board.time_to_go()
        whole = _bar(board.share(), [f"{duration(left)} to go"] if left else [], room)
        table.add_row("all", f"{ended}/{len(board.nodes)}", duration(seconds), whole)
    return table


def _bar(share: float, words: Sequence[str], room: int) -> Text:
    """A bar and the first of the words that fit into ``room`` columns; none is cut."""
    full = min(_BAR, int(_BAR * share))
    text = Text.assemble(("━" * full, "green"), ("─" * (_BAR - full), "dim"))
    for i, word in enumerate(filter(None, words)):
        added = f"{'  ' if i else ' '}{word}"
        if len(text) + len(added) > room:
            break
        text.append(added)
    text.truncate(room)
    return text


def _hidden(board: Board, lines: int) -> set[str]:
    finished = [i for i, node in board.nodes.items() if node.state not in (WAITING, RUNNING)]
    return set(finished[: max(0, len(board.nodes) - lines)])


def _detail(board: Board, node_id: str, room: int) -> Text:
    """Bar, time to go, steps, stage and newest metrics of a running node, in one line."""
    progress = board.nodes[node_id].progress
    if board.nodes[node_id].state != RUNNING or progress is None:
        return Text()
    eta = board.eta(node_id)
    words = [
        f"{duration(eta)} to go" if eta is not None else "",
        f"{progress.step}/{progress.total}",
        progress.stage.partition(": ")[2],  # "evaluate gan: t-SNE": the node is known
        *figures(progress).split("  "),
    ]
    return _bar(progress.step / max(progress.total, 1), words, room)


def figures(progress: Progress) -> str:
    """The newest metrics as text: ``loss 0.123  accuracy 0.98``."""
    values = list(progress.values.items())[:_FIGURES]
    return "  ".join(f"{name.replace('_', ' ')} {float(value):.4g}" for name, value in values)


def duration(seconds: float | None) -> str:
    """``4.2 s``, ``75 s``, ``12 min 05 s``, ``1 h 02 min``."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
