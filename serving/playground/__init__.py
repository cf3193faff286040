"""A page on which people draw digits and watch the models work; plain HTML and JavaScript."""

CLUSTERS_FILE = "clusters.json"  # in assets.extra of an autoencoder: its K-Means centres
