"""The report of a run: one self-contained HTML page with every metric, gate, plot and URI."""
