"""The settings of a compiled pipeline, in the few words from which a pod resolves them again.

Contract: ``config_of(words_of(config)) == config`` where code and profiles are the same, as they
are in a package and an image of one commit. The words are a variable of each pod, which the
cluster's cache key leaves out, so a setting changes the key of those nodes alone whose ``digest``
it changes. Imports nothing heavy.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from pipeline.config import RunConfig, as_yaml_has_it, load_config
from pipeline.kubeflow.cluster import load_cluster

VARIABLE = "INKWELL_SETTINGS"
_PLAIN = re.compile(r"[A-Za-z/][\w/.-]*")  # text that is short in JSON, Go and a shell


def words_of(config: RunConfig) -> str:
    """The profile of a configuration, and what differs from it as ``--set`` takes it.

    The paths of ``cluster.yaml`` count as the profile's.
    """
    usual = as_yaml_has_it(_usual(config.profile))
    words = [config.profile]
    for key, value in _differences(usual, as_yaml_has_it(config), config.seed):
        words.append(f"{key}={_text(value)}")
    return shlex.join(words)


def config_of(words: str) -> RunConfig:
    """The configuration that ``words_of`` describes.

    Raises:
        InputError: This code has no such profile, or no such setting.
    """
    profile, *overrides = shlex.split(words)
    return _usual(profile, overrides)


def digest(parameters: Mapping[str, Any]) -> str:
    """A short text that changes with any parameter of a node."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:16]


def _usual(profile: str, overrides: Sequence[str] = ()) -> RunConfig:
    """The profile with the paths of the default cluster."""
    cluster = load_cluster()
    store = f"serving_dir={_text(cluster.serving_store.mount)}"
    return load_config(profile, cluster.data_uri, [store, *overrides])


def _differences(usual: Any, given: Any, seed: int, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of what in ``given`` is not as in ``usual``.

    A seed that is not that of the run is always named, as ``load_config`` would replace it.
    """
    if isinstance(usual, dict) and isinstance(given, dict) and usual.keys() == given.keys():
        pairs = [(key, usual[key], value) for key, value in given.items()]
    elif isinstance(usual, list) and isinstance(given, list) and len(usual) == len(given):
        pairs = [(str(i), *both) for i, both in enumerate(zip(usual, given, strict=True))]
    else:
        if usual != given or (path.endswith(".seed") and given != seed):
            yield path, given
        return
    for key, before, after in pairs:
        yield from _differences(before, after, seed, f"{path}.{key}".lstrip("."))


def _text(value: Any) -> str:
    """The value as YAML reads it."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    return json.dumps(value)
