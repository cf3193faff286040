"""Description of the autoencoder."""

from components.model_card.words import ModelWords

WORDS = ModelWords(
    title="Autoencoder",
    summary="Compresses a digit to a short code and reconstructs it; the code serves for "
    "clustering, maps, denoising and anomaly scores.",
    method="Convolutional encoder, a bottleneck without skip connections, and a decoder that "
    "mirrors it. Trained with binary cross-entropy on clean and on noisy images towards the "
    "clean ones, and with a contrastive loss that pulls the codes of an image and of its "
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
        "The anomaly score is measured on artificial corruptions of test digits. Other "
        "anomalies were not measured; choose a threshold on your own data.",
        "Clusters follow shape, not meaning: a cluster need not be a class.",
        "The default weight of the contrastive loss was chosen by the accuracy of K-Means "
        "against the labels of held-out digits, so the clusters are not free of labels.",
    ),
)
