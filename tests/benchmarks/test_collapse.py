"""The count of the GAN's collapses: real first steps, and a spread that falls."""

import pytest

from benchmarks import collapse


@pytest.mark.slow
def test_each_seed_has_its_steps_and_its_line(small_mnist_dir, tmp_path):
    tiny = ["--set", "gan.channels=4", "--set", "gan.batch_size=8"]
    options = ["--data", str(small_mnist_dir), "--output", str(tmp_path), *tiny]
    assert collapse.main([*options, "--seeds", "2", "--steps", "301"]) == 0
    lines = [line.split(" | ") for line in (tmp_path / "table.md").read_text().splitlines()]
    rows = [line for line in lines if line[0].removeprefix("| ").isdigit()]
    assert [(row[0], row[1]) for row in rows] == [("| 1", "301"), ("| 2", "301")]


def test_a_collapse_is_counted_once_and_the_training_ends_after_its_steps():
    watch = collapse.Watch(1000)
    healthy = {"discriminator_loss": 0.5, "discriminator_accuracy": 0.7, "fake_spread": 0.9}
    with pytest.raises(collapse._Ended):
        for step in range(2000):
            fallen = 500 <= step < 600
            watch.on_train_batch_end(step, healthy | ({"fake_spread": 0.1} if fallen else {}))
    steps, _, collapses, least, last = watch.row()
    assert (steps, collapses, least, last) == ("1000", "501", "0.10", "0.90")


@pytest.mark.parametrize("steps", ["300", "100000"])
def test_too_few_or_too_many_steps_are_one_sentence(small_mnist_dir, tmp_path, capsys, steps):
    options = ["--data", str(small_mnist_dir), "--output", str(tmp_path)]
    assert collapse.main([*options, "--steps", steps]) == 2
    assert "more than 300" in capsys.readouterr().err
