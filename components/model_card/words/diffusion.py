"""Description of the diffusion model."""

from components.model_card.words import SEEDS, SETTINGS, ModelWords

WORDS = ModelWords(
    title="Diffusion model",
    summary="Turns noise into digits step by step, and removes noise from digits in one step.",
    method="U-Net that predicts the velocity of a variance-preserving diffusion with a shifted "
    "cosine schedule, conditioned on clusters of the train images that K-Means finds; generate "
    "draws clusters in proportion to their size. Images are sampled with SDE-DPM-Solver++(2M), "
    "guided away from the best "
    "linear denoiser; the settings of the sampler are among those of the training. What is "
    "served is the "
    "exponential moving average of the weights. A copy is fine-tuned on its last layers for "
    "denoising and serves denoise alone; generate uses the network before that. No "
    "label is read in training.",
    loss="squared error of the velocity (unit variance)",
    references=(
        "Ho et al. 2020, Denoising diffusion probabilistic models, NeurIPS.",
        "Song et al. 2021, Denoising diffusion implicit models, ICLR.",
        "Salimans and Ho 2022, Progressive distillation for fast sampling of diffusion models, "
        "ICLR.",
    ),
    uses=(
        "Generating 28x28 grey images like those it was trained on, for tests, demonstrations "
        "and teaching.",
        "Cleaning such images of additive Gaussian noise of a known level.",
        "Showing the forward and the reverse process.",
    ),
    signatures=(
        ("serving_default", "the same as denoise"),
        ("denoise", "noisy image and noise level to the estimate of the clean image"),
        ("generate", "seed, count and steps to images"),
        ("forward", "image, time step and seed to the diffused image"),
    ),
    factors=(
        "noise level of the input (denoising)",
        "class of the generated image, as labelled by the judge",
    ),
    caveats=(
        SEEDS,
        "Quality depends on the number of steps; the metrics hold for the number they were "
        "measured with.",
        SETTINGS,
        "The class of a generated image cannot be chosen.",
    ),
)
