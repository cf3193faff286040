"""The page of a run while it goes on, and the time to go of the whole run."""

import datetime
import io
import re
import signal
from pathlib import Path

import pytest

from core.models import MODELS
from core.progress import Progress
from pipeline.local.live import PAGE, LivePage, usual_seconds
from pipeline.results import Failure, NodeResult, RunResult, save_result
from pipeline.terminal.display import Board, PlainDisplay, board_table
from pipeline.terminal.screen import Screen
from tests.browser import needs_chromium, open_browser, violations

PNG = b"\x89PNG\r\n\x1a\n"
NODES = ["judge", "gan", "report"]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def live(tmp_path, board, samples_of=lambda node_id: None) -> LivePage:
    return LivePage(
        tmp_path / "smoke", board, "20261127-1", datetime.datetime.now(datetime.UTC), samples_of
    )


def display(board) -> PlainDisplay:
    return PlainDisplay(board, Screen(file=io.StringIO()))


def test_the_whole_run_is_measured_by_the_usual_seconds_of_its_nodes():
    clock = Clock()
    board = Board(NODES, clock, {"judge": 10, "gan": 30, "report": 10})
    assert (board.share(), board.time_to_go()) == (0, None)
    board.started("judge")
    clock.now += 5
    assert board.share() == pytest.approx(0.1)
    board.finished("judge", "cached")
    assert (board.share(), board.time_to_go()) == (pytest.approx(0.2), None)
    board.finished("judge", "done")
    board.started("gan")
    clock.now += 10
    assert (board.share(), board.time_to_go()) == (pytest.approx(0.4), 30)
    clock.now += 100  # slower than ever
    assert (board.share(), board.time_to_go()) == (pytest.approx(0.8), 10)


def test_without_earlier_runs_the_whole_is_a_share_of_the_nodes_and_no_time_is_told():
    clock = Clock()
    board = Board(NODES, clock, {"gan": 30})
    board.started("judge")
    clock.now += 5
    board.finished("judge", "done")
    board.started("gan")
    assert (board.share(), board.time_to_go()) == (pytest.approx(1 / 3), None)


def test_the_table_of_a_run_ends_with_the_whole_and_others_do_not():
    def last_line(usual) -> str:
        board = Board(NODES, Clock(), usual)
        board.started("judge")
        board.finished("judge", "done")
        screen = Screen(width=80, height=6, file=io.StringIO(), record=True)
        screen.print(board_table(board, 80, 6))
        lines = screen.export_text().rstrip().splitlines()
        assert len(lines) <= 6
        return re.sub(" +", " ", lines[-1])

    usual = {"judge": 10, "gan": 60, "report": 10}
    assert last_line(usual).strip() == "all 1/3 0.0 s ━─────────── 70 s to go"
    assert last_line({}).strip() == "all 1/3 0.0 s ━━━━────────"
    assert last_line(None).startswith("report")


def test_the_usual_seconds_are_those_of_the_newest_run_that_computed_a_node(tmp_path):
    def record(run_id: str, profile: str, **nodes) -> None:
        results = [NodeResult(name, *value) for name, value in nodes.items()]
        result = RunResult(run_id, profile, "", 1.0, results, [], None, str(tmp_path / "log"))
        save_result(result, {}, tmp_path / profile)

    record("20261127-000001", "smoke", judge=("done", 5.0), gan=("done", 8.0))
    record("20261127-000002", "smoke", judge=("cached", 0.1), gan=("done", 9.0))
    record("20261127-000003", "quick", judge=("done", 50.0), gan=("failed", 1.0))
    assert usual_seconds(tmp_path, "smoke") == {"judge": 5.0, "gan": 9.0}
    assert usual_seconds(tmp_path, "full") == {}


def test_the_page_shows_what_goes_on_and_loads_itself_again(tmp_path):
    samples = tmp_path / "smoke" / "pipeline" / "gan" / "model"
    for folder, step in (("2", 80), ("12", 20), ("12", 40)):
        (samples / folder / "samples").mkdir(parents=True, exist_ok=True)
        (samples / folder / "samples" / f"step_{step:06d}.png").write_bytes(PNG)
    (samples / "12" / "samples" / "denoised.png").write_bytes(PNG)
    board = Board(NODES, Clock(), {})
    page = live(tmp_path, board)
    with page.follows(display(board)) as shown:
        shown.started("judge")
        shown.finished("judge", "done")
        page._write()
        assert "Newest samples" not in page.path.read_text()  # of an earlier run
        shown.started("gan")
        for step, loss in ((20, 0.5), (40, 0.25)):
            values = {"generator_loss": loss, "accuracy": 0.9}
            shown.progressed(Progress("gan train", step, 80, values))
        page._write()
    text = page.path.read_text()
    assert '<meta http-equiv="refresh"' in text
    assert "1 of 3 nodes have ended" in text and "gan: train step 40 of 80" in text
    assert "gan, step 40" in text and "step 80" not in text and "denoised" not in text
    assert text.count('<path class="line') == 1 and "generator loss" in text
    assert "accuracy" not in text
    assert board.nodes["gan"].progress.step == 40  # the other display knows


def test_a_training_that_begins_again_begins_its_line_again(tmp_path):
    page = live(tmp_path, Board(NODES, Clock()))
    with page.follows(display(page._board)) as shown:
        for step in (20, 40, 20):
            shown.progressed(Progress("gan train", step, 80, {"loss": float(step)}))
    assert page._losses == {"gan train": {"loss": ([20], [20.0])}}


def test_a_page_that_cannot_be_written_ends_no_run(tmp_path, caplog):
    (tmp_path / "smoke" / PAGE).mkdir(parents=True)
    page = live(tmp_path, Board(NODES, Clock()))
    with page.follows(display(page._board)) as shown:
        shown.started("judge")
        page._write()
    assert caplog.text.count("could not be written (Is a directory)") == 1


@pytest.mark.parametrize(
    ("fail", "words"),
    [
        ("", "Done in "),
        ("crash", "Node copy failed: ZeroDivisionError: division by zero"),
        ("interrupt", "Interrupted at copy after"),
    ],
)
def test_the_page_of_a_run_that_has_ended_says_how_and_stays(config, capfd, fail, words):
    pytest.importorskip("tfx")
    from pipeline.local.runner import run
    from tests.pipeline.toy import toy_pipeline

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = run(config, build=toy_pipeline(fail=fail))
    finally:
        signal.signal(signal.SIGINT, before)
    path = Path(config.output_dir, "smoke", PAGE)
    assert f"Follow it in a browser: {path.as_uri()}" in capfd.readouterr().out.replace("\n", "")
    text = path.read_text()
    assert (
        words in text
        and "refresh" not in text
        and "<b>running</b>" not in text
        and "<script" not in text
    )
    assert f'href="logs/{result.run_id}.log">Open the log' in text
    assert "Loss of make so far" in text
    assert path.stat().st_mode & 0o777 == 0o600
    run(config, build=toy_pipeline())
    assert "Done in " in path.read_text()


def test_the_page_of_a_run_that_has_ended_points_to_its_report(tmp_path):
    page = live(tmp_path, Board(NODES, Clock()))
    report = tmp_path / "smoke" / "pipeline" / "report" / "a b" / "index.html"
    nodes = [NodeResult(name, "done", 1.0) for name in NODES]
    log = str(tmp_path / "smoke" / "logs" / "x.log")
    page.ended(RunResult("20261127-1", "smoke", "", 1.0, nodes, [], str(report), log))
    assert 'href="pipeline/report/a%20b/index.html">Open the report' in page.path.read_text()


def test_the_page_shows_no_secret_and_no_markup_of_a_failure(tmp_path):
    page = live(tmp_path, Board(NODES, Clock()))
    failure = Failure("crash", "gan", "no answer from http://ada:secret@host <script>")
    page.ended(RunResult("20261127-1", "smoke", "", 1.0, [], [], None, "log", failure))
    text = page.path.read_text()
    assert "no answer from http://***@host &lt;script&gt;" in text and "secret" not in text


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_keeps_its_policy_and_says_when_the_run_is_lost(tmp_path, scheme):
    nodes = [stage.node_id for kind in MODELS.values() for stage in kind.stages]
    board = Board(nodes, Clock(), {})
    page = live(tmp_path, board)
    with page.follows(display(board)) as shown:
        shown.started("gan")
        for step in (20, 40):
            shown.progressed(Progress("gan train", step, 80, {"loss": step / 80}))
        page._write()
    text = page.path.read_text().replace('http-equiv="refresh"', "")
    stale = re.sub('data-written="[0-9]+"', 'data-written="1"', text)
    results = [NodeResult(name, "failed", 1.0) for name in nodes]
    failure = Failure("crash", nodes[0], "no space left")
    page.ended(RunResult("20261127-1", "smoke", "", 1.0, results, [], None, "log", failure))
    ended = page.path.read_text()
    with open_browser(tmp_path / "browser", color_scheme=scheme) as browser:
        tab, said = browser.new_page(), []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        for content, is_hidden in ((text, True), (stale, False), (ended, True)):
            page.path.write_text(content)
            for width in (390, 1280):
                tab.set_viewport_size({"width": width, "height": 800})
                tab.goto(page.path.as_uri())
                assert tab.evaluate("document.getElementById('lost').hidden") is is_hidden
                assert tab.evaluate("document.documentElement.scrollWidth") == width
                assert violations(tab) == []
                assert (
                    tab.locator("progress:not([aria-label])").count() == 0
                )  # axe has no such rule
        assert said == []
