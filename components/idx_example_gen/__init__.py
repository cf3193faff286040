"""ExampleGen for IDX files: reads, checks, describes and splits 28x28 grey images."""
