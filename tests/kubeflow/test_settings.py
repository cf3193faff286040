"""The words from which a pod resolves the settings of a package."""

import dataclasses

import pytest

from core.config import InputError
from pipeline.config import load_config
from pipeline.kubeflow.cluster import load_cluster
from pipeline.kubeflow.settings import config_of, digest, words_of
from pipeline.profiles import profile_names


def on_cluster(profile: str, *overrides: str, **paths: str):
    cluster = load_cluster()
    config = load_config(profile, cluster.data_uri, overrides)
    return dataclasses.replace(config, **{"serving_dir": cluster.serving_store.mount, **paths})


@pytest.mark.parametrize("profile", profile_names())
def test_a_profile_on_the_default_cluster_is_its_name(profile):
    config = on_cluster(profile)
    assert words_of(config) == profile
    assert config_of(profile) == config


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["gan.epochs=7"], "smoke gan.epochs=7"),
        (["gan.generator_learning_rate=1e-5"], "smoke gan.generator_learning_rate=1e-05"),
        (["data.max_images=null"], "smoke data.max_images=null"),
        (
            ["evaluator.gates.gan.frechet_distance.threshold=20"],
            "smoke evaluator.gates.gan.0.threshold=20.0",
        ),
        (["seed=2"], None),
        (["seed=2", "gan.seed=1"], None),
        (["gan.seed=2"], "smoke gan.seed=2"),
        (["evaluator.gates.gan=[]"], None),
        (["evaluator.gates={}"], None),
        (['evaluator.gates.gan.0.reason="it\'s a \'good\' one = 3, \\"so\\" #1"'], None),
    ],
)
def test_what_differs_comes_back_as_it_was(overrides, words):
    config = on_cluster("smoke", *overrides)
    assert config_of(words_of(config)) == config
    assert words is None or words_of(config) == words


@pytest.mark.parametrize("path", ["/mnt/it's mine", "/x: #y", "/a=b c", "/on"])
def test_paths_may_hold_what_a_file_system_allows(path):
    config = on_cluster("quick", serving_dir=path, data_dir=path)
    assert config_of(words_of(config)) == config


@pytest.mark.parametrize(
    ("words", "message"),
    [("slow", "There is no profile 'slow'"), ("smoke gan.epoch=2", "did you mean epochs")],
)
def test_words_of_other_code_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        config_of(words)


def test_a_digest_knows_every_parameter_and_no_order():
    assert digest({"a": 1, "b": "2"}) == digest({"b": "2", "a": 1})
    assert len({digest(p) for p in ({"a": 1}, {"a": 2}, {"a": "1"}, {"b": 1}, {})}) == 5
