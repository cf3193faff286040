"""Measurements, each of which prints a table."""

import os


def use_onednn() -> None:
    """Turns oneDNN's convolutions on, as a run does; call it before TensorFlow is imported."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
