"""Pipeline components beyond TFX's own: each folder is one node, its logic in plain functions."""
