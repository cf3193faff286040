import io

import pytest
from rich.console import Console
from rich.text import Text

from pipeline.terminal.screen import Screen, say

PATH = "/home/ada/" + "runs/" * 20 + "report/index.html"


def said(words: str, **settings) -> list[str]:
    console = Console(file=io.StringIO(), **settings)
    say(console, words)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_on_a_terminal_a_sentence_is_wrapped_between_words():
    words = "Profile quick, 60000 + 10000 images in data/mnist. Starting TFX takes ten seconds."
    lines = said(words, width=80, force_terminal=True)
    assert len(lines) == 2 and all(len(line) <= 80 for line in lines)
    assert " ".join(lines) == words


@pytest.mark.parametrize(
    ("between", "shown"),
    [
        ("\t", "     "),  # to the next multiple of eight columns
        ("  ", "  "),
        ("\N{NO-BREAK SPACE}", "\N{NO-BREAK SPACE}"),
        (" \N{NO-BREAK SPACE} ", " \N{NO-BREAK SPACE} "),
        ("\n\n", "\n\n"),
        ("\n", "\n"),
    ],
)
def test_whatever_space_a_sentence_holds_all_its_words_are_shown(between, shown):
    words = f"There is no data in data/my{between}digits; name a directory: {'word ' * 20}end."
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    say(console, words)
    text = console.file.getvalue()
    assert text.split() == words.split()
    assert f"data/my{shown}digits" in text
    assert all(len(line) <= 80 for line in text.split("\n"))


def test_a_tab_counts_as_the_columns_that_it_takes():
    lines = said("a\tb " * 20, width=80, force_terminal=True)
    assert len(lines) == 3 and all(len(line) <= 80 for line in lines)


def test_a_path_that_is_longer_than_a_line_stays_whole_so_that_it_can_be_copied():
    assert said(PATH, width=80, force_terminal=True) == [PATH]
    assert said(f"The log is {PATH}", width=80, force_terminal=True) == ["The log is", PATH]


def test_a_style_stays_where_it_is_and_so_do_lines():
    text = Text.assemble(("gan: approved", "green"), ", " + "word " * 20 + "end\nnext line")
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    say(console, text)
    first, *rest = console.file.getvalue().splitlines()
    assert first.startswith("\x1b[32mgan: approved\x1b[0m, word") and len(rest) == 2
    assert rest[-1] == "next line"


def test_anywhere_else_a_sentence_is_one_line_and_taken_as_it_is():
    words = "gan [bold]: " + "a word " * 40 + "end"
    assert said(words, width=80) == [words]


class Full(io.StringIO):
    """A stream on a disk that is full."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_patient_screen_loses_what_cannot_be_written_and_another_says_so():
    with pytest.raises(OSError, match="No space left"):
        say(Screen(file=Full()), "words")
    say(Screen(file=Full(), patient=True), "words")
