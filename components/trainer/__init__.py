"""Trainer: TFX's, which records the digest of the model that it wrote."""
