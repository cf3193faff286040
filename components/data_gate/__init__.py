"""Schema and data gate: stops a run whose data is not what it should be, in plain words."""
