"""The configuration of a run: a profile, the data directory and ``--set`` overrides, checked.

Contract: defaults live in the dataclasses of each part and nowhere else; a profile in
``pipeline/profiles`` holds only what differs, with a reason. Unknown keys, wrong types and bad
ranges are one sentence. Imports nothing heavy, so ``inkwell run --dry-run`` answers at once.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from components.evaluator.config import EvaluatorConfig
from components.idx_example_gen.config import DataConfig
from components.serving_check.config import ServingCheckConfig
from core.config import InputError, from_dict, require
from core.models import MODELS, STAGES, load
from pipeline import profiles
from pipeline.profiles import DEFAULT_PROFILE, profile_names


@dataclasses.dataclass(frozen=True)
class _Paths:
    """What a run is called and where it finds and puts its files."""

    profile: str = DEFAULT_PROFILE
    seed: int = 1  # of every part that does not set its own
    data_dir: str = "data/mnist"  # four IDX files, named as MNIST's
    output_dir: str = "outputs"  # metadata, artifacts, logs and reports, one folder per profile
    serving_dir: str = "serving_models"  # <model>/<version>, what a model server watches

    def __post_init__(self):
        require(0 <= self.seed < 2**31, "seed must be between 0 and 2147483647.")
        for name in ("data_dir", "output_dir", "serving_dir"):
            require(bool(getattr(self, name).strip()), f"{name} must not be empty.")


_GROUPS = {
    "data": DataConfig,
    **{stage.settings: load(stage.config) for stage in STAGES},
    "evaluator": EvaluatorConfig,
    "serving_check": ServingCheckConfig,
}
# Everything that decides what a run computes and where it puts it.
RunConfig: Any = dataclasses.make_dataclass(
    "RunConfig",
    [(name, kind, dataclasses.field(default_factory=kind)) for name, kind in _GROUPS.items()],
    bases=(_Paths,),
    frozen=True,
    namespace={"__module__": __name__},
)


def load_config(
    profile: str = DEFAULT_PROFILE, data_dir: str | None = None, overrides: Sequence[str] = ()
) -> RunConfig:
    """Builds the configuration of a run.

    Args:
        profile: Name of a file in ``pipeline/profiles``, without its ending.
        data_dir: Directory of the IDX files; None takes the default.
        overrides: ``dotted.key=value`` each, the value in YAML; they win over the profile. An
            item of a list is named by its index, or by its ``metric`` where it has one:
            ``evaluator.gates.gan.frechet_distance.threshold=20``.

    Raises:
        InputError: No such profile, or a key, a type or a range that is wrong.
    """
    settings = _with_lists(dataclasses.asdict(RunConfig()))
    given = _read_profile(profile)
    if data_dir is not None:
        given["data_dir"] = data_dir
    merge(settings, given, source=f"profile {profile}")
    chosen = {f"{key}.seed" for key, part in given.items() if _has_seed(part)}
    _spread_seed(settings, chosen | _apply(settings, overrides))
    settings["profile"] = profile
    return from_dict(RunConfig, settings)


def override(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """The configuration with ``overrides`` of a run laid over it; an empty list changes nothing.

    A new ``seed`` becomes that of every part that is not given its own here. What a node computes
    with depends on its own part and the overrides alone, as the cache of a cluster must assume.

    Raises:
        InputError: As ``load_config``, or a path is set, which is fixed when a run starts.
    """
    settings = _with_lists(dataclasses.asdict(config))
    given = _apply(settings, overrides)
    for key in ("profile", "data_dir", "output_dir", "serving_dir"):
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


def read_yaml(path: Path) -> dict[str, Any]:
    """Settings from a YAML file; raises ``InputError`` if it cannot be read as such."""
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader) or {}  # noqa: S506 - a safe one
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path} must hold settings as key: value.")
    return settings


def _apply(settings: dict[str, Any], overrides: Sequence[str]) -> set[str]:
    """Sets the overrides in place; returns their keys."""
    pairs = [_parse_override(override) for override in overrides]
    for key, value in pairs:
        _set(settings, key, value)
    return {key for key, _ in pairs}


def _spread_seed(settings: dict[str, Any], chosen: set[str]) -> None:
    """Gives the seed of the run to every part whose own is not among the ``chosen`` keys."""
    for name, part in settings.items():
        if _has_seed(part) and f"{name}.seed" not in chosen:
            part["seed"] = settings["seed"]


def _has_seed(part: Any) -> bool:
    return isinstance(part, dict) and "seed" in part


def _with_lists(value: Any) -> Any:
    """Tuples as lists, as YAML gives them, so that their items can be set."""
    if isinstance(value, dict):
        return {key: _with_lists(inner) for key, inner in value.items()}
    return [_with_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


def _read_profile(profile: str) -> dict[str, Any]:
    path = profiles.PROFILES / f"{profile}.yaml"
    if profile not in profile_names():
        raise InputError(
            f"There is no profile {profile!r}{_suggest(profile, profile_names())}; "
            f"the profiles are {', '.join(profile_names())}."
        )
    return read_yaml(path)


def merge(
    base: dict[str, Any],
    given: dict[str, Any],
    source: str,
    open_groups: Sequence[str] = (),
    where: str = "",
) -> None:
    """Lays ``given`` over ``base`` in place; a key that ``base`` lacks is the user's mistake.

    Empty dicts of ``base`` and its ``open_groups``, named by dotted keys, are open: their keys are
    checked by the dataclass that owns them.
    """
    is_open = not base or where.rstrip(".") in open_groups
    for key, value in given.items():
        if key not in base and not is_open:
            raise _unknown(f"{where}{key}", key, list(base), source)
        if isinstance(base.get(key), dict) and isinstance(value, dict):
            merge(base[key], value, source, open_groups, f"{where}{key}.")
        else:
            base[key] = copy.deepcopy(value)


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
    """Sets the dotted ``key``; only keys that exist can be set."""
    steps = key.split(".")
    holder: Any = settings
    for i, step in enumerate(steps):
        is_last = i == len(steps) - 1
        place = _place(holder, step, ".".join(steps[: i + 1]))
        if not is_last:
            holder = holder[place]
        elif isinstance(holder[place], dict) and holder[place] and not isinstance(value, dict):
            inner = ", ".join(f"{key}.{name}" for name in list(holder[place])[:3])
            raise InputError(f"{key} is a group of settings; set one of them, as {inner}.")
        else:
            holder[place] = value


def _place(holder: Any, step: str, path: str) -> Any:
    """Key or index in ``holder`` that ``step`` names."""
    if isinstance(holder, dict):
        if step not in holder:
            raise _unknown(path, step, list(holder), "--set")
        return step
    if isinstance(holder, list):
        names = [item.get("metric", "") if isinstance(item, dict) else "" for item in holder]
        if step in names:
            return names.index(step)
        if step.isdecimal() and int(step) < len(holder):
            return int(step)
        raise _unknown(path, step, [name for name in names if name], "--set")
    raise InputError(f"{path} does not exist: {path.rpartition('.')[0]} is a single value.")


def _unknown(path: str, key: str, known: list[str], source: str) -> InputError:
    known = [str(name) for name in known]
    return InputError(
        f"Unknown setting {path} in {source}{_suggest(str(key), known)}; "
        f"known there are {', '.join(sorted(known))}."
    )


def _suggest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word.lower(), known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


class _Loader(yaml.SafeLoader):
    """YAML in which 2e-4 is a number, as in YAML 1.2, and a key given twice is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise InputError(f"The key {key} stands twice in one group of settings.")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
