"""Tiny SavedModels that answer with their own number."""

from pathlib import Path

import tensorflow as tf


class _Numbered(tf.Module):
    def __init__(self, number: int):
        super().__init__()
        self.number = tf.Variable(float(number))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def add(self, x):
        return {"y": x + self.number}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="turns")])
    def loop(self, turns):
        value = self.number
        for _ in tf.range(turns):
            value = value * 0.5 + 1.0
        return {"y": value}

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.int32, name="turns")])
    def loop_rows(self, turns):
        value = self.number
        for _ in tf.range(tf.reduce_max(turns)):
            value = value * 0.5 + 1.0
        return {"y": tf.zeros_like(turns, tf.float32) + value}


def save_numbered(directory: Path, number: int) -> Path:
    """``serving_default``: y = x + number; ``loop`` and ``loop_rows`` take ``turns`` steps."""
    module = _Numbered(number)
    signatures = {
        "serving_default": module.add,
        "loop": module.loop,
        "loop_rows": module.loop_rows,
    }
    tf.saved_model.save(module, str(directory), signatures=signatures)
    return directory
