"""A page on which people draw digits and watch the models work; plain HTML and JavaScript."""
