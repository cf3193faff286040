"""A Kubeflow Pipelines backend in one folder: a folder for the store, a process per task.

Contract: it gives no more than the real backend, by the Go source of KFP 2.16.1 and 2.17.0 and of
Argo 4.0.5. ``api`` takes a package as the API server does, ``driver`` resolves a task's inputs,
``launcher`` is the pod, ``state`` keeps objects and metadata, and ``backend`` is Argo: tasks as
soon as they can, another attempt by its rule, no new task after a failure. What still differs is
listed in docs/kubeflow.md.
"""

from benchmarks.kubeflow_backend.api import load, needs, root_parameters
from benchmarks.kubeflow_backend.backend import Backend, Loss, allowed_retries
from benchmarks.kubeflow_backend.state import ObjectStore, Root, Run, Task

__all__ = [
    "Backend",
    "Loss",
    "ObjectStore",
    "Root",
    "Run",
    "Task",
    "allowed_retries",
    "load",
    "needs",
    "root_parameters",
]
