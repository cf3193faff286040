"""The compiled YAML means the same in YAML 1.1, in YAML 1.2 and to Go's yaml.v3."""

import dataclasses
import re
from typing import Any

import pytest
import yaml

from pipeline.config import load_config
from pipeline.kubeflow.cluster import Secret
from pipeline.kubeflow.compiler import compile_pipeline
from pipeline.kubeflow.yaml_text import to_yaml

# What PyYAML, YAML 1.2's core schema or yaml.v3 (resolve.go) takes for something else than text.
TEXTS = (
    *("1e3", "1E5", "-1e-3", "+1e3", "1.5e3", "1.e3", ".5", "-.5", "+.5e3", "09", "08.5", "00"),
    *("0o17", "-0O17", "0x1f", "0X1F", "0b101", "0B1", "017", "1_000", "0o_17", "0e0", "1."),
    *("2026-11-27", "2026-1-2", "2026-11-27 10:00:00", "2026-11-27T10:00:00Z", "12:30:00", "1:2"),
    *("on", "Off", "yes", "NO", "y", "N", "true", "TRUE", "~", "null", "NULL", "", ".inf", "-.INF"),
    *(".NaN", "=", "<<", "!", "&a", "*a", "- a", "? a", "a: b", "a #b", "{a}", "[", "%", "@", "`"),
    *(" a", "a ", "a\nb\n", "\t", "é", "\u2028", "\x85", "\U0001f600", "x" * 500, "1 " * 300),
    *('{"a": 1e3}', "'", '"', "\\n", "word  " * 80),
)
# Plain scalars that all of them take for the same number, truth or nothing.
CORE = re.compile(r"-?(0|[1-9][0-9]*)|-?(0|[1-9][0-9]*)\.[0-9]+([eE][-+][0-9]+)?|true|false|null")
# And plain text that none takes for anything else: no sign, digit or dot before it, no short word.
OTHER = re.compile(
    r"[-+.]*[0-9].*|[-+]?\.(inf|nan)|y|n|yes|no|on|off|true|false|null|~|<<|=|", re.I
)


def plain_scalars(node: yaml.Node) -> list[yaml.ScalarNode]:
    """Those without quotes below a node, keys of mappings too."""
    if isinstance(node, yaml.ScalarNode):
        return [node] if node.style is None else []
    children = node.value
    if isinstance(node, yaml.MappingNode):
        children = [item for pair in node.value for item in pair]
    return [found for child in children for found in plain_scalars(child)]


def ambiguous(text: str) -> list[str]:
    """Plain scalars that not all readers take for the same value."""
    found = []
    for document in yaml.compose_all(text):
        for node in plain_scalars(document):
            is_text = node.tag == "tag:yaml.org,2002:str"
            if OTHER.fullmatch(node.value) if is_text else not CORE.fullmatch(node.value):
                found.append(node.value)
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_stays_a_text_for_every_reader(text):
    values: list[Any] = [{"key": text}, [text], {text[:100]: 1}]
    for value in values:
        written = to_yaml([value])
        assert yaml.safe_load(written) == value
        assert ambiguous(written) == []


def test_numbers_truth_and_nothing_stay_what_they_are():
    values = [1, -1, 0, 1.0, -0.5, 1e-5, 1e16, 2**40, True, False, None]
    written = to_yaml([values])
    assert yaml.safe_load(written) == values
    assert ambiguous(written) == [] and "'" not in written


def test_the_check_sees_what_pyyaml_writes_by_itself():
    seen = ambiguous(yaml.safe_dump(["1e3", "0o17", "09", "2026-1-2", "-.5", "fine"]))
    assert seen == ["1e3", "0o17", "09", "2026-1-2", "-.5"]


def test_settings_of_the_cluster_and_of_the_run_come_out_as_they_were_given(cluster, tmp_path):
    variables = {f"V{i}": text for i, text in enumerate(TEXTS)}
    odd = dataclasses.replace(
        cluster, env=variables, secrets=(Secret("1e3", {"A": "0o17"}, ("gan",)),)
    )
    compile_pipeline(load_config("smoke", "/1e3"), odd, tmp_path / "p.yaml")
    written = (tmp_path / "p.yaml").read_text()
    assert ambiguous(written) == []
    spec, platform = yaml.safe_load_all(written)
    for executor in spec["deploymentSpec"]["executors"].values():
        given = {found["name"]: found["value"] for found in executor["container"]["env"]}
        assert variables.items() <= given.items()
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    [found] = executors["gan_executor"]["secretAsEnv"]
    assert found["secretName"] == "1e3"
    assert found["keyToEnv"] == [{"secretKey": "0o17", "envVar": "A"}]
