import pytest

from core.config import DivergedError, InputError
from pipeline.local.failures import explain
from trainer_modules.common.history import check_finite


def test_input_error_is_found_under_what_was_raised_from_it():
    try:
        try:
            raise InputError("Give at least two classes.")
        except InputError as error:
            raise RuntimeError("wrapped") from error
    except RuntimeError as error:
        assert explain(error) == ("input", "Give at least two classes.")


def test_a_diverged_training_is_told_by_its_own_sentence():
    with pytest.raises(DivergedError) as caught:
        check_finite("gan", 40, float("nan"))
    assert explain(caught.value) == (
        "crash",
        "Training of the gan diverged at step 40: its loss is nan; lower its learning_rate or "
        "change its seed",
    )


def test_input_error_is_found_in_what_beam_makes_of_it():
    beam = pytest.importorskip("apache_beam")

    def fail(_):
        raise InputError("data/x.gz is cut short; copy it again.")

    with pytest.raises(Exception) as caught, beam.Pipeline(argv=["--runner=FnApiRunner"]) as p:
        _ = p | beam.Create([1]) | "Read" >> beam.Map(fail)
    assert explain(caught.value) == ("input", "data/x.gz is cut short; copy it again.")


def test_a_crash_inside_beam_is_told_by_its_last_line():
    beam = pytest.importorskip("apache_beam")

    def fail(_):
        return 1 / 0

    with pytest.raises(Exception) as caught, beam.Pipeline(argv=["--runner=FnApiRunner"]) as p:
        _ = p | beam.Create([1]) | "Divide" >> beam.Map(fail)
    kind, sentence = explain(caught.value)
    assert kind == "crash"
    assert "division by zero" in sentence and "Traceback" not in sentence
    assert "\n" not in sentence


def test_a_crash_is_told_by_its_root():
    try:
        try:
            {}["key"]
        except KeyError as error:
            raise RuntimeError("outer") from error
    except RuntimeError as error:
        assert explain(error) == ("crash", "KeyError: 'key'")


def test_an_error_without_words_is_named_by_its_type():
    assert explain(MemoryError()) == ("crash", "MemoryError")


def test_long_messages_are_cut():
    _, sentence = explain(ValueError("x" * 5000))
    assert len(sentence) == 300 and sentence.endswith("…")
