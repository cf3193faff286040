"""Evaluator: judges each model on held-out images, beside floor and champion, and blesses it or not."""
