"""Compiles the pipeline for Kubeflow Pipelines, submits it, and runs in its pods."""
