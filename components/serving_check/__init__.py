"""Node serving-check-*: a real model server answers for the candidate before it may be pushed."""
