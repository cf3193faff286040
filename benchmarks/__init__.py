"""Measurements that print a table each; none of them is a test."""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as in a run; read when TensorFlow is imported
