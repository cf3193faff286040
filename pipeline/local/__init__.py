"""Runs the pipeline on this machine and keeps records of its runs."""
