"""The pipeline itself: configuration, assembly, runners and command line."""
