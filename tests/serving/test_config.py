"""models.config is read as strictly as upstream reads it (server_core.cc), in its words."""

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.model_server.config import ConfigError, models_of

GOOD = 'name: "m" base_path: "/models/m" model_platform: "tensorflow"'


def models(*configs: str):
    text = "model_config_list {" + "".join(f"config {{ {config} }}" for config in configs) + "}"
    parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return models_of(parsed, "models.config")


def test_a_platform_may_be_named_in_the_old_way():
    [model] = models('name: "m" base_path: "/models/m" model_type: TENSORFLOW')
    assert model == models(GOOD)[0]


@pytest.mark.parametrize(
    ("configs", "said"),
    [
        ([GOOD, GOOD], "Illegal to list model m multiple times in config list"),
        (
            ['name: "m" base_path: "models/m" model_platform: "tensorflow"'],
            "Expected model m to have an absolute path or URI; got base_path()=models/m",
        ),
        (
            ['name: "m" base_path: "/models/m"'],
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is m",
        ),
        ([GOOD + " model_type: TENSORFLOW"], "Illegal setting both ModelServerConfig::model_type"),
        (
            ['name: "m" base_path: "/models/m" model_type: OTHER'],
            "ModelServerConfig::model_type choice 2 not supported.",
        ),
        (
            ['name: "m" base_path: "/models/m" model_platform: "pytorch"'],
            "Model m requests unsupported platform pytorch",
        ),
        (
            ['name: "m" base_path: "gs://models/m" model_platform: "tensorflow"'],
            "gs://models/m lies in gs:// storage, which this server cannot read",
        ),
    ],
)
def test_what_upstream_refuses_is_refused(configs, said):
    with pytest.raises(ConfigError) as caught:
        models(*configs)
    assert str(caught.value).startswith("models.config: ") and said in str(caught.value)
