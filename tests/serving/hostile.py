"""A SavedModel that is a program: it writes a file while a server warms it up."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.model_server.grpc_client import predict_request
from serving.versions import WARMUP_FILE, extra_file


def save_hostile(base: Path, trace: Path, name: str) -> None:
    """Writes version 1 of the model ``name`` below ``base``; loading it writes ``trace``."""

    class Hostile(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.string, name="text")])
        def write(self, text):
            with tf.control_dependencies([tf.io.write_file(str(trace), text)]):
                return {"text": tf.identity(text)}

    module, version = Hostile(), base / "1"
    tf.saved_model.save(module, str(version), signatures={"serving_default": module.write})
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(predict_request(name, "", {"text": np.array(b"was here")}))
    warmup = extra_file(version, WARMUP_FILE)
    warmup.parent.mkdir()
    with tf.io.TFRecordWriter(str(warmup)) as writer:
        writer.write(log.SerializeToString())
