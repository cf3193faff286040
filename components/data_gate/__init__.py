"""Schema and data gate: stops a run with faulty data, in plain words."""
