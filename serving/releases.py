"""Which versions clients get: the labels ``stable`` and ``canary``, promotion and rollback.

Contract: ``releases.json`` in the serving directory maps the labels of a model to versions;
``models.config`` next to it is made from it, and a model server that polls that file follows. For a
model without labels the newest version is served. A label moves in two steps, as TensorFlow Serving
requires: both versions are served first, then the label moves. Each file is replaced in one rename,
so a crash leaves the old or the new one. Who changes a label holds the lock of the model.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from core.config import InputError, suggest
from core.files import FILE_MODE, write_whole
from core.foreign import is_plain
from serving.errors import ServingError
from serving.locking import locked
from serving.versions import damage, judged_by_quality, list_versions, read_lineage

RELEASES_FILE = "releases.json"
CONFIG_FILE = "models.config"
STABLE, CANARY = "stable", "canary"
_REMEMBERED = 10


@dataclasses.dataclass(frozen=True)
class Release:
    """Labels of one model; without any, the newest version is served."""

    stable: int | None = None
    canary: int | None = None
    before: tuple[int, ...] = ()  # formerly stable versions, the latest last

    @property
    def labels(self) -> dict[str, int]:
        """Version by label."""
        found = {STABLE: self.stable, CANARY: self.canary}
        return {label: version for label, version in found.items() if version is not None}

    @property
    def kept(self) -> set[int]:
        """Versions that must not be removed: the labelled ones and the target of a rollback."""
        return {*self.labels.values(), *self.before[-1:]}


def read_releases(serving_dir: Path) -> dict[str, Release]:
    """Releases by model; empty if none was ever labelled.

    Raises:
        ServingError: The file is not as ``write_releases`` makes it.
    """
    path = serving_dir / RELEASES_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ServingError(f"{path} cannot be read ({error.strerror}).") from None
    try:
        found = {name: Release(**given) for name, given in json.loads(text).items()}
        found = {name: dataclasses.replace(r, before=tuple(r.before)) for name, r in found.items()}
        versions = [v for r in found.values() for v in (r.stable, r.canary, *r.before)]
        if not all(v is None or (type(v) is int and v >= 0) for v in versions):
            raise ValueError
    except (ValueError, AttributeError, TypeError):
        raise ServingError(
            f"{path} is not as inkwell promote writes it; restore it, or remove it to serve the "
            "newest version of every model."
        ) from None
    return found


def served_version(serving_dir: str | Path, model: str) -> Path | None:
    """Directory of the version of ``model`` that clients get: the one labelled stable, or the
    newest, the largest number; None where there is no version.

    A directory under another name is still being copied and does not count.
    """
    versions = {v.number: v.path for v in list_versions(Path(serving_dir) / model)}
    stable = read_releases(Path(serving_dir)).get(model, Release()).stable
    return versions.get(stable) or versions.get(max(versions, default=-1))


def best_version(serving_dir: str | Path, model: str) -> Path | None:
    """Directory of the version with the best primary metric, the newest of equals.

    The metric is that of each version's own evaluation, in lineage.json. Versions whose gates did
    not judge quality, and those that do not record a metric, do not count; None if none counts.
    """

    ranks: dict[tuple[float, int], Path] = {}
    for version in list_versions(Path(serving_dir) / model):
        found = read_lineage(version.path).get("primary") or {}
        value = found.get("value")
        if isinstance(value, (int, float)) and judged_by_quality(version.path):
            better = -value if found.get("better") == "lower" else value
            ranks[better, version.number] = version.path
    return ranks[max(ranks)] if ranks else None


def whole_version(serving_dir: str | Path, model: str) -> Path | None:
    """``served_version``, with every file as it was pushed.

    Raises:
        InputError: A file is missing or differs.
    """
    version = served_version(serving_dir, model)
    if version and (what := damage(version)):
        raise InputError(
            f"The version of {model} in serving is damaged: {what} in {version}. Restore that "
            f"version, or remove its directory, or go back: inkwell rollback {model}"
        )
    return version


def kept_versions(serving_dir: Path, model: str) -> set[int]:
    """Versions of a model that must stay on disk, whatever their age: labelled ones, those that
    a rollback goes to, and the best.
    """
    kept = read_releases(serving_dir).get(model, Release()).kept
    best = best_version(serving_dir, model)
    return {*kept, int(best.name)} if best else kept


def served_models(serving_dir: Path) -> list[str]:
    """Names of the models that have a version, sorted.

    A hidden directory, or one whose name holds a character that is not seen, is no model.
    """
    if not serving_dir.is_dir():
        return []
    named = [p for p in serving_dir.iterdir() if is_plain(p.name) and p.name[0] != "."]
    return sorted(p.name for p in named if p.is_dir() and list_versions(p))


def check_served(serving_dir: Path, model: str) -> None:
    """Raises ``ServingError`` unless ``model`` is a name in ``served_models``, and no path."""
    if model not in served_models(serving_dir):
        raise no_version(serving_dir, model)


def no_version(serving_dir: Path, model: str) -> ServingError:
    """The error if the directory has no version of a model; names the models it has."""
    found = served_models(serving_dir)
    there = f"the models there: {', '.join(found)}." if found else "it holds no model."
    meant = suggest(model, found)
    return ServingError(f"There is no version of {model} in {serving_dir}{meant}; {there}")


def write_config(
    serving_dir: Path,
    models: Sequence[str],
    added: Mapping[str, set[int]] | None = None,
    directory: Path | None = None,
) -> Path:
    """Writes models.config for these models by their releases.

    Args:
        serving_dir: Holds a directory for each model.
        models: Names.
        added: Additional versions to serve, by model: the first of the two steps.
        directory: Of the file; the serving directory by default.

    Returns:
        The file.
    """
    # Here, as most commands read releases and write none.
    from google.protobuf import text_format
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

    releases = read_releases(serving_dir)
    config = ModelServerConfig()
    config.model_config_list.SetInParent()  # even if it stays empty
    for model in models:
        release = releases.get(model, Release())
        entry = config.model_config_list.config.add(
            name=model,
            base_path=str(serving_dir.resolve() / model),
            model_platform="tensorflow",
            version_labels=release.labels,
        )
        versions = sorted({*release.labels.values(), *(added or {}).get(model, set())})
        if versions:
            entry.model_version_policy.specific.versions.extend(versions)
        else:
            entry.model_version_policy.latest.num_versions = 1
    path = (directory or serving_dir) / CONFIG_FILE
    head = "# Made from releases.json by inkwell serve, promote and rollback.\n"
    write_whole(path, head + text_format.MessageToString(config, as_utf8=True), FILE_MODE)
    return path


def promoted(serving_dir: Path, model: str, version: int | None, label: str = STABLE) -> Release:
    """The release in which ``version`` has the label; None removes the labels.

    Raises:
        ServingError: There is no such model, version or label, or nothing to compare a canary with.
    """
    if label not in (STABLE, CANARY):
        raise ServingError(f"There is no label {label}; use {STABLE} or {CANARY}.")
    numbers = _numbers(serving_dir, model)
    now = read_releases(serving_dir).get(model, Release())
    if version is None:
        if label == CANARY:
            raise ServingError(
                "Serving the newest version removes both labels; for a canary, name its version: "
                f"inkwell promote {model} {numbers[-1]} --label {CANARY}"
            )
        return Release(before=now.before)
    if version not in numbers:
        raise ServingError(
            f"There is no version {version} of {model} in {serving_dir}; the versions there: "
            f"{', '.join(map(str, numbers))}."
        )
    if label == CANARY:
        others = [number for number in numbers if number != version]
        stable = now.stable if now.stable is not None else (others or [None])[-1]
        if stable in (None, version):
            raise ServingError(
                f"Version {version} of {model} cannot be a canary: there is no other version "
                "that is stable."
            )
        return dataclasses.replace(now, stable=stable, canary=version)
    if version == now.stable:
        return dataclasses.replace(now, canary=None if now.canary == version else now.canary)
    last = now.stable if now.stable is not None else _last_but(numbers, version)
    before = (*now.before, *([] if last is None else [last]))[-_REMEMBERED:]
    return Release(version, None if now.canary == version else now.canary, before)


def rolled_back(serving_dir: Path, model: str) -> Release:
    """The previous release: the version that was stable, or else the next older one.

    Raises:
        ServingError: There is no older version to go back to.
    """
    numbers = _numbers(serving_dir, model)
    now = read_releases(serving_dir).get(model, Release())
    current = now.stable if now.stable is not None else numbers[-1]
    before = [number for number in now.before if number in numbers and number != current]
    older = [number for number in numbers if number < current]
    if not before and not older:
        raise ServingError(
            f"There is no version of {model} to go back to: {current} is the oldest in "
            f"{serving_dir}."
        )
    return Release(before[-1] if before else older[-1], None, tuple(before[:-1]))


def apply(
    serving_dir: Path,
    model: str,
    release: Release,
    is_served: Callable[[int], bool] | None = None,
    timeout_s: float = 120.0,
) -> None:
    """Moves the labels of one model, in two steps where a server runs.

    Args:
        serving_dir: Holds a directory for each model.
        model: Name.
        release: The new release.
        is_served: Whether a version answers; None if no server runs.
        timeout_s: Seconds for a server to load new versions.

    Raises:
        ServingError: The server did not load a version in time, or the directory cannot be
            written; nothing has changed.
    """
    # releases.json and models.config are those of all models.
    with locked(serving_dir):
        try:
            _apply(serving_dir, model, release, is_served, timeout_s)
        except OSError as error:
            raise ServingError(
                f"{serving_dir} cannot be written ({error.strerror}), so the labels of {model} "
                "cannot change; run this as a user who may write there."
            ) from None


def _apply(
    serving_dir: Path,
    model: str,
    release: Release,
    is_served: Callable[[int], bool] | None,
    timeout_s: float,
) -> None:
    models = sorted({*served_models(serving_dir), model})
    releases = read_releases(serving_dir)
    current = _numbers(serving_dir, model)[-1]
    old = releases.get(model, Release()).labels or {"newest": current}
    wanted = set(release.labels.values())
    if is_served is not None and wanted:
        write_config(serving_dir, models, {model: {*old.values(), *wanted}})
        end = time.monotonic() + timeout_s
        while not all(is_served(version) for version in wanted):
            if time.monotonic() > end:
                write_config(serving_dir, models)
                raise ServingError(
                    f"The server did not load version {', '.join(map(str, sorted(wanted)))} of "
                    f"{model} within {timeout_s:g} s; the labels are as before. Its log has the "
                    "reason."
                )
            time.sleep(0.1)
    releases[model] = release
    text = json.dumps({k: dataclasses.asdict(v) for k, v in sorted(releases.items())}, indent=2)
    write_whole(serving_dir / RELEASES_FILE, text + "\n", FILE_MODE)
    write_config(serving_dir, models)


def _numbers(serving_dir: Path, model: str) -> list[int]:
    check_served(serving_dir, model)
    return [version.number for version in list_versions(serving_dir / model)]


def _last_but(numbers: Sequence[int], version: int) -> int | None:
    others = [number for number in numbers if number != version]
    return others[-1] if others else None
