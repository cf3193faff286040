"""From a pushed version to a client; imports neither components nor trainer_modules."""
