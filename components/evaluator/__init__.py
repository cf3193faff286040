"""Evaluator: compares each model with references and champion, and blesses it or not."""
