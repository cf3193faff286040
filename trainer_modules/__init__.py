"""Model code: one folder per model, the same file roles in each (config, model, train)."""
