"""Serves pushed versions to clients; imports neither components nor trainer_modules."""
