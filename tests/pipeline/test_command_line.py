import pytest
from typer.testing import CliRunner

from core.config import InputError
from pipeline.cli import main
from pipeline.config import load_config


def inkwell(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main.app, list(arguments))
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], "no command train (did you mean run?); the commands are run, attach"),
        (["rn"], "did you mean run?"),
        (["run", "gan.epochs=3"], "--set gan.epochs=3"),
        (
            ["run", "quick"],
            "run does not take quick; this is given with --profile, as in --profile",
        ),
        (["runs", "quick", "x"], "runs does not take quick x; see: "),
        (["run", "--profil", "smoke"], "no option --profil (did you mean --profile?)"),
        (["promote", "gan", "-1"], "There is no option -1; see: "),
        (["generate", "gan", "--count", "0"], "--count must be at least 1, not 0; see: "),
        (["generate", "gan", "--count", "9" * 10], "--count must be at most 2147483647, not 999"),
        (["generate", "gan", "--seed", "x"], "--seed must be a whole number, not x; see: "),
        (["canary", "gan", "--share", "0,3"], "--share must be a number, not 0,3; see: "),
        (["tensorboard", "--port", "8" * 5000], "--port must be a smaller number"),
        (["run", "--set"], "inkwell: --set needs a value; see: "),
        (["check", "--data", "/none", "-o", "/proc/a/b"], "/proc/a/b cannot be written; name ano"),
        (["check", "--data", "/none", "-o", "/tmp"], "/tmp is a directory; name another file"),
        (["show"], "Missing argument 'RUN'; see: "),
        (["run", "--set", "evaluator.gates.gan.class_tv=1"], "class_tv is a group of settings"),
        (
            ["run", "--set", "evaluator.gates.gan.class_tv.threshold=abc"],
            "evaluator.gates.gan.class_tv.threshold must be of type float",
        ),
        (["run", "--set", "evaluator.noise_levels=[2]"], "noise_levels has only 2"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_what_is_right(arguments, words):
    code, text = inkwell(*arguments)
    assert code == 2 and words in text
    assert text.startswith("inkwell: ") and "─" not in text


def test_help_has_groups_and_exit_codes_and_a_short_option():
    code, text = inkwell("-h")
    assert code == 0 and text == inkwell("--help")[1]
    assert all(title in text for title in main._GROUPS) and "130: interrupted" in text


def test_an_interrupt_is_said_to_be_one(monkeypatch):
    def interrupt(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.local.overview.list_runs", interrupt)
    code, text = inkwell("runs")
    assert code == 130 and "inkwell: Interrupted." in text


def test_own_settings_lie_over_the_profile_that_they_extend_and_below_set(tmp_path):
    own = tmp_path / "my.yaml"
    own.write_text("extends: smoke\ngan:\n  epochs: 5\n")
    config, smoke = load_config(None, file=own), load_config("smoke")
    assert (config.profile, config.gan.epochs) == ("smoke", 5)
    assert config.gan.batch_size == smoke.gan.batch_size
    assert load_config(None, None, ["gan.epochs=6"], own).gan.epochs == 6
    with pytest.raises(InputError, match="extends smoke, and --profile is quick"):
        load_config("quick", file=own)
    own.write_text("gan:\n  epochs: 5\n")
    assert load_config(None, file=own).profile == "quick"
    assert load_config(None, file=own, default="full").profile == "full"
    own.write_text("gan:\n  epoch: 5\n")
    for command in ("evaluate --profile quick", "compile", "run"):
        code, text = inkwell(*command.split(), "--config", str(own))
        assert code == 2 and "did you mean epochs?" in text
    with pytest.raises(InputError, match=r"my.yaml: Unknown setting gan.epoch \(did you mean"):
        load_config(None, file=own)
