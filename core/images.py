"""The one shape of an image: 28 x 28 grey pixels, float32 in [0, 1] wherever models see them."""

HEIGHT, WIDTH, CHANNELS = 28, 28, 1
IMAGE_SHAPE = (HEIGHT, WIDTH, CHANNELS)
