import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios

import pytest
import yaml

from pipeline.cli.main import app
from pipeline.plan import NODES
from tests.conftest import ROOT


def inkwell(*arguments: str, cwd=ROOT, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **variables},
    )


PACKAGES = """
import sys
try: app()
except SystemExit: pass
print(*sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names))
"""
TOY = """
import typer
app = typer.Typer(rich_markup_mode="markdown")
@app.callback()
def options(loud: bool = typer.Option(False, "--loud", help="Louder.")): pass
@app.command(help="Says a word.\\n\\n```\\ntoy say word\\n```")
def say(word: str, times: int = typer.Option(1, help="How often.")): pass
"""


def shown_and_imported(code: str, *arguments: str) -> tuple[str, set[str]]:
    """What ``app`` of the code prints, and the packages that it imports besides Python's own."""
    run = subprocess.run(
        [sys.executable, "-c", code + PACKAGES, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    shown, _, imported = run.stdout.rstrip("\n").rpartition("\n")
    return shown, set(imported.split())


@pytest.fixture(scope="module")
def packages_of_help() -> set[str]:
    """What Typer itself imports to show the help of a command."""
    return shown_and_imported(TOY, "say", "--help")[1]


@pytest.mark.parametrize(
    "command",
    [
        *([], ["run"], ["evaluate"], ["report"], ["runs"], ["models"], ["baseline"]),
        *(["submit"], ["schedule"], ["schedule", "create"]),
    ],
)
def test_help_imports_nothing_that_takes_time(command, packages_of_help):
    shown, imported = shown_and_imported("from pipeline.cli.main import app", *command, "--help")
    assert "Usage" in shown and "rich" in packages_of_help
    assert imported - packages_of_help <= {"core", "pipeline", "serving"}


def test_help_of_evaluate_shows_examples():
    text = inkwell("evaluate", "--help").stdout
    assert "inkwell evaluate gan --deep" in text


def test_help_of_run_shows_examples():
    text = inkwell("run", "--help").stdout
    assert "inkwell run --profile smoke" in text
    assert "--set gan.epochs=12" in text
    assert re.search(r"--from-node\s", text)


HELP = {
    " ".join(filter(None, (group, command.name or command.callback.__name__))): command.help or ""
    for group, commands in (
        ("", app.registered_commands),
        *((g.name, g.typer_instance.registered_commands) for g in app.registered_groups),
    )
    for command in commands
}


def rendered_help(command: str) -> list[str]:
    result = inkwell(*command.split(), "--help", COLUMNS="80")
    assert result.returncode == 0
    return [line.strip() for line in result.stdout.splitlines()]


@pytest.mark.parametrize("command", [c for c, text in HELP.items() if f"\ninkwell {c}" in text])
def test_every_example_stands_on_a_line_of_its_own_at_80_columns(command):
    shown = rendered_help(command)
    examples = [line for line in HELP[command].splitlines() if line.startswith("inkwell ")]
    assert len(examples) >= 2
    first = shown.index(examples[0])
    assert shown[first : first + len(examples)] == examples
    assert not any("/tmp" in example for example in examples)


def test_the_commands_of_the_pipeline_have_examples():
    for command in ("run", "compile", "submit", "schedule create", "evaluate"):
        assert f"\ninkwell {command}" in HELP[command]


@pytest.mark.parametrize("command", HELP)
def test_help_names_no_type_in_pythons_words(command):
    text = "\n".join(rendered_help(command))
    assert not re.search(r"<\w+(\[\w+\])?>|BOOLEAN|\bTEXT\b|<=x|x>=", text)


@pytest.mark.parametrize("command", HELP)
def test_help_breaks_and_cuts_no_word_at_80_columns(command):
    narrow, wide = (
        re.sub(r"[│─╭╮╰╯\s]+", " ", inkwell(*command.split(), "--help", COLUMNS=columns).stdout)
        for columns in ("80", "400")
    )
    assert "…" not in narrow
    assert sorted(narrow.split()) == sorted(wide.split())


def test_the_profiles_that_help_names_are_those_that_there_are():
    for command in ("run", "compile", "submit", "evaluate"):
        assert "full|quick|smoke" in "\n".join(rendered_help(command))


def test_version_is_that_of_the_package():
    project = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)"$', project, re.MULTILINE)[1]
    words = inkwell("--version").stdout
    assert words in (f"inkwell {version}\n", "inkwell, run from a checkout that is not installed\n")


def test_dry_run_prints_the_settings_and_the_nodes_and_touches_nothing(tmp_path):
    result = inkwell(
        "run", "--dry-run", "--profile", "smoke", "--set", "gan.epochs=3",
        "--output", str(tmp_path / "out"),
    )  # fmt: skip
    assert result.returncode == 0
    settings, _, nodes = result.stdout.partition("\nnodes")
    assert yaml.safe_load(settings)["gan"]["epochs"] == 3
    assert yaml.safe_load(settings)["output_dir"] == str(tmp_path / "out")
    assert [line.split()[0] for line in nodes.splitlines()[1:]] == list(NODES)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--profile", "quik"], "did you mean quick?"),
        (["--profile", "QUICK"], "did you mean quick?"),
        (["--set", "seed="], "--set seed= is empty"),
        (["--format", "png"], "inkwell: --format must be auto, idx, "),
        (["--set", "data.format=png"], "inkwell: data.format must be auto, idx, "),
        (["--data", ""], "inkwell: --data must be a path that is not empty, not ''."),
        (["--output", ""], "inkwell: --output must be a path that is not empty, not ''."),
        (["--mlflow", ""], "inkwell: --mlflow must be an address that is not empty, not ''."),
        (["--set", "evaluator.gates.gan=[]"], "evaluator.gates.gan is empty"),
        (["--data", "no/data"], f"{os.getcwd()}/no/data"),
        (["--set", "gan.epoch=2"], "did you mean epochs?"),
        (["--data", "/nowhere"], "/nowhere"),
        (["--from-node", "evaluate-gn"], "did you mean evaluate-gan?"),
        (["--output", "README.md"], "README.md is a file; name another directory with --output."),
        (["--output", "/proc/foo/bar"], "/proc/foo/bar cannot be written; name another directory"),
        (
            ["--set", "serving_dir=/proc/x"],
            "/proc/x cannot be written; name another directory with --set serving_dir=DIR.",
        ),
    ],
)
def test_a_users_mistake_is_one_sentence_and_exit_code_2(arguments, words, tmp_path):
    result = inkwell("run", "--output", str(tmp_path / "out"), *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("inkwell: ") and result.stderr.count("\n") == 1
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [["gc"], ["runs"], ["evaluate", "gan"]])
def test_an_empty_directory_of_runs_is_not_the_current_one(command):
    result = inkwell(*command, "--output", "")
    assert result.returncode == 2
    assert "--output" in result.stderr and "a path that is not empty" in result.stderr


def test_lists_say_how_to_begin_when_there_is_nothing_yet(tmp_path):
    assert "inkwell run" in inkwell("runs", "--output", str(tmp_path)).stdout
    assert "inkwell run" in inkwell("models", "--serving", str(tmp_path)).stdout
    report = inkwell("report", "--output", str(tmp_path))
    assert report.returncode == 2 and "inkwell run" in report.stderr


def test_a_directory_that_is_not_there_is_one_sentence_with_its_absolute_path(tmp_path):
    for command in ("runs", "report"):
        result = inkwell(command, "--output", "nothere", cwd=tmp_path)
        assert result.returncode == 2 and result.stdout == ""
        assert f"nothere ({tmp_path}/nothere) does not exist" in result.stderr
    for command in (["models"], ["rollback", "gan"], ["promote", "gan", "newest"], ["serve"]):
        result = inkwell(*command, "--serving", "nothere", cwd=tmp_path)
        assert result.returncode == 2 and result.stdout == ""
        assert f"nothere ({tmp_path}/nothere) does not exist" in result.stderr
    result = inkwell("runs", cwd=tmp_path)  # the one that the first run makes
    assert result.returncode == 0
    assert f"no runs in outputs ({tmp_path}/outputs) yet" in result.stdout


def test_a_file_that_is_cut_short_is_found_before_tfx_starts(small_mnist_dir, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(small_mnist_dir, data)
    images = data / "t10k-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:-1000])
    result = inkwell("run", "--data", str(data), "--output", str(tmp_path / "out"))
    assert result.returncode == 2 and result.stdout == ""
    assert images.name in result.stderr and "cut short" in result.stderr
    assert not (tmp_path / "out").exists()


def on_a_terminal(*arguments: str, until: str, interrupt: bool = False) -> tuple[int, list[str]]:
    """Runs ``inkwell`` on a terminal of 80 columns; ends it with Ctrl-C once it shows ``until``."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    variables = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli.main", *arguments],
        stdin=its,
        stdout=its,
        stderr=its,
        cwd=ROOT,
        env={**variables, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"},
        # A job in the background of a script inherits an ignored SIGINT; a terminal's does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    os.close(its)
    shown = ""
    with contextlib.suppress(OSError):  # the end of a terminal
        while text := os.read(ours, 4096).decode(errors="replace"):
            shown += text
            if interrupt and (until in shown or " started" in shown or "running" in shown):
                process.send_signal(signal.SIGINT)
                interrupt = False
    os.close(ours)
    assert until in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\r\n", shown)
    return process.wait(), [line.rstrip() for line in re.split(r"[\r\n]+", plain)]


def test_an_error_on_a_terminal_is_wrapped_between_words():
    code, lines = on_a_terminal("run", "--set", "diffusion.ema_momentu=0.5", until="valid settings")
    assert code == 2
    assert all(len(line) <= 80 for line in lines)
    assert all(line.endswith((",", ".", ";")) or " " in line for line in lines if line)
    assert "did you mean ema_momentum?" in " ".join(lines)


def test_a_terminal_shows_that_tfx_starts_and_an_interrupt_then_is_one_sentence(
    small_mnist_dir, tmp_path
):
    pytest.importorskip("tfx")
    code, lines = on_a_terminal(
        *("run", "--profile", "smoke", "--data", str(small_mnist_dir)),
        *("--output", str(tmp_path / "out"), "--set", f"serving_dir={tmp_path}/serving"),
        until="Importing TFX",
        interrupt=True,
    )
    assert code == 130
    text = " ".join(line for line in lines if line)
    assert "Interrupted while no node was running. Run the same command again" in text
    assert "Traceback" not in text


def test_an_unknown_option_is_a_usage_error():
    assert inkwell("run", "--epochs", "3").returncode == 2


def test_baseline_of_a_directory_without_data_is_one_sentence(tmp_path):
    result = inkwell("baseline", "--data", str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.startswith("inkwell: ") and result.stderr.count("\n") == 1
    assert str(tmp_path) in result.stderr
