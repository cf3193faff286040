"""Judge: the classifier whose features measure every generative model."""
