"""Metrics: arrays in, numbers out, on NumPy, SciPy and scikit-learn alone."""
