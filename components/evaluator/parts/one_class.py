"""Anomaly detection by a class that the model has never seen, as the literature measures it.

Two protocols (Ruff et al. 2018, ICML, section 4; Ahmed & Courville 2020, AAAI): train on one class
and find all others, or train on all but one and find that. Each needs one small network per class,
trained here as the trainer does, so this measures the architecture at this code size, not the
candidate's weights. The reference is PCA on the same images. It takes some five minutes on two
cores for ten classes, so it is measured on request only.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import expit

from components.evaluator.catalogue import ONE_CLASS
from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part, Row
from components.evaluator.metrics import anomaly, reconstruction
from components.evaluator.references import EvalData, References
from components.evaluator.results import Table
from components.evaluator.saved_model import DEEP_ONLY, LoadedModel, NotRun
from core.progress import report

_STEPS, _BATCH, _RATE, _CHANNELS = 400, 64, 2e-3, 16  # of the small network
_TRAIN_IMAGES = 8000  # at most, per network
# images [N, 28, 28, 1] -> score [N], higher for those unlike the train images
Score = Callable[[np.ndarray], np.ndarray]
# images [N, 28, 28, 1] -> codes [N, D], squared error per pixel [N]
CodeAndError = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """Anomaly detection by class; only if the config is deep."""
    return (Part("one-class anomalies", "anomalies", ONE_CLASS, measure),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """Mean AUROC over the classes, by both protocols."""
    if not references.config.deep:
        raise NotRun(DEEP_ONLY)
    data, seed = references.data, references.config.seed
    size = model.size_of("encode", "code")
    found = references.once(("one class", size), lambda: one_class_areas(data, size, seed, stage))
    means = np.nanmean(found, axis=1)  # [2 protocols, 2 methods]
    table = Table(
        f"Anomaly detection by class, AUROC: a small autoencoder ({size} dimensions) and PCA, "
        f"trained on up to {_TRAIN_IMAGES:,} images",
        (
            "class",
            *("alone normal, autoencoder", "alone normal, PCA"),
            *("left out, autoencoder", "left out, PCA"),
        ),
        [
            [name, *("" if np.isnan(a) else round(float(a), 4) for a in areas.ravel())]
            for name, areas in zip(
                [*data.classes, "mean"],
                [*found.swapaxes(0, 1), means],
                strict=True,
            )
        ],
    )
    alone, left_out = means.tolist()  # value and reference each
    rows = [Row("anomaly_one_class_auroc", *alone), Row("anomaly_left_out_auroc", *left_out)]
    return Measured(rows, tables=[table])


def one_class_areas(data: EvalData, size: int, seed: int, stage: str = "") -> np.ndarray:
    """AUROC on the test images: [2 protocols, K classes, 2 methods].

    Protocols are "this class alone is normal" and "this class was left out of the training";
    methods are the autoencoder and PCA, both with ``size`` dimensions in the code. A class without
    an image, which labels with a gap have, is NaN.
    """
    areas = np.full((2, data.num_classes, 2), np.nan)
    for k in range(data.num_classes):
        inside, seen = data.test_labels == k, data.train_labels == k
        if not (inside.any() and seen.any()):
            continue
        for protocol, (train_part, normal) in enumerate(((seen, inside), (~seen, ~inside))):
            rng = np.random.default_rng([seed, k, protocol])
            train = data.train_images[rng.permutation(np.flatnonzero(train_part))[:_TRAIN_IMAGES]]
            for method, fit in enumerate((fit_autoencoder, fit_pca)):
                score = fit(train, size, seed)(data.test_images)
                areas[protocol, k, method] = anomaly.auroc(score[normal], score[~normal])
            if stage:
                report(
                    stage, 2 * k + protocol + 1, 2 * data.num_classes, auroc=areas[protocol, k, 0]
                )
    return areas


def fit_autoencoder(images: np.ndarray, size: int, seed: int, steps: int = _STEPS) -> Score:
    """Trains a small autoencoder on ``images`` and scores by ``_distance``."""
    import keras

    from trainer_modules.autoencoder.config import AutoencoderConfig
    from trainer_modules.autoencoder.model import AutoencoderTrainer, build_decoder, build_encoder
    from trainer_modules.common.schedule import cosine_schedule

    keras.utils.set_random_seed(seed)
    config = AutoencoderConfig(code_size=size, channels=_CHANNELS)
    encoder, decoder = build_encoder(config), build_decoder(config)
    trainer = AutoencoderTrainer(encoder, decoder, noisy_share=0.0, noise_high=0.0, seed=seed)
    batch = min(_BATCH, len(images))
    epochs = max(1, round(steps / (len(images) // batch)))
    trainer.compile(keras.optimizers.Adam(cosine_schedule(_RATE, epochs * (len(images) // batch))))
    whole = images[: len(images) // batch * batch]
    trainer.fit(whole, whole, batch_size=batch, epochs=epochs, verbose=0)

    def code_and_error(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        code = encoder.predict(x, batch_size=500, verbose=0)
        logits = decoder.predict(code, batch_size=500, verbose=0)
        return code, reconstruction.squared_error(x, expit(logits))

    return _distance(code_and_error, images)


def fit_pca(images: np.ndarray, size: int, seed: int) -> Score:
    """The same by PCA, which needs no ``seed``."""
    found = reconstruction.pixel_statistics(images)

    def code_and_error(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        drawn = reconstruction.pca_reconstruction(x, found, size)
        return reconstruction.pca_code(x, found, size), reconstruction.squared_error(x, drawn)

    return _distance(code_and_error, images)


def _distance(code_and_error: CodeAndError, images: np.ndarray) -> Score:
    """Distance of an image from ``images`` [N, 28, 28, 1], within and outside the code.

    The squared Mahalanobis distance of the code plus the squared error, each in multiples of its
    mean over ``images`` (the two are added as in Denouden et al. 2018, "Improving reconstruction
    autoencoder out-of-distribution detection with Mahalanobis distance"). The error alone misses
    images that are reconstructed well from a code unlike that of any training image.
    """
    codes, errors = code_and_error(images)
    center, usual = codes.mean(axis=0), errors.mean()
    covariance = np.cov(codes, rowvar=False).reshape(codes.shape[1], -1)
    inverse = np.linalg.pinv(covariance, hermitian=True)  # some dimensions of a code may never vary

    def score(x: np.ndarray) -> np.ndarray:
        code, error = code_and_error(x)
        away = code - center
        return np.sum(away @ inverse * away, axis=1) / len(center) + error / usual

    return score
