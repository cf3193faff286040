"""The report of a run: one self-contained HTML page with every figure, gate, picture and URI."""
