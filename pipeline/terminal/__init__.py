"""The output for users: the live display, tables and sentences."""
