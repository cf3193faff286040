"""What Transform does with each image: normalise, reshape, and the pixels' mean and deviation."""
