"""Autoencoder: encoder, 32-dimensional bottleneck, decoder."""
