"""Evaluator: judges each model beside floor and champion, and blesses it or not."""
