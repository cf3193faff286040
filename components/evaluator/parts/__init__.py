"""Measurements, one module each, by the names that the table of models gives them.

Contract: a module offers ``parts(config) -> tuple[Part, ...]``. The evaluator imports those of its
model by name, and the judge's, but no others, so that the code of one model's measurements is not
part of another model's evaluator.
"""
