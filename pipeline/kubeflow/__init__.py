"""Compiles the pipeline for Kubeflow Pipelines, submits it, and is what its pods run."""
