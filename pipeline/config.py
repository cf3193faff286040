"""The configuration of a run: a profile, the data directory and ``--set`` overrides, checked.

Contract: defaults live in the dataclasses of each part and nowhere else; a profile in
``pipeline/profiles`` holds only what differs, with a reason. Unknown keys, wrong types and bad
ranges are a sentence each, all given at once. Imports nothing heavy, so ``inkwell run --dry-run``
answers at once.
"""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field
from pydantic.dataclasses import dataclass

from components.evaluator.config import EvaluatorConfig, Gate
from components.idx_example_gen.config import DataConfig
from components.serving_check.config import ServingCheckConfig
from core.config import STRICT, InputError, from_dict, require, suggest, unknown
from core.models import MODELS, STAGES, load
from pipeline import profiles
from pipeline.profiles import DEFAULT_PROFILE, profile_names

# Of the nodes that run on Beam: example-gen, statistics-gen, transform.
BEAM_ARGS = (
    "--runner=FnApiRunner",  # DirectRunner would download a Go program at run time
    "--direct_num_workers=1",  # two processes were 1.7 times slower at this size
    "--sdk_container_image=unused",  # else TFX packs itself into /tmp for each Beam node, 1.5 s
)
BeamArgs = tuple[
    Annotated[str, Field(pattern=r"^--\w", description="an option, --name=value")], ...
]
_Directory = Annotated[str, Field(pattern=r"\S", description="a path that is not empty")]
_Address = Annotated[str, Field(pattern=r"\S", description="an address that is not empty")]


@dataclass(frozen=True, config=STRICT)
class _Paths:
    """What a run is called, where it finds and puts its files, and what its Beam nodes run on."""

    profile: str = DEFAULT_PROFILE  # name of a file in pipeline/profiles, without its ending
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1  # of every part that does not set its own
    data_dir: _Directory = "data/mnist"  # 28x28 images and labels, in any format
    output_dir: _Directory = "outputs"  # metadata, artifacts, logs, reports; one folder per profile
    serving_dir: _Directory = "serving_models"  # <model>/<version>, what a model server watches
    mlflow: _Address | None = None  # URI of the MLflow server or directory to log the run to
    beam_args: BeamArgs = BEAM_ARGS  # options of Beam; its workers need the storage of this process


_GROUPS = {
    "data": DataConfig,
    **{stage.settings: load(stage.config) for stage in STAGES},
    "evaluator": EvaluatorConfig,
    "serving_check": ServingCheckConfig,
}
_FIELDS = {name: dataclasses.field(default_factory=kind) for name, kind in _GROUPS.items()}
_DOC = "Everything that decides what a run computes and where it puts it."
_BODY = {"__module__": __name__, "__doc__": _DOC, "__annotations__": _GROUPS, **_FIELDS}
RunConfig: Any = dataclass(frozen=True, config=STRICT)(type("RunConfig", (_Paths,), _BODY))


def load_config(
    profile: str | None = DEFAULT_PROFILE,
    data_dir: str | None = None,
    overrides: Sequence[str] = (),
    file: Path | None = None,
    default: str = DEFAULT_PROFILE,
) -> RunConfig:
    """Builds the configuration of a run.

    Args:
        profile: Name of a file in ``pipeline/profiles``, without its ending. None takes the one
            that ``file`` extends, or ``default``.
        data_dir: Directory of images and labels; None takes the default.
        overrides: ``dotted.key=value`` each, the value in YAML; they win over the profile. An
            item of a list is named by its index, or by its ``metric`` where it has one:
            ``evaluator.gates.gan.inception_score.threshold=9``.
        file: A user's own settings, which win over the profile; its key ``extends`` names one.
        default: The profile where neither names one.

    Raises:
        InputError: No such profile, or keys, types or ranges that are wrong, or the file extends
            another profile than ``profile``.
    """
    own = read_yaml(file) if file else {}
    extends = own.pop("extends", None)
    require(
        None in (profile, extends) or profile == extends or not file,
        f"{file} extends {extends}, and --profile is {profile}; leave out one of the two.",
    )
    profile = profile or extends or default
    given = {**_merged(_read_profile(profile), own), "profile": profile}
    settings = as_yaml_has_it(from_dict(RunConfig, given, source=str(file or f"Profile {profile}")))
    if data_dir is not None:
        settings["data_dir"] = data_dir
    chosen = {f"{key}.seed" for key, part in given.items() if _has_seed(part)}
    chosen |= _apply(settings, overrides)
    _spread_seed(settings, chosen)
    return from_dict(RunConfig, {**settings, "profile": profile})


def override(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """The configuration with ``overrides`` of a run laid over it; an empty list changes nothing.

    A new ``seed`` becomes that of every part that is not given its own here. What a node computes
    with depends on its own part and the overrides alone, as the cache of a cluster must assume.

    Raises:
        InputError: As ``load_config``, or a path or ``beam_args`` is set, which are fixed when a
            run starts.
    """
    settings = as_yaml_has_it(config)
    given = _apply(settings, overrides)
    for key in ("profile", "data_dir", "output_dir", "serving_dir", "mlflow", "beam_args"):
        require(key not in given, f"{key} cannot be set for a run of a compiled pipeline.")
    if "seed" in given:
        _spread_seed(settings, given)
    return from_dict(RunConfig, settings)


def check_gates(config: RunConfig) -> None:
    """Raises ``InputError`` if a model has no gate: it would be trained and never be approved."""
    for model in MODELS:
        require(
            bool(config.evaluator.gates_of(model)),
            f"evaluator.gates.{model} is empty, so nothing could approve the model; give it at "
            "least one gate, or leave the profile's as they are.",
        )


def changed_gates(config: RunConfig, model: str) -> str:
    """What differs in the gates of ``model`` from those of the profile, in words; empty if nothing.

    Reasons do not count.
    """
    if config.profile not in profile_names():
        return ""
    usual = {gate.metric: gate for gate in load_config(config.profile).evaluator.gates_of(model)}
    given = {gate.metric: gate for gate in config.evaluator.gates_of(model)}
    words = []
    for metric in {**usual, **given}:
        before, after = (_gate_words(gates.get(metric)) for gates in (usual, given))
        if before != after:
            words.append(f"{metric} {after} (in the profile {config.profile}: {before})")
    return "; ".join(words)


def _gate_words(gate: Gate | None) -> str:
    if gate is None:
        return "has no gate"
    bound = f"{gate.direction} {gate.threshold:g}"
    bound += f" times {gate.times}" if gate.times else f" plus {gate.plus}" if gate.plus else ""
    if gate.retrain_spread is None:
        return bound
    return f"{bound}, spread {gate.retrain_spread:g}{' relative' if gate.relative else ''}"


def read_yaml(path: Path) -> dict[str, Any]:
    """Settings from a YAML file; raises ``InputError`` if it cannot be read as such."""
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader) or {}  # noqa: S506 - a safe one
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise InputError(
            f"{path} is not valid YAML{where}; write settings as key: value."
        ) from None
    if not isinstance(settings, dict):
        raise InputError(f"{path} must hold settings as key: value.")
    return settings


def _apply(settings: dict[str, Any], overrides: Sequence[str]) -> set[str]:
    """Sets the overrides in place; returns their keys.

    Raises:
        InputError: All that is wrong with them.
    """
    keys, mistakes = set(), []
    for override in overrides:
        try:
            key, value = _parse_override(override)
            _set(settings, key, value)
            keys.add(key)
        except InputError as error:
            mistakes.append(str(error))
    try:
        from_dict(RunConfig, settings)
    except InputError as error:
        mistakes.append(str(error))
    require(not mistakes, "\n".join(mistakes))
    return keys


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """The settings of both; a value or a list of ``above`` wins, groups are merged."""
    both = {
        key: _merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return {**below, **above, **both}


def _spread_seed(settings: dict[str, Any], chosen: set[str]) -> None:
    """Gives the seed of the run to every part whose own is not among the ``chosen`` keys."""
    for name, part in settings.items():
        if _has_seed(part) and f"{name}.seed" not in chosen:
            part["seed"] = settings["seed"]


def _has_seed(part: Any) -> bool:
    return isinstance(part, dict) and "seed" in part


def as_yaml_has_it(config: RunConfig) -> dict[str, Any]:
    """The settings with lists for tuples, so that their items can be set."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def run_arguments(
    profile: str | None,
    config_file: str | Path | None,
    data: str | None,
    overrides: Sequence[str],
    from_node: str | None,
) -> list[str]:
    """The arguments of ``inkwell`` for a run, with every option that was given."""
    options = [
        *(("--profile", profile), ("--config", config_file), ("--data", data)),
        *(("--from-node", from_node), *(("--set", o) for o in overrides)),
    ]
    given = [(name, str(value)) for name, value in options if value is not None]
    return ["run", *(word for option in given for word in option)]


def _read_profile(profile: str) -> dict[str, Any]:
    path = profiles.PROFILES / f"{profile}.yaml"
    if profile not in profile_names():
        raise InputError(
            f"There is no profile {profile!r}{suggest(profile, profile_names())}; "
            f"the profiles are {', '.join(profile_names())}."
        )
    return read_yaml(path)


def _parse_override(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {override} is not of the form key=value, as in gan.epochs=4.")
    if not text.strip():
        raise InputError(
            f"The value in --set {override} is empty; give one after the =, or null where the "
            "setting can be left out."
        )
    try:
        return key.strip(), yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe one
    except yaml.YAMLError:
        raise InputError(f"The value in --set {override} is not valid YAML; quote it.") from None


def _set(settings: dict[str, Any], key: str, value: Any) -> None:
    """Sets the dotted ``key``; that it exists is checked with the values."""
    *steps, last = key.split(".")
    holder: Any = settings
    for i, step in enumerate(steps):
        place = _place(holder, step, ".".join(steps[: i + 1]))
        holder = holder.setdefault(place, {}) if isinstance(holder, dict) else holder[place]
    place = _place(holder, last, key)
    if not isinstance(holder, dict) and isinstance(holder[place], dict):
        require(
            isinstance(value, dict),
            f"{key} is a group of settings ({', '.join(holder[place])}); set one of them, as in "
            f"{key}.threshold={value}",
        )
    holder[place] = value


def _place(holder: Any, step: str, path: str) -> Any:
    """Key or index in ``holder`` that ``step`` names."""
    if isinstance(holder, dict):
        return step
    require(
        isinstance(holder, list),
        f"{path} does not exist: {path.rpartition('.')[0]} is a single value.",
    )
    names = [item.get("metric", "") if isinstance(item, dict) else "" for item in holder]
    if step in names:
        return names.index(step)
    if step.isdecimal() and int(step) < len(holder):
        return int(step)
    raise InputError(unknown(path, [name for name in names if name]))


class _Loader(yaml.CSafeLoader):
    """YAML in which 2e-4 is a number, as in YAML 1.2, and a key given twice is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise InputError(f"The key {key} is given twice in one group of settings.")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
