import json

import pytest

from components.report.data import read_map, read_push, read_since
from core.artifacts import (
    MAP_SPRITE,
    Picture,
    key_pictures,
    read_evaluation,
    read_json,
    read_stage,
    read_stages,
)
from tests.components.report.conftest import png


def write(path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(json.dumps(content))


def test_a_stage_holds_history_settings_and_sample_grids_spread_over_the_steps(tmp_path):
    write(tmp_path / "history.json", {"steps": 5000})
    write(tmp_path / "config.json", {"seed": 1})
    for step in range(500, 5001, 500):
        write(tmp_path / "samples" / f"step_{step:06d}.png", png(8, 8, step))
    stage = read_stage("Training", str(tmp_path))
    assert (stage.history, stage.config) == ({"steps": 5000}, {"seed": 1})
    assert [p.title for p in stage.pictures] == [
        "step 500",
        "step 2,000",
        "step 3,500",
        "step 5,000",
    ]
    assert stage.pictures[0].png == png(8, 8, 500)


def test_few_sample_grids_are_all_shown(tmp_path):
    write(tmp_path / "samples" / "noisy.png", png(8, 8))
    write(tmp_path / "samples" / "epoch_002.png", png(8, 8))
    assert [p.title for p in read_stage("t", str(tmp_path)).pictures] == ["epoch 2", "noisy"]


def test_a_stage_without_files_is_missing_not_an_error(tmp_path):
    stage = read_stage("Training", str(tmp_path / "nowhere"))
    assert (stage.history, stage.config, list(stage.pictures)) == (None, None, [])


def test_pictures_of_an_evaluation_come_in_its_order_and_lost_files_are_kept_as_missing(tmp_path):
    images = [
        {"file": "figures/b.png", "title": "B", "caption": "first"},
        {"file": "figures/lost.png", "title": "Lost", "caption": ""},
        {"file": "figures/a.png", "title": "A", "caption": ""},
    ]
    write(tmp_path / "metrics.json", {"model": "gan", "images": images})
    write(tmp_path / "figures" / "a.png", png(4, 4, 1))
    write(tmp_path / "figures" / "b.png", png(4, 4, 2))
    metrics, pictures = read_evaluation(str(tmp_path))
    assert metrics["model"] == "gan"
    assert [(p.title, p.png is None) for p in pictures] == [
        ("B", False),
        ("Lost", True),
        ("A", False),
    ]


def test_an_evaluation_without_metrics_is_missing(tmp_path):
    assert read_evaluation(str(tmp_path)) == (None, [])


def test_lineage_and_card_are_read_from_the_pushed_version(tmp_path):
    version = tmp_path / "serving" / "gan" / "18"
    write(version / "assets.extra" / "lineage.json", {"run_id": "r"})
    write(version / "assets.extra" / "model_card.md", b"# Card")
    write(version / "assets.extra" / "model_card.html", b"<h1>Card</h1>")
    push = read_push(str(version), "18", str(tmp_path / "run" / "report"))
    assert (push.pushed, push.version, push.lineage) == (True, "18", {"run_id": "r"})
    assert (push.card_markdown, push.card_html) == ("# Card", "<h1>Card</h1>")
    assert push.card_address == "../../serving/gan/18/assets.extra/model_card.html"
    assert read_json(tmp_path / "nowhere.json") is None


def test_a_version_from_before_there_were_cards_has_none(tmp_path):
    push = read_push(str(tmp_path), "18", str(tmp_path))
    assert (push.lineage, push.card_html, push.card_address) == (None, "", "")


def test_trainings_come_in_order_and_only_a_base_makes_a_fine_tuning(tmp_path):
    base, own = str(tmp_path / "base"), str(tmp_path / "own")
    assert [stage.title for stage in read_stages(base, own)] == ["Training", "Fine-tuning"]
    assert [stage.title for stage in read_stages(None, own)] == ["Training"]
    assert read_stages(None, None) == []


def test_the_map_is_read_with_its_thumbnails_which_are_no_picture_of_their_own(tmp_path):
    sprite = {"file": MAP_SPRITE, "title": "", "caption": ""}
    write(tmp_path / "metrics.json", {"images": [sprite]})
    assert read_map(str(tmp_path)) is None
    write(tmp_path / "tsne.json", {"points": [[0, 1], [2, 3]], "labels": [7, 1]})
    assert read_map(str(tmp_path)).sprite is None
    write(tmp_path / MAP_SPRITE, png(56, 28))
    found = read_map(str(tmp_path))
    assert (found.points, found.labels) == ([[0, 1], [2, 3]], ["7", "1"])
    assert found.sprite == png(56, 28)
    assert read_evaluation(str(tmp_path))[1] == []


def test_size_of_a_picture_is_in_its_file():
    assert Picture("", "", png(40, 30)).size == (40, 30)
    assert Picture("", "", None).size == (0, 0)
    assert Picture("", "", png(88, 40)).is_strip and not Picture("", "", png(87, 40)).is_strip
    assert not Picture("", "", None).is_strip


def test_a_flat_strip_is_no_key_picture_alone():
    strip, square = Picture("strip", "", png(120, 12)), Picture("square", "", png(20, 20))
    assert key_pictures([square, strip]) == [square]
    assert key_pictures([strip, strip, square, square]) == [strip, square]
    assert key_pictures([]) == []


def test_statistics_of_every_split_that_is_there(tmp_path):
    pb = pytest.importorskip("tensorflow_metadata.proto.v0.statistics_pb2")
    from core.statistics import read_statistics

    lists = pb.DatasetFeatureStatisticsList()
    dataset = lists.datasets.add(num_examples=20)
    ink = dataset.features.add(name="ink_fraction")
    ink.num_stats.mean, ink.num_stats.std_dev, ink.num_stats.max = 0.25, 0.5, 1.0
    ink.num_stats.common_stats.num_missing = 3
    label = dataset.features.add()
    label.path.step.append("label")
    for value, count in (("10", 5), ("9", 15)):
        label.string_stats.rank_histogram.buckets.add(label=value, sample_count=count)
    write(tmp_path / "Split-test" / "FeatureStats.pb", lists.SerializeToString())
    [split] = read_statistics(str(tmp_path), ["train", "test"])
    assert (split.name, split.examples) == ("test", 20)
    number, category = split.columns
    assert (number.name, number.mean, number.high, number.missing) == ("ink_fraction", 0.25, 1.0, 3)
    assert split.label_shares == {"9": 75.0, "10": 25.0}
    assert (category.name, list(category.counts.items())) == ("label", [("9", 15.0), ("10", 5.0)])


def figure(name: str, value: float, better: str = "lower") -> dict:
    ends = [value - 0.1, value + 0.1]
    return {"name": name, "title": name, "value": value, "better": better, "interval": ends}


def since_17(tmp_path, lineage: dict, then: list[dict]):
    """What changed since a version with that lineage and those metrics."""
    version = tmp_path / "gan" / "17"
    if lineage:
        write(version / "assets.extra" / "lineage.json", lineage)
    if then:
        write(version / "assets.extra" / "metrics.json", {"figures": then})
    metrics = {
        "champion": {"version": "17", "path": str(version)},
        "gates": [{"metric": name} for name in ("same", "better", "worse")],
        "figures": [figure("same", 1), figure("better", 1), figure("worse", 3), figure("free", 9)],
    }
    sources = {
        "settings": {"gan": {"epochs": 6, "seed": 1}},
        "data": {"digest": "b"},
        "commit": "c2",
        "packages": {"keras": "3.15"},
    }
    return read_since("gan", metrics, sources)


def test_what_changed_is_read_from_what_was_pushed_with_the_champion(tmp_path):
    lineage = {
        "settings": {"gan": {"epochs": 4, "seed": 1}},
        "data": {"digest": "b"},
        "commit": "c1",
        "packages": {"keras": "3.15"},
    }
    then = [figure("same", 1.05), figure("better", 2), figure("worse", 2), figure("free", 1)]
    since = since_17(tmp_path, lineage, then)
    assert since.version == "17"
    assert since.settings == {"gan.epochs": (4, 6)}
    assert since.data == {} and since.code == {"commit": ("c1", "c2")}
    found = [(c.either.name, c.verdict, [m.value for m in c.metrics]) for c in since.changes]
    assert found == [
        ("worse", "worse", [2, 3]),
        ("better", "better", [2, 1]),
        ("same", "unclear", [1.05, 1]),
    ]
    assert since.metrics["free"].value == 1  # not gated, but shown next to this run's


def test_of_a_version_without_records_nothing_is_said_to_be_the_same(tmp_path):
    since = since_17(tmp_path, {}, [])
    assert (since.settings, since.data, since.code) == (None, None, None)
    assert since.changes == []


def test_without_a_champion_there_is_nothing_to_compare_with():
    assert read_since("gan", {"champion": None}, {}) is None
