"""What can be said of each model in advance: the only place of these words.

Contract: ``WORDS[model]`` holds what follows from the code alone and holds for every version. What
depends on data, settings or results is never written here; the card takes it from the run's files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class ModelWords:
    """Description of one kind of model."""

    title: str
    summary: str  # one sentence
    method: str
    loss: str  # what the training curves named loss show, with the unit
    references: Sequence[str]
    uses: Sequence[str]
    signatures: Sequence[tuple[str, str]]  # name, what it does
    factors: Sequence[str]  # what the evaluation varies
    caveats: Sequence[str]


_SETTINGS = (
    "Default settings were chosen by trials that a judge scored, and the judge learns from labels."
)
_SEEDS = "Equal seeds give equal images; a seed is no secret and no watermark."

WORDS = {
    "autoencoder": ModelWords(
        title="Autoencoder",
        summary="Compresses a digit to a short code and draws it again; the code serves for "
        "clustering, maps, denoising and anomaly scores.",
        method="Convolutional encoder, a bottleneck without skip connections, and a decoder that "
        "mirrors it. Trained with binary cross-entropy on clean and on noisy images towards the "
        "clean ones, and with a contrastive loss that draws the codes of an image and of its "
        "warped copy together; then fine-tuned on the final layers of the decoder. No label "
        "is read in training.",
        loss="cross-entropy of pixels plus weighted contrastive loss (nats)",
        references=(
            "Hinton and Salakhutdinov 2006, Reducing the dimensionality of data with neural "
            "networks, Science 313.",
            "Vincent et al. 2008, Extracting and composing robust features with denoising "
            "autoencoders, ICML.",
            "Chen et al. 2020, A simple framework for contrastive learning of visual "
            "representations, ICML.",
        ),
        uses=(
            "Compressing and reconstructing 28x28 grey images like those it was trained on.",
            "Clustering and mapping such images by their code, without labels.",
            "Cleaning such images of additive noise.",
            "Ranking images by how unlike the training images they are.",
        ),
        signatures=(
            ("serving_default", "image to its reconstruction"),
            ("encode", "image to code"),
            ("decode", "code to image"),
            ("denoise", "noisy image to clean image; the same function as serving_default"),
            ("anomaly_score", "image to cross-entropy above its own entropy, nats per pixel"),
        ),
        factors=(
            "noise level of the input (denoising)",
            "kind of corruption (anomaly detection)",
            "class of the digit (clusters and map, with labels used for scoring only)",
        ),
        caveats=(
            "The bottleneck caps the quality of any reconstruction, so at low noise a denoiser "
            "without a bottleneck does better.",
            "The anomaly score is measured on artificial corruptions of test digits. Nothing is "
            "known of other anomalies; set a threshold on data of your own.",
            "Clusters follow shape, not meaning: a cluster need not be a class.",
            "The default weight of the contrastive loss was chosen by the accuracy of K-Means "
            "against the labels of held-out digits, so the clusters are not free of labels.",
        ),
    ),
    "diffusion": ModelWords(
        title="Diffusion model",
        summary="Turns noise into digits step by step, and removes noise from digits in one step.",
        method="U-Net that predicts the velocity of a variance-preserving diffusion with a shifted "
        "cosine schedule; images are drawn with SDE-DPM-Solver++(2M), guided away from the best "
        "linear denoiser. What is served is the "
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
            "class of what is generated, as the judge sees it",
        ),
        caveats=(
            _SEEDS,
            "Quality depends on the number of steps; the figures hold for the number they were "
            "measured with.",
            _SETTINGS,
            "Nobody chooses the class of what is generated.",
        ),
    ),
    "gan": ModelWords(
        title="GAN",
        summary="Draws digits in one pass from a random latent; its discriminator scores images.",
        method="Generator and discriminator trained against each other with the relativistic "
        "pairing loss and zero-centred gradient penalties on real and generated images, without "
        "normalisation layers. What is served is the exponential moving average of the generator. "
        "There is no fine-tuning. No label is read in training.",
        loss="relativistic pairing loss (nats)",
        references=(
            "Goodfellow et al. 2014, Generative adversarial nets, NeurIPS.",
            "Huang et al. 2024, The GAN is dead; long live the GAN! A modern GAN baseline, "
            "NeurIPS.",
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
        factors=("class of what is generated, as the judge sees it",),
        caveats=(
            _SEEDS,
            "A GAN may leave parts of the data out: look at the classes and at recall before you "
            "use its images as a sample of the data.",
            "The discriminator is no detector of forgeries; it knows this generator alone.",
            f"{_SETTINGS} Two of them, epochs and latent_size, were decided by figures of MNIST's "
            "test images, so those figures are slightly too good.",
            "Nobody chooses the class of what is generated.",
        ),
    ),
}

USERS = "Engineers who need a small generative model of 28x28 grey images with measured quality."
OUT_OF_SCOPE = (
    "Decisions about people: identity, age, health, or who wrote something.",
    "Reading digits for money, medicine or safety; the model does not classify.",
    "Images of another kind or size, colour images, photographs.",
    "Passing generated images off as collected data.",
)
ETHICS = (
    "What is known of the people who wrote the training images, and of their consent, is in the "
    "documentation of the data and not in the files: the images carry a class and nothing about a "
    "person. Whether the model serves all writers alike can therefore not be measured here.",
    "A generative model can give a training image back. The figures on memorisation above say how "
    "far that was looked for; where they are missing, it was not.",
    "Generated digits could be taken for real handwriting. Mark them as generated.",
)
