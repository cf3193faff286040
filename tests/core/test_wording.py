from core.wording import MISSING, bound, interval, number, sentence


def test_numbers_are_short_and_say_when_they_are_missing():
    assert number(0.123456) == "0.1235"
    assert number(60000) == "60,000"
    assert number(12345.678) == "12,346"
    assert number(5.025e-4) == "0.0005025" and number(-0.00040021) == "-0.0004002"
    assert number(1.5e-7) == "1.5e-7" and number(1.5e-12) == "1.5e-12"
    assert number(0.0) == "0"
    assert number(None) == number(float("inf")) == MISSING
    assert number("words") == "words"


def test_an_interval_has_two_ends_or_is_missing():
    assert interval([0.25, 0.5]) == "0.25 to 0.5"
    assert interval(None) == interval([]) == interval([None, 1.0]) == MISSING


def test_a_bound_says_on_which_side_a_gate_passes():
    assert (bound("max", 0.5), bound("min", 9)) == ("at most 0.5", "at least 9")


def test_a_sentence_has_a_capital_and_one_full_stop():
    assert sentence("finite only") == "Finite only."
    assert sentence("Why?") == "Why?" and sentence("") == ""
