"""What the user sees: the live display, tables and sentences."""
