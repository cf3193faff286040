import io

import pytest
from rich.console import Console
from rich.style import Style

from core.progress import Progress
from pipeline.terminal.display import (
    CACHED,
    STYLES,
    Board,
    LiveDisplay,
    PlainDisplay,
    board_table,
    duration,
    make_display,
)
from pipeline.terminal.screen import Screen


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255)])
def test_the_colour_of_cached_can_be_read_on_black_and_on_white(background):
    def luminance(colour) -> float:
        shares = [part / 255 for part in colour]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(
        luminance(c) for c in (Style.parse(STYLES[CACHED]).color.get_truecolor(), background)
    )
    assert (high + 0.05) / (low + 0.05) > 3.5


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def plain(clock) -> tuple[PlainDisplay, io.StringIO]:
    screen = io.StringIO()
    board = Board(["judge", "gan"], clock)
    return PlainDisplay(board, Console(file=screen, width=200), clock), screen


def test_plain_lines_tell_of_starts_and_ends_with_seconds(clock):
    display, screen = plain(clock)
    display.started("judge")
    clock.now += 2.5
    display.finished("judge", "done")
    display.started("gan")
    display.finished("gan", "cached")
    assert screen.getvalue().splitlines() == [
        "[1/2] judge started",
        "[1/2] judge done, 2.5 s",
        "[2/2] gan started",
        "[2/2] gan cached, 0.0 s",
    ]


def test_plain_progress_is_at_most_a_line_in_fifteen_seconds(clock):
    display, screen = plain(clock)
    display.started("gan")
    for step in range(0, 600):
        clock.now += 0.1  # a minute in all
        display.progressed(Progress("gan train", step, 1200, {"generator_loss": 0.12345}))
    lines = [line for line in screen.getvalue().splitlines() if "gan train" in line]
    assert 3 <= len(lines) <= 4
    assert lines[0].strip().startswith("gan train 150/1200, 105 s to go")
    assert lines[0].endswith("generator loss 0.1235")


def test_a_screen_that_has_gone_away_does_not_end_the_run(clock):
    class Gone(io.StringIO):
        def write(self, _):
            raise BrokenPipeError

    board = Board(["judge"], clock)
    display = PlainDisplay(board, Screen(file=Gone()), clock)
    display.started("judge")
    display.finished("judge", "done")
    assert board.nodes["judge"].state == "done"


def test_eta_starts_anew_with_every_stage(clock):
    board = Board(["evaluate-gan"], clock)
    board.started("evaluate-gan")
    board.progressed(Progress("samples", 0, 10, {}))
    clock.now += 10
    board.progressed(Progress("samples", 5, 10, {}))
    assert board.eta("evaluate-gan") == pytest.approx(10)
    board.progressed(Progress("features", 1, 4, {}))
    assert board.eta("evaluate-gan") is None
    clock.now += 6
    board.progressed(Progress("features", 3, 4, {}))
    assert board.eta("evaluate-gan") == pytest.approx(3)


def drawn(board: Board, width: int = 140, height: int = 50) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(board_table(board, width, height))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def training_board(clock) -> Board:
    board = Board(["judge", "gan", "evaluate-gan"], clock)
    board.started("judge")
    clock.now += 4
    board.finished("judge", "cached")
    board.started("gan")
    board.progressed(Progress("gan train", 100, 400, {"generator_loss": 0.5}))
    clock.now += 10
    board.progressed(Progress("gan train", 200, 400, {"generator_loss": 0.25}))
    return board


def test_live_table_shows_state_bar_figures_and_time_to_go(clock):
    _, judge, gan, evaluate = drawn(training_board(clock))
    assert judge.split() == ["judge", "cached", "4.0", "s"]
    assert gan.split()[:4] == ["gan", "running", "10", "s"]
    assert gan.endswith("━━━━━━────── 20 s to go  200/400  generator loss 0.25")
    assert evaluate.split() == ["evaluate-gan", "waiting"]


def test_live_table_fits_a_narrow_terminal_with_every_state_readable(clock):
    for width in range(60, 100):
        lines = drawn(training_board(clock), width)
        assert max(len(line) for line in lines) <= width and "running" in lines[2]
        assert lines[2].endswith(("──", " 20 s to go", "  200/400", "  generator loss 0.25"))


def test_live_table_cuts_no_state(clock):
    board = training_board(clock)
    board.finished("gan", "interrupted")
    assert "interrupted" in drawn(board, width=60)[2]


def test_live_table_fits_a_low_terminal_with_the_running_node_in_it(clock):
    board = Board([f"finetune-diffusion-{i}" for i in range(22)], clock)
    for i in range(20):
        board.started(f"finetune-diffusion-{i}")
        board.finished(f"finetune-diffusion-{i}", "done")
    board.started("finetune-diffusion-20")
    lines = drawn(board, height=10)
    assert len(lines) == 10
    assert lines[1] == "(14 finished)"
    assert lines[-2].split()[:2] == ["finetune-diffusion-20", "running"]


def test_a_stage_within_a_node_is_named(clock):
    board = Board(["evaluate-gan"], clock)
    board.started("evaluate-gan")
    board.progressed(Progress("evaluate gan: t-SNE", 1, 4, {}))
    assert drawn(board)[1].endswith("1/4  t-SNE")


def test_live_table_starts_and_stops_on_a_terminal():
    screen = io.StringIO()
    console = Console(file=screen, width=100, force_terminal=True)
    display = make_display(Board(["judge"]), console)
    assert isinstance(display, LiveDisplay)
    with display:
        display.started("judge")
        display.finished("judge", "done")
    assert "judge" in screen.getvalue()


def test_a_pipe_gets_plain_lines():
    assert isinstance(make_display(Board([]), Console(file=io.StringIO())), PlainDisplay)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.04, "0.0 s"), (9.94, "9.9 s"), (75.4, "75 s"), (725, "12 min 05 s"),
     (3600 + 125, "1 h 02 min")],
)  # fmt: skip
def test_duration_in_words(seconds, words):
    assert duration(seconds) == words
