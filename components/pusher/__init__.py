"""Node push-*: an approved model becomes the newest version that a model server sees."""
