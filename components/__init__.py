"""Pipeline components beyond TFX's own: one folder per node, with its logic in plain functions."""
