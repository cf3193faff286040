"""Labels, promotion and roll-back on a serving directory; no server is needed."""

import json
from pathlib import Path

import pytest

from components.pusher.push import push
from core.config import InputError
from serving.errors import ServingError
from serving.model_server.config import read_models
from serving.releases import (
    RELEASES_FILE,
    Release,
    apply,
    best_version,
    kept_versions,
    promoted,
    read_releases,
    rolled_back,
    served_models,
    served_version,
    whole_version,
    write_config,
)


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    for version in (1, 2, 3):
        (tmp_path / "gan" / str(version)).mkdir(parents=True)
    (tmp_path / "gan" / ".staging-4").mkdir()
    (tmp_path / "autoencoder").mkdir()
    return tmp_path


def config(serving: Path):
    [model] = read_models(serving / "models.config")
    return model


def do(serving: Path, release: Release) -> None:
    apply(serving, "gan", release)


def test_newest_takes_no_other_label(serving):
    with pytest.raises(ServingError, match="There is no label foo; use stable or canary"):
        promoted(serving, "gan", None, "foo")
    with pytest.raises(ServingError, match="inkwell promote gan 3 --label canary"):
        promoted(serving, "gan", None, "canary")


def test_the_best_version_is_that_of_the_best_primary_metric_whose_gates_judged_quality(serving):
    def record(version: int, content: str) -> None:
        (serving / "gan" / str(version) / "assets.extra").mkdir()
        (serving / "gan" / str(version) / "assets.extra" / "lineage.json").write_text(content)

    assert best_version(serving, "gan") is None and best_version(serving, "vae") is None
    assert kept_versions(serving, "gan") == set()
    two, one = (f'"primary": {{"value": {value}, "better": "lower"}}' for value in (2.0, 1))
    record(1, f"{{{two}}}")
    record(2, f'{{{one}, "quality_gates": false}}')
    assert best_version(serving, "gan") == serving / "gan" / "1"
    record(3, f'{{{two}, "quality_gates": true}}')
    assert best_version(serving, "gan") == serving / "gan" / "3"  # the newest of equals
    assert kept_versions(serving, "gan") == {3}
    for version, content in ((4, "no JSON"), (5, "[]"), (6, '{"primary": {"value": "2"}}')):
        (serving / "gan" / str(version)).mkdir()
        record(version, content)
    assert best_version(serving, "gan") == serving / "gan" / "3"
    (serving / "gan" / "7").mkdir()
    record(7, '{"primary": {"name": "accuracy", "value": 0.5, "better": "higher"}}')
    assert best_version(serving, "gan") == serving / "gan" / "7"


def test_without_labels_the_newest_is_served(serving):
    assert served_models(serving) == ["gan"] and read_releases(serving) == {}
    write_config(serving, ["gan"])
    model = config(serving)
    assert (model.base_path, model.latest, model.labels) == (serving / "gan", 1, {})


def test_any_name_and_label_survives_in_models_config(tmp_path):
    names = ['say "hi"', "back\\slash n\\n", "two words", "# é {}", "'"]
    serving = tmp_path / 'a "b" \\c'
    for name in names:
        (serving / name / "1").mkdir(parents=True)
    apply(serving, names[0], Release(1))
    path = write_config(serving, names)
    assert {m.name: m.base_path for m in read_models(path)} == {n: serving / n for n in names}
    first, second, *_ = read_models(path)
    assert (first.versions, first.labels) == ((1,), {"stable": 1}) and second.latest == 1
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    assert head == "# Made from releases.json by inkwell serve, promote and rollback."
    # Written out: upstream's parser must not have to know a default.
    assert sum(line.strip() == "num_versions: 1" for line in lines) == len(names) - 1
    assert read_models(write_config(serving, [])) == []


def test_promotion_roll_back_and_the_way_back_to_newest(serving):
    do(serving, promoted(serving, "gan", 2))
    assert read_releases(serving) == {"gan": Release(2, None, (3,))}
    assert (config(serving).versions, config(serving).labels) == ((2,), {"stable": 2})
    do(serving, promoted(serving, "gan", 1))
    do(serving, rolled_back(serving, "gan"))
    assert read_releases(serving)["gan"] == Release(2, None, (3,))
    do(serving, rolled_back(serving, "gan"))
    assert read_releases(serving)["gan"].stable == 3
    do(serving, promoted(serving, "gan", None))
    assert config(serving).latest == 1 and config(serving).labels == {}


def test_roll_back_without_labels_takes_the_next_older_version(serving):
    do(serving, rolled_back(serving, "gan"))
    assert config(serving).versions == (2,)
    do(serving, rolled_back(serving, "gan"))
    assert config(serving).versions == (1,)
    with pytest.raises(ServingError, match="no version of gan to go back to: 1 is the oldest"):
        rolled_back(serving, "gan")


def test_canary_is_served_beside_stable_until_promoted(serving):
    do(serving, promoted(serving, "gan", 3, "canary"))
    assert read_releases(serving)["gan"] == Release(2, 3)
    assert (config(serving).versions, config(serving).labels) == (
        (2, 3),
        {"stable": 2, "canary": 3},
    )
    do(serving, promoted(serving, "gan", 3))
    assert read_releases(serving)["gan"] == Release(3, None, (2,))
    assert config(serving).versions == (3,)


def test_both_versions_are_served_before_the_label_moves(serving):
    do(serving, promoted(serving, "gan", 1))
    seen = []

    def is_served(version: int) -> bool:
        seen.append((config(serving).versions, config(serving).labels, version))
        return len(seen) == 3

    apply(serving, "gan", promoted(serving, "gan", 3), is_served)
    assert seen == [((1, 3), {"stable": 1}, 3)] * 3
    assert (config(serving).versions, config(serving).labels) == ((3,), {"stable": 3})


def test_version_that_does_not_load_leaves_everything_as_it_was(serving):
    do(serving, promoted(serving, "gan", 1))
    before = (serving / RELEASES_FILE).read_text(), config(serving)
    with pytest.raises(ServingError, match="did not load version 3 of gan within 0.2 s"):
        apply(serving, "gan", promoted(serving, "gan", 3), lambda _: False, timeout_s=0.2)
    assert ((serving / RELEASES_FILE).read_text(), config(serving)) == before


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: promoted(s, "gan", 9), "no version 9 of gan .*; the versions there: 1, 2, 3"),
        (lambda s: promoted(s, "gan", 2, "blue"), "no label blue; use stable or canary"),
        (lambda s: promoted(s, "vae", 2), "no version of vae .*; the models there: gan"),
        (lambda s: rolled_back(s, "autoencoder"), "no version of autoencoder"),
        (lambda s: rolled_back(s / "none", "gan"), "no version of gan .*; it holds no model"),
    ],
)
def test_mistakes_are_told(serving, call, words):
    with pytest.raises(ServingError, match=words):
        call(serving)


def test_lone_version_is_no_canary(tmp_path):
    (tmp_path / "gan" / "1").mkdir(parents=True)
    with pytest.raises(ServingError, match="no other version that is stable"):
        promoted(tmp_path, "gan", 1, "canary")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"gan": 1}', '{"gan": {"stable": "1"}}', '{"gan": {"x": 1}}']
)
def test_damaged_file_is_told_and_kept(serving, text):
    (serving / RELEASES_FILE).write_text(text)
    with pytest.raises(ServingError, match="is not as inkwell promote writes it"):
        read_releases(serving)
    assert (serving / RELEASES_FILE).read_text() == text


def test_pushing_keeps_what_has_a_label_and_where_a_roll_back_leads(tmp_path):
    serving, model = tmp_path / "serving", tmp_path / "model"
    model.mkdir()
    for number in range(1, 9):
        (model / "saved_model.pb").write_text(str(number))
        push(model, serving / "gan", keep_versions=2, clock=lambda n=number: n)
        if number == 2:
            apply(serving, "gan", Release(stable=2, before=(1,)))
    left = sorted(int(p.name) for p in (serving / "gan").iterdir())
    assert left == [1, 2, 7, 8]
    document = json.loads((serving / RELEASES_FILE).read_text())
    assert document == {"gan": {"stable": 2, "canary": None, "before": [1]}}


def test_clients_get_the_largest_number_and_no_unfinished_copy(tmp_path):
    assert served_version(tmp_path, "gan") is None
    for name in ("9", "10", "1700000000", ".tmp-1800000000", "1800000000.partial", "latest"):
        (tmp_path / "gan" / name).mkdir(parents=True)
    (tmp_path / "gan" / "1900000000").write_text("a file is no version")
    (tmp_path / "diffusion").mkdir()
    assert served_version(tmp_path, "gan") == tmp_path / "gan" / "1700000000"
    assert served_version(tmp_path, "diffusion") is None


def test_clients_get_the_stable_version_where_there_is_one(tmp_path):
    for name in ("9", "10"):
        (tmp_path / "gan" / name).mkdir(parents=True)
    apply(tmp_path, "gan", Release(stable=9, canary=10))
    assert served_version(tmp_path, "gan") == tmp_path / "gan" / "9"


def test_a_damaged_version_is_told_with_what_can_be_done(tmp_path):
    serving, model = tmp_path / "serving", tmp_path / "model"
    model.mkdir()
    assert whole_version(serving, "gan") is None
    for number in (1, 2):
        (model / "saved_model.pb").write_text(str(number))
        push(model, serving / "gan", clock=lambda n=number: n)
    assert whole_version(serving, "gan") == serving / "gan" / "2"
    (serving / "gan" / "2" / "saved_model.pb").write_text("3")
    with pytest.raises(InputError) as caught:
        whole_version(serving, "gan")
    assert str(caught.value) == (
        f"The version of gan in serving is damaged: saved_model.pb differs in {serving}/gan/2. "
        "Restore that version, or remove its directory, or go back: inkwell rollback gan"
    )
    do(serving, rolled_back(serving, "gan"))
    assert whole_version(serving, "gan") == serving / "gan" / "1"
