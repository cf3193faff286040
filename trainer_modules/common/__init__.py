"""What every model shares: strict configs, data reading, progress, export."""
