"""Description of the GAN."""

from components.model_card.words import SEEDS, SETTINGS, ModelWords

WORDS = ModelWords(
    title="GAN",
    summary="Generates digits in one pass from a random latent; its discriminator scores images.",
    method="Generator and discriminator trained against each other with the relativistic "
    "pairing loss and zero-centred gradient penalties on real and generated images, without "
    "normalisation layers. What is served is the exponential moving average of the generator. "
    "There is no fine-tuning. No label is read in training.",
    loss="relativistic pairing loss (nats)",
    references=(
        "Goodfellow et al. 2014, Generative adversarial nets, NeurIPS.",
        "Huang et al. 2024, The GAN is dead; long live the GAN! A modern GAN baseline, NeurIPS.",
        "Turner et al. 2019, Metropolis-Hastings generative adversarial networks, ICML.",
    ),
    uses=(
        "Generating 28x28 grey images like those it was trained on, fast, for tests, "
        "demonstrations and teaching.",
        "Walking between two latents.",
    ),
    signatures=(
        ("serving_default", "latent to image"),
        ("generate", "seed and count to images, each the discriminator's pick of two"),
        ("discriminate", "image to the discriminator's probability that it is real"),
    ),
    factors=("class of the generated image, as labelled by the judge",),
    caveats=(
        SEEDS,
        "A GAN may omit parts of the data: check the classes and the recall before you "
        "use its images as a sample of the data.",
        "The discriminator is not a detector of forgeries; it knows only this generator.",
        f"{SETTINGS} Two of them, epochs and latent_size, were chosen by metrics on MNIST's "
        "test images, so those metrics are slightly too good.",
        "The class of a generated image cannot be chosen.",
    ),
)
