"""Pages about past runs and pushed versions: each one HTML file that needs no network."""
