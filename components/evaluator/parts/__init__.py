"""Parts of an evaluation: one measurement each, with its table and plots."""
