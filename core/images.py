"""The one shape of an image: grey, and float32 in [0, 1] wherever models see it."""

HEIGHT, WIDTH, CHANNELS = 28, 28, 1
IMAGE_SHAPE = (HEIGHT, WIDTH, CHANNELS)
PIXELS = HEIGHT * WIDTH * CHANNELS
