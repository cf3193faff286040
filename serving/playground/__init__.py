"""A page to draw digits and try the models; plain HTML and JavaScript."""
