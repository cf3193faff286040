"""The warm-up file of TensorFlow Serving: requests that it runs before a version is AVAILABLE.

Contract: a TFRecord of PredictionLog, at most 1,000 records, in ``assets.extra`` of the version.
A bad record fails the load, so only requests that a server has answered are written.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.model_server.grpc_client import predict_request
from serving.versions import WARMUP_FILE


def write_warmup(
    directory: Path, model_name: str, requests: Mapping[str, Mapping[str, np.ndarray]]
) -> Path:
    """Writes one request per signature (by name: its inputs); returns the file."""
    path = directory / WARMUP_FILE
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature_name, inputs in sorted(requests.items()):
            log = prediction_log_pb2.PredictionLog()
            request = predict_request(model_name, signature_name, inputs)
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())
    return path
