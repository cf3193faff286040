"""What can be said of the VAE in advance."""

from components.model_card.words import SEEDS, ModelWords

WORDS = ModelWords(
    title="VAE",
    summary="Compresses a digit to a short code and generates digits from random codes.",
    method="Dense encoder and decoder, trained on the evidence lower bound. No label is read in "
    "training.",
    loss="negative evidence lower bound (nats per pixel)",
    references=("Kingma and Welling 2014, Auto-encoding variational Bayes, ICLR.",),
    uses=("Showing how a model is added.",),
    signatures=(
        ("serving_default", "image to its reconstruction"),
        ("encode", "image to code"),
        ("decode", "code to image"),
        ("generate", "seed and count to images"),
        ("anomaly_score", "image to mean squared error of its reconstruction"),
    ),
    factors=("class of what is generated, as the judge sees it",),
    caveats=(SEEDS,),
)
