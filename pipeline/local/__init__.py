"""Runs the pipeline on this machine and keeps the records of its runs."""
