"""Judge: the classifier whose features are used to measure every generative model."""
