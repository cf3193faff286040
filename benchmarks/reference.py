"""Writes the reference in docs/reference from the code: settings, metrics, gates and commands.

    python -m benchmarks.reference

Contract: every name, default, range and description on these pages comes from the code, so they are
never edited by hand; a test compares them with what this module would write.
"""

import html
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from typer.cli import get_docs_for_click

from benchmarks.tables import markdown
from components.evaluator.catalogue import REFERENCES, catalogue
from components.evaluator.config import Gate
from core.models import MODELS
from pipeline.config import load_config
from pipeline.profiles import DEFAULT_PROFILE, profile_names
from pipeline.schema import profile_schema

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
_MADE = "This page is made from the code by `python -m benchmarks.reference`.\n\n"


def pages() -> dict[str, str]:
    """Every page, by the name of its file in ``FOLDER``."""
    return {
        "settings.md": f"# Settings\n\n{_MADE}{_settings()}",
        "metrics.md": f"# Metrics\n\n{_MADE}{_metrics()}",
        "gates.md": f"# Gates\n\n{_MADE}{_gates()}",
        "commands.md": f"# Commands\n\n{_MADE}{_commands()}",
    }


def _settings() -> str:
    """A table for each group: setting, value by profile, range, meaning."""
    schema = profile_schema()
    values = {name: load_config(name) for name in profile_names()}
    top, groups = {}, {}
    for name, part in schema["properties"].items():
        (groups if "$ref" in part else top)[name] = part
    text = (
        "A profile is a YAML file that holds what differs from the defaults; "
        f"`{DEFAULT_PROFILE}` is the usual one. `--set group.setting=value` overrides both.\n\n"
        "## Of the run\n\n" + _table("", top, values)
    )
    for name, part in groups.items():
        own = schema["$defs"][part["$ref"].rpartition("/")[2]]
        text += f"\n## {name}\n\n{own['description']}\n\n"
        text += _table(name, own["properties"], values)
    return text


def _table(group: str, parts: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    lines = [["setting", DEFAULT_PROFILE, "other profiles", "allowed", "meaning"]]
    for name, part in parts.items():
        if name in ("profile", "gates"):  # gates have a page of their own
            continue
        of = {
            profile: _value(getattr(getattr(config, group) if group else config, name))
            for profile, config in values.items()
        }
        usual = of.pop(DEFAULT_PROFILE)
        others = [f"{profile}: {value}" for profile, value in of.items() if value != usual]
        words = _cell(part.get("description", ""))
        lines.append([f"`{name}`", usual, "; ".join(others), _allowed(part), words])
    return markdown(lines, numbers=False)


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_value, value)) or "none"
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else f"`{value}`"


def _allowed(part: Mapping[str, Any]) -> str:
    """The type or the choices, and the range, of a setting in JSON Schema."""
    options = part.get("anyOf", [part])
    words = []
    for option in options:
        if "enum" in option:
            words.append(", ".join(map(str, option["enum"])))
            continue
        kind = {"number": "number", "integer": "whole number", "boolean": "true or false"}
        word = kind.get(option.get("type"), {"array": "list", "null": "none"}.get(option["type"]))
        words.append(" ".join(filter(None, [word or "text", _range(option)])))
    return " or ".join(words)


def _range(part: Mapping[str, Any]) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
        "multipleOf": "a multiple of",
    }
    return ", ".join(f"{word} {part[key]:,}" for key, word in words.items() if key in part)


def _metrics() -> str:
    """A table for each model: metric, direction, what it is compared with, description."""
    levels = load_config().evaluator.noise_levels
    text = (
        "Every metric is measured on the test images, by "
        "[evaluation.md](../evaluation.md)'s protocols, next to the reference named here.\n"
    )
    for model in MODELS:
        lines = [["metric", "name", "better", "reference", "what it is"]]
        for metric in catalogue(model, levels).values():
            reference = REFERENCES.get(metric.reference, "")
            row = (metric.title, f"`{metric.name}`", metric.better or "neither", reference)
            lines.append([*row, _cell(metric.description)])
        text += f"\n## {model}\n\n{markdown(lines, numbers=False)}"
    return text


def _gates() -> str:
    """A table for each profile with gates and each model: threshold, reason."""
    text = (
        "A model is pushed if it passes every gate of its profile. The threshold is a number, or "
        "is made from a reference that the same evaluation measures. `spread` is how far "
        "retraining alone moves the metric; a model with a spread there is also compared with the "
        "champion.\n"
    )
    for profile in profile_names():
        gates = load_config(profile).evaluator.gates
        for model in MODELS:
            if not gates.get(model):
                continue
            lines = [["metric", "condition", "spread", "reason"], *map(_gate, gates[model])]
            text += f"\n## {profile}: {model}\n\n{markdown(lines, numbers=False)}"
    return text


def _gate(gate: Gate) -> list[str]:
    condition = f"{'≤' if gate.direction == 'max' else '≥'} {gate.threshold:g}"
    if gate.times:
        condition += f" times {REFERENCES[gate.times]}"
    if gate.plus:
        condition += f" plus {REFERENCES[gate.plus]}"
    spread = "" if gate.retrain_spread is None else f"{gate.retrain_spread:g}"
    if spread and gate.relative:
        spread += " of the value"
    return [f"`{gate.metric}`", condition, spread, _cell(gate.reason)]


def _commands() -> str:
    """The help of every command."""
    from pipeline.cli.main import app

    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="inkwell")
    _, _, body = text.partition("\n")
    intro, _, _ = body.partition("**Commands**")  # a list that cuts its words
    commands = body[body.index("\n## ") :]
    return "\n".join(_plain((intro.rstrip() + "\n" + commands).splitlines())).strip() + "\n"


def _plain(lines: list[str]) -> Iterator[str]:
    """Help in Markdown, without the terminal's markup and the options that all commands have."""
    for line in lines:
        if not re.match(r"\* `--(help|install-completion|show-completion)`", line):
            yield re.sub(r"\[/?(?:bold|dim|red|green|cyan|yellow)\]", "", line).rstrip()


def _cell(text: str) -> str:
    """Words that stand in a cell as they are."""
    return " ".join(html.escape(text, quote=False).replace("|", r"\|").split())


def main() -> int:
    """Writes the pages; returns the exit code."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
