"""A variational autoencoder: the fourth model that tests add, as docs/developing.md says how to."""
