"""Measurements, each of which prints a table."""
