"""Starts pods of packages that were compiled before the entry moved to ``pipeline.kubeflow``."""

import sys

from pipeline.kubeflow.entrypoint import main

if __name__ == "__main__":
    sys.exit(main())
