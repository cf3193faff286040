"""Measurements that print a table each; none of them is a test."""
