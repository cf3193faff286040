"""Model code, one folder per model: config, model, signatures and train in each."""
