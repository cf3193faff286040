import dataclasses
import re
import subprocess
import sys

import pytest
import yaml

from core.config import InputError
from core.models import MODELS
from pipeline import profiles as profiles_module
from pipeline.config import RunConfig, check_gates, load_config, override
from pipeline.profiles import DEFAULT_PROFILE, PROFILES, profile_names
from tests.conftest import ROOT


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    """A folder of profiles of our own."""
    monkeypatch.setattr(profiles_module, "PROFILES", tmp_path)
    return tmp_path


def test_the_profiles_are_quick_full_and_smoke_and_all_load():
    assert profile_names() == ["full", "quick", "smoke"]
    assert DEFAULT_PROFILE == "quick"
    for name in profile_names():
        assert load_config(name).profile == name


@pytest.mark.parametrize("name", ["full", "quick", "smoke"])
def test_a_profile_holds_nothing_that_is_the_default(name):
    given = yaml.safe_load((PROFILES / f"{name}.yaml").read_text()) or {}
    defaults = dataclasses.asdict(RunConfig())

    def same(given: dict, default: dict, where: str = "") -> list[str]:
        return [
            f"{where}{key}"
            for key, value in given.items()
            if not isinstance(value, dict) and value == default[key]
        ] + [
            path
            for key, value in given.items()
            if isinstance(value, dict)
            for path in same(value, default[key], f"{where}{key}.")
        ]

    assert same(given, defaults) == []


def test_every_model_has_gates_in_every_profile():
    for name in profile_names():
        evaluator = load_config(name).evaluator
        assert all(evaluator.gates_of(model) for model in MODELS)


def test_overrides_win_over_the_profile_and_the_profile_over_the_defaults(profiles):
    (profiles / "p.yaml").write_text("gan: {epochs: 3, batch_size: 32}\nseed: 5\n")
    config = load_config("p", overrides=["gan.epochs=9"])
    assert (config.gan.epochs, config.gan.batch_size) == (9, 32)
    assert config.gan.latent_size == RunConfig().gan.latent_size


def test_the_seed_reaches_every_part_that_does_not_set_its_own(profiles):
    (profiles / "p.yaml").write_text("judge: {seed: 11}\n")
    config = load_config("p", overrides=["seed=7", "gan.seed=13"])
    assert (config.seed, config.judge.seed, config.gan.seed) == (7, 11, 13)
    assert config.autoencoder.seed == config.evaluator.seed == config.diffusion.seed == 7


def test_data_directory_is_taken():
    assert load_config("smoke", "data/fashion").data_dir == "data/fashion"


@pytest.mark.parametrize(
    ("override", "value"),
    [("2e-4", 2e-4), ("1E-3", 1e-3), (".5e-3", 5e-4), ("0.001", 0.001)],
)
def test_numbers_with_an_exponent_are_numbers(override, value):
    config = load_config("smoke", overrides=[f"judge.learning_rate={override}"])
    assert config.judge.learning_rate == pytest.approx(value)


def test_null_and_lists_can_be_set():
    config = load_config(
        "smoke",
        overrides=["data.max_images=null", "evaluator.noise_levels=[0.1, 0.4]"],
    )
    assert config.data.max_images is None
    assert config.evaluator.noise_levels == (0.1, 0.4)


def test_a_gate_is_set_by_its_metric(profiles):
    (profiles / "p.yaml").write_text(
        "evaluator: {gates: {gan: [{metric: frechet_distance, direction: max, threshold: 20}]}}\n"
    )
    config = load_config("p", overrides=["evaluator.gates.gan.frechet_distance.threshold=3"])
    [gate] = config.evaluator.gates_of("gan")
    assert gate.threshold == 3.0
    config = load_config("p", overrides=["evaluator.gates.gan.0.threshold=4"])
    assert config.evaluator.gates_of("gan")[0].threshold == 4.0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "gan.epoch=3",
            "Unknown setting gan.epoch (did you mean epochs?); valid settings: batch_size",
        ),
        ("gna.epochs=3", "did you mean gan?"),
        ("gan=3", "gan must be a group of settings (epochs, "),
        ("gan.epochs.more=3", "gan.epochs is a single value"),
        ("gan.epochs", "not of the form key=value"),
        ("=3", "not of the form key=value"),
        ("gan.epochs=three", "gan.epochs must be of type int, not 'three'"),
        ("gan.epochs=2.5", "gan.epochs must be of type int"),
        ("gan.epochs=true", "gan.epochs must be of type int"),
        ("gan.epochs=0", "epochs must be at least 1"),
        ("gan.epochs=[", "not valid YAML"),
        ("judge.learning_rate=.nan", "judge.learning_rate must be finite"),
        ("judge.learning_rate=1", "judge.learning_rate must be above 0 and below 1, not 1."),
        ("gan.channels=6", "gan.channels must be at least 4 and a multiple of 4, not 6."),
        ("gan.precision=half", "gan.precision must be float32 or mixed_bfloat16, not 'half'."),
        ("finetune_autoencoder.layers=[]", "layers must be a list of at least 1, not []."),
        ("finetune_autoencoder.layers=head", "layers must be a list, not 'head'."),
        (
            "evaluator.noise_levels=[0.1, 3]",
            "evaluator.noise_levels[1] must be above 0 and at most",
        ),
        ("finetune_diffusion.noise_low=2.0", "finetune_diffusion: noise_low must be below"),
        ("data.max_images=3", "max_images must be null or at least"),
        ("seed=-1", "seed must be between"),
        ("output_dir=", "output_dir= is empty"),
        ("seed=", "The value in --set seed= is empty; give one after the ="),
        ("seed= ", "is empty"),
        ("output_dir=null", "output_dir must be of type str"),
        ("output_dir=' '", "output_dir must be a path that is not empty"),
        ("evaluator.gates.gan.no_such_metric.threshold=1", "no_such_metric"),
    ],
)
def test_a_bad_override_is_one_sentence(override, words):
    with pytest.raises(InputError) as caught:
        load_config("smoke", overrides=[override])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_mistakes_are_told_at_once():
    overrides = ["gan.epochs=0", "seed", "judge.x=1", "data.max_images.y=1", "seed=7"]
    with pytest.raises(InputError) as caught:
        load_config("smoke", overrides=overrides)
    assert len(str(caught.value).splitlines()) == 4
    for words in ("gan.epochs must be", "--set seed is not", "judge.x", "data.max_images.y does"):
        assert words in str(caught.value)


def test_all_mistakes_of_a_profile_are_told_with_its_name(profiles):
    (profiles / "p.yaml").write_text("gan: {epochs: 0, seed: 1.5}\nserving_check: {images: 1}\n")
    with pytest.raises(InputError) as caught:
        load_config("p")
    lines = str(caught.value).splitlines()
    assert sorted(line.split(" must ")[0] for line in lines) == [
        "Profile p: gan.epochs",
        "Profile p: gan.seed",
        "Profile p: serving_check.images",
    ]


def test_overrides_of_a_run_are_what_compiling_with_them_gives():
    overrides = ["gan.epochs=3", "seed=5", "evaluator.gates.gan.frechet_distance.threshold=7"]
    assert override(load_config("smoke"), overrides) == load_config("smoke", overrides=overrides)
    config = load_config("smoke", overrides=["gan.seed=9"])
    assert override(config, []) == config
    assert override(config, ["gan.epochs=3"]).gan.seed == 9
    assert override(config, ["seed=5", "judge.seed=6"]).judge.seed == 6


def test_a_model_without_a_gate_is_refused():
    check_gates(load_config("smoke"))
    config = load_config("smoke", overrides=["evaluator.gates.gan=[]"])
    with pytest.raises(InputError, match=r"evaluator\.gates\.gan is empty"):
        check_gates(config)


@pytest.mark.parametrize("path", ["data_dir=/x", "serving_dir=/x", "output_dir=x", "profile=full"])
def test_what_is_fixed_at_compile_time_cannot_be_overridden(path):
    with pytest.raises(InputError, match="cannot be set for a run of a compiled pipeline"):
        override(load_config("smoke"), [path])


def test_a_profile_that_does_not_exist_is_told_with_those_that_do():
    with pytest.raises(InputError, match=r"no profile 'quik' \(did you mean quick\?\)"):
        load_config("quik")
    with pytest.raises(InputError, match=r"no profile 'QUICK' \(did you mean quick\?\)"):
        load_config("QUICK")
    with pytest.raises(InputError, match="full, quick, smoke"):
        load_config("../profiles/quick")


def test_a_slip_in_a_profile_names_the_profile(profiles):
    (profiles / "p.yaml").write_text("gan: {epoch: 3}\n")
    with pytest.raises(
        InputError, match=r"Profile p: Unknown setting gan\.epoch \(did you mean epochs\?\)"
    ):
        load_config("p")


def test_a_key_given_twice_in_a_profile_is_an_error(profiles):
    (profiles / "p.yaml").write_text("seed: 1\nseed: 2\n")
    with pytest.raises(InputError, match="seed is given twice"):
        load_config("p")


def test_loading_imports_neither_tensorflow_nor_tfx():
    code = (
        "import sys; from pipeline.config import load_config; load_config('smoke');"
        "print([m for m in ('tensorflow', 'tfx', 'keras', 'numpy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_options_take_the_profiles_that_there_are():
    name, between = f"({'|'.join(profile_names())})", r"\W{1,4}(or )?"
    for folder in ("pipeline", "benchmarks"):
        for path in (ROOT / folder).glob("*.py"):
            text = path.read_text()
            assert not re.search(rf"{name}{between}{name}{between}{name}", text), path
            for option in re.findall(r'add_argument\("--profile".*', text):
                assert "choices=profile_names()" in option, path
