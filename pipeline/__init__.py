"""The pipeline: configuration, assembly, runners and command line."""
