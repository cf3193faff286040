"""One loaded version of a model: validates a request against its signature and runs it.

Contract: codes and texts of errors are TensorFlow Serving's (predict_util.cc), as far as Python
can give them. Arrays in, arrays out, so that gRPC and any other front can share it.
"""

import functools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_log_pb2

from serving.model_server import open_files
from serving.model_server.batching import BatchScheduler
from serving.model_server.errors import LoadError, StatusError, code_of, invalid, plain, words_of
from serving.model_server.limits import Limits, malformed
from serving.model_server.metrics import Metrics
from serving.model_server.running import Running
from serving.versions import WARMUP_FILE, extra_file

DEFAULT_SIGNATURE = "serving_default"
_MOST_WARMUPS = 1000
_SAVED_MODELS = ("saved_model.pb", "saved_model.pbtxt")  # TensorFlow loads the first that exists


class Servable:
    """A SavedModel in memory, ready to answer; safe to use from several threads."""

    def __init__(
        self,
        name: str,
        version: int,
        path: Path,
        scheduler: BatchScheduler | None = None,
        limits: Limits = Limits(),  # noqa: B008 - it cannot change
        running: Running | None = None,
        metrics: Metrics | None = None,
    ):
        """Loads the SavedModel with the tag ``serve``.

        Args:
            name: The model's.
            version: Its number.
            path: Its directory.
            scheduler: Batches concurrent requests; None runs each by itself.
            limits: Bounds of one request.
            running: Where the work of each request is entered, so that it can be ended.
            metrics: Where runs are counted.

        Raises:
            LoadError: The directory does not hold a SavedModel that loads.
            StatusError: UNAVAILABLE: too few files can be opened.
        """
        open_files.check_room()
        open_files.prepare_thread()
        self.name = name
        self.version = version
        self.path = path
        self._scheduler, self.limits = scheduler, limits
        self._running, self._metrics = running or Running(), metrics or Metrics()
        # The loaded object owns the variables; signatures alone would not keep them alive.
        self._model = load_saved_model(path)
        self.signature_defs = _read_signature_defs(path)

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
        on_leave: Callable[[Callable[[], None]], object] | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs one signature.

        Args:
            signature_name: Empty for ``serving_default``.
            inputs: One array per input; strings are object arrays of bytes.
            output_filter: Outputs to return; empty for all.
            timeout_s: Seconds after which the work ends; None means no limit.
            on_leave: Takes a function to call when the client leaves; False if it already has.

        Raises:
            StatusError: What ``check`` raises, INVALID_ARGUMENT for inputs beyond the limits,
                DEADLINE_EXCEEDED, CANCELLED if the client has left, UNAVAILABLE from batching or
                if the server stops, or what TensorFlow reports.
        """
        signature_name = signature_name or DEFAULT_SIGNATURE
        given = {
            name: (tf.as_dtype(array.dtype).as_datatype_enum, array.shape)
            for name, array in inputs.items()
        }
        self.check(signature_name, given, output_filter)
        self.limits.check_arrays(inputs)
        signature = self.signature_defs[signature_name]
        names = tuple(output_filter) or tuple(sorted(signature.outputs))
        call = functools.partial(self._call, signature_name, names)
        with self._running.work(timeout_s) as work:
            if on_leave and on_leave(lambda: work.end(_left())) is False:
                raise _left()
            if self._scheduler is None or not _is_batchable(signature, inputs):
                with work.in_tensorflow():
                    return call(inputs)
            shapes = tuple((name, inputs[name].shape[1:]) for name in sorted(inputs))
            key = (id(self), signature_name, names, shapes)
            return self._scheduler.run(key, call, inputs, work)

    def check(
        self,
        signature_name: str,
        given: Mapping[str, tuple[int, tuple[int, ...]]],
        output_filter: Sequence[str] = (),
    ) -> None:
        """Checks names, types and shapes, before any tensor is made.

        Args:
            signature_name: As in ``run``.
            given: Type, as TensorFlow numbers it, and shape of each input.
            output_filter: As in ``run``.

        Raises:
            StatusError: FAILED_PRECONDITION for an unknown signature, INVALID_ARGUMENT for
                inputs or outputs that it does not have.
        """
        signature_name = signature_name or DEFAULT_SIGNATURE
        if signature_name not in self._model.signatures:
            raise StatusError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{signature_name}" not found.',
            )
        signature = self.signature_defs[signature_name]
        _check_inputs(signature, given)
        _check_output_filter(signature, output_filter)

    def _call(
        self, signature_name: str, names: Sequence[str], inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        began = time.monotonic()
        try:
            outputs = self._model.signatures[signature_name](
                **{name: tf.constant(value) for name, value in inputs.items()}
            )
        except tf.errors.OpError as error:
            raise StatusError(code_of(error), plain(error.message)) from error
        arrays = {name: outputs[name].numpy() for name in names}
        self._metrics.graph_run(time.monotonic() - began)
        return arrays

    def signature_map(self) -> get_model_metadata_pb2.SignatureDefMap:
        """The signatures as both fronts describe them."""
        return get_model_metadata_pb2.SignatureDefMap(signature_def=self.signature_defs)

    def warm_up(self, path: Path) -> None:
        """Runs the requests of ``assets.extra/tf_serving_warmup_requests``, where there are any.

        Raises:
            LoadError: The file is not a TFRecord of PredictionLog, or a request fails.
        """
        file = extra_file(path, WARMUP_FILE)
        if not file.is_file():
            return
        try:
            for record in tf.data.TFRecordDataset(str(file)).take(_MOST_WARMUPS):
                log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
                request = log.predict_log.request
                inputs = {name: to_array(name, proto) for name, proto in request.inputs.items()}
                self.run(request.model_spec.signature_name, inputs, request.output_filter)
        except (DecodeError, tf.errors.OpError) as error:
            raise LoadError(
                f"{file}: Please verify your warmup file is in TFRecord format",
                grpc.StatusCode.DATA_LOSS,
            ) from error
        except StatusError as error:
            raise LoadError(f"{file}: {error.message}", error.code) from error


def _left() -> StatusError:
    return StatusError(grpc.StatusCode.CANCELLED, "The client has left.")


def _is_batchable(signature: meta_graph_pb2.SignatureDef, inputs: Mapping[str, np.ndarray]) -> bool:
    """Whether every input and output has a free first dimension, and the inputs share it."""
    tensors = [*signature.inputs.values(), *signature.outputs.values()]
    shapes = [tensor.tensor_shape for tensor in tensors]
    if not all(shape.dim and shape.dim[0].size < 0 for shape in shapes):
        return False
    sizes = {len(array) for array in inputs.values()}
    return len(sizes) == 1 and sizes != {0}


def load_saved_model(path: Path) -> Any:
    """Loads the SavedModel with the tag ``serve``; ``signatures`` of the result are callable.

    Raises:
        LoadError: The directory does not hold a SavedModel that loads.
    """
    try:
        return tf.saved_model.load(str(path), tags=["serve"])
    except Exception as error:  # files of others, in every state
        code = code_of(error)
        if isinstance(error, OSError) and error.errno is None:  # of TensorFlow, which has none
            is_there = any((path / name).is_file() for name in _SAVED_MODELS)
            code = grpc.StatusCode.DATA_LOSS if is_there else grpc.StatusCode.NOT_FOUND
        raise LoadError(f"{path}: {words_of(error)}", code) from error


def to_array(name: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    """The value of the input ``name``; raises ``StatusError`` if it is malformed."""
    try:
        return tf.make_ndarray(proto)
    except (KeyError, TypeError, ValueError) as error:
        raise malformed(name) from error


def _read_signature_defs(path: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    """Signatures read from the file: the loaded object lacks details that metadata must show."""
    binary, text = (path / name for name in _SAVED_MODELS)
    saved_model = saved_model_pb2.SavedModel()
    if binary.is_file():
        saved_model.ParseFromString(binary.read_bytes())
    else:
        text_format.Parse(text.read_text(encoding="utf-8"), saved_model)
    graphs = [g for g in saved_model.meta_graphs if "serve" in g.meta_info_def.tags]
    return dict(graphs[0].signature_def)


def _check_inputs(
    signature: meta_graph_pb2.SignatureDef, inputs: Mapping[str, tuple[int, tuple[int, ...]]]
) -> None:
    if len(inputs) != len(signature.inputs):
        sent, wanted = set(inputs), set(signature.inputs)
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({_braces(sent)}) != len({_braces(wanted)}). "
            f"Sent extra: {_braces(sent - wanted)}. Missing but required: {_braces(wanted - sent)}."
        )
    for position, name in enumerate(sorted(inputs)):
        if name not in signature.inputs:
            raise invalid(
                f"input tensor alias not found in signature: {name}. "
                f"Inputs expected to be in the set {_braces(signature.inputs)}."
            )
        wanted, (given_dtype, given_shape) = signature.inputs[name], inputs[name]
        if given_dtype != wanted.dtype:
            raise invalid(
                f"Expects arg[{position}] to be {dtype_name(wanted.dtype)} "
                f"but {dtype_name(given_dtype)} is provided"
            )
        wanted_shape = tf.TensorShape(wanted.tensor_shape)
        if not wanted_shape.is_compatible_with(given_shape):
            raise invalid(
                f'The shape of input "{name}" is {list(given_shape)}; '
                f"the signature expects {[-1 if d is None else d for d in wanted_shape]}."
            )


def _check_output_filter(
    signature: meta_graph_pb2.SignatureDef, output_filter: Sequence[str]
) -> None:
    for position, name in enumerate(output_filter):
        if name not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} "
                f"Outputs expected to be in the set {_braces(signature.outputs)}."
            )
        if name in output_filter[:position]:
            raise invalid(f"duplicate output tensor alias: {name}")


def _braces(names: Collection[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def dtype_name(dtype: int) -> str:
    """TensorFlow's C++ name of a type: DT_FLOAT is ``float``, not ``float32``."""
    return types_pb2.DataType.Name(dtype).removeprefix("DT_").lower()
