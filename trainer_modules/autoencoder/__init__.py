"""Autoencoder: encoder, bottleneck of ``code_size`` dimensions, decoder."""
