"""GAN: generator, discriminator, the alternating training loop and its balance monitor."""
