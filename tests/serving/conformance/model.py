"""The model that the conformance suite asks about, and the files that serve it.

python -m tests.serving.conformance.model DIR     writes them and prints how to start a server
"""

import argparse
from pathlib import Path

import tensorflow as tf

NAME, STABLE, NEWEST = "half_plus", 123, 124
LABEL = "stable"


class HalfPlus(tf.Module):
    """y = x / 2 + c, and one signature for every kind of tensor."""

    def __init__(self, constant: float):
        super().__init__()
        self.constant = tf.Variable(constant)

    def signatures(self) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """Name to ``tf.function``."""
        spec = tf.TensorSpec

        @tf.function(input_signature=[spec(None, tf.float32, name="x")])
        def half_plus(x):
            return {"y": x * 0.5 + self.constant}

        @tf.function(
            input_signature=[
                spec([None], tf.int32, name="int_tensor"),
                spec([None, None], tf.float32, name="float_tensor"),
                spec([None], tf.string, name="str_tensor"),
                spec([None], tf.bool, name="bool_tensor"),
            ]
        )
        def many(int_tensor, float_tensor, str_tensor, bool_tensor):
            return {
                "int": int_tensor + 1,
                "float": float_tensor * 2,
                "str": tf.strings.upper(str_tensor),
                "bool": tf.logical_not(bool_tensor),
            }

        @tf.function(input_signature=[spec([None], tf.string, name="in_bytes")])
        def copy(in_bytes):
            return {"out_bytes": in_bytes}

        @tf.function(input_signature=[spec([], tf.int64, name="number")])
        def scalar(number):
            return {"double": number * 2}

        @tf.function(input_signature=[spec([None], tf.float32, name="x")])
        def uneven(x):
            return {"all": x, "first": x[:1]}

        @tf.function(input_signature=[spec([None], tf.float32, name="x")])
        def log(x):
            return {"y": tf.math.log(x)}

        @tf.function(input_signature=[spec([None], tf.float32, name="x")])
        def half_precision(x):
            return {"y": tf.cast(x, tf.float16)}

        @tf.function(input_signature=[spec([None], tf.float16, name="x")])
        def from_half_precision(x):
            return {"y": tf.cast(x, tf.float32)}

        @tf.function(input_signature=[spec([None], tf.uint8, name="x")])
        def small(x):
            return {"y": tf.cast(x, tf.int32)}

        @tf.function(input_signature=[spec([None], tf.float32, name="x")])
        def positive(x):
            with tf.control_dependencies([tf.debugging.assert_positive(x, "x must be positive")]):
                return {"y": tf.identity(x)}

        @tf.function(input_signature=[spec([None], tf.int32, name="x")])
        def work(x):  # about a hundredth of a second for each of x
            total = tf.zeros_like(x, tf.float32)
            for i in tf.range(tf.reduce_max(x)):
                noise = tf.random.stateless_normal([600, 1000], tf.stack([1, i]))
                total += tf.reduce_sum(noise)
            return {"y": total}

        return {
            "serving_default": half_plus,
            "many": many,
            "copy": copy,
            "scalar": scalar,
            "uneven": uneven,
            "log": log,
            "half_precision": half_precision,
            "from_half_precision": from_half_precision,
            "small": small,
            "positive": positive,
            "work": work,
        }


def write_store(folder: Path, base_path: str | None = None) -> Path:
    """Writes both versions, models.config and monitoring.config under ``folder``.

    Args:
        folder: Is created.
        base_path: The model's directory as the server sees it; the one here by default.
    """
    for version, constant in ((STABLE, 2.0), (NEWEST, 3.0)):
        module = HalfPlus(constant)
        target = folder / NAME / str(version)
        tf.saved_model.save(module, str(target), signatures=module.signatures())
    (folder / "models.config").write_text(
        f"""model_config_list {{
  config {{
    name: "{NAME}"
    base_path: "{base_path or folder / NAME}"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: {STABLE} versions: {NEWEST} }} }}
    version_labels {{ key: "{LABEL}" value: {STABLE} }}
  }}
}}
"""
    )
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }\n")
    return folder


def flags(folder: str | Path) -> list[str]:
    """What a server is started with, but for its ports."""
    return [
        f"--model_config_file={folder}/models.config",
        f"--monitoring_config_file={folder}/monitoring.config",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_grpc_healthcheck_service=true",
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    there = write_store(parser.parse_args().folder.resolve(), f"/conformance/{NAME}")
    print(
        "docker run --rm -p 8500:8500 -p 8501:8501 -v "
        f"{there}:/conformance --entrypoint tensorflow_model_server tensorflow/serving:2.21.0 "
        f"--port=8500 --rest_api_port=8501 {' '.join(flags('/conformance'))}\n"
        "INKWELL_SERVING_ENDPOINT=localhost:8500,8501 "
        ".venv/bin/python -m pytest tests/serving/conformance"
    )
