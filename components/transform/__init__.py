"""Transform: normalises and reshapes images; mean and standard deviation of the pixels."""
