"""Our metrics beside those of scikit-learn and scikit-image on the same arrays."""

import numpy as np
import pytest

from components.evaluator.metrics import (
    agreement,
    anomaly,
    denoising,
    embedding,
    filters,
    reconstruction,
)

RNG = np.random.default_rng(5)
IMAGES = RNG.random((4, 28, 28, 1))
OTHERS = np.clip(IMAGES + 0.2 * RNG.standard_normal(IMAGES.shape), 0, 1)


def test_ssim_is_that_of_scikit_image():
    from skimage.metrics import structural_similarity

    expected = [
        structural_similarity(
            *(a[..., 0], b[..., 0]),
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )[1].mean()
        for a, b in zip(IMAGES, OTHERS, strict=True)
    ]
    assert reconstruction.ssim(IMAGES, OTHERS) == pytest.approx(expected, abs=1e-6)


def test_psnr_is_that_of_scikit_image():
    from skimage.metrics import peak_signal_noise_ratio

    expected = [
        peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in zip(IMAGES, OTHERS, strict=True)
    ]
    assert reconstruction.psnr(IMAGES, OTHERS) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_non_local_means_is_that_of_scikit_image_but_for_its_approximate_exponential(strength):
    from skimage.restoration import denoise_nl_means

    found = filters.non_local_means(OTHERS, strength, patch=5, reach=7)
    for image, clean in zip(OTHERS[..., 0], found[..., 0], strict=True):
        expected = denoise_nl_means(image, 5, 7, h=strength, fast_mode=False)
        assert clean == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("shape", [(10, 10), (10, 4), (3, 10)])
def test_partition_scores_are_those_of_scikit_learn(shape):
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    classes = RNG.integers(0, shape[1], 400)
    clusters = np.where(RNG.random(400) < 0.6, classes % shape[0], RNG.integers(0, shape[0], 400))
    found = agreement.agreement(clusters, classes)
    assert found.nmi == pytest.approx(normalized_mutual_info_score(classes, clusters), abs=1e-6)
    assert found.ari == pytest.approx(adjusted_rand_score(classes, clusters), abs=1e-6)


def test_trustworthiness_and_continuity_are_those_of_scikit_learn():
    from sklearn.manifold import trustworthiness

    points = RNG.standard_normal((700, 8))
    embedded = points[:, :2] + 0.3 * RNG.standard_normal((700, 2))
    for a, b in ((points, embedded), (embedded, points)):
        expected = trustworthiness(a, b, n_neighbors=12)
        assert embedding.trustworthiness(a, b).mean() == pytest.approx(expected, abs=1e-6)


def test_map_accuracy_is_that_of_scikit_learns_classifier():
    from sklearn.model_selection import LeaveOneOut, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    points, classes = RNG.standard_normal((80, 2)), RNG.integers(0, 3, 80)
    points[:, 0] += classes
    found = embedding.knn_hits(points, classes, 5)
    expected = cross_val_score(KNeighborsClassifier(5), points, classes, cv=LeaveOneOut())
    assert found.mean() == pytest.approx(expected.mean(), abs=1e-6)


@pytest.mark.parametrize("digits", [1, 9])  # with ties and without
def test_ranking_is_that_of_scikit_learn_with_weights_too(digits):
    from sklearn.metrics import average_precision_score, roc_auc_score

    normal = np.round(RNG.normal(0, 1, 300), digits)
    odd = np.round(RNG.normal(0.7, 1, 70), digits)
    labels, scores = np.r_[np.zeros(300), np.ones(70)], np.r_[normal, odd]
    weights = RNG.integers(0, 4, (3, 370)).astype(float)
    assert anomaly.auroc(normal, odd) == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
    [precision] = anomaly.ranking(normal, odd)[1]
    assert precision == pytest.approx(average_precision_score(labels, scores), abs=1e-6)
    area, precision = anomaly.ranking(normal, odd, (weights[:, :300], weights[:, 300:]))
    for i, weight in enumerate(weights):
        given = {"sample_weight": weight}
        assert area[i] == pytest.approx(roc_auc_score(labels, scores, **given), abs=1e-6)
        assert precision[i] == pytest.approx(
            average_precision_score(labels, scores, **given), abs=1e-6
        )


@pytest.mark.parametrize("size", [3, 20])
def test_pca_is_that_of_scikit_learn(size):
    from sklearn.decomposition import PCA

    x = (
        0.5
        + 0.05
        * RNG.standard_normal((300, 12, 12, 1))
        * np.linspace(2, 0.1, 12)[None, :, None, None]
    )
    fit = PCA(size, svd_solver="full").fit(x.reshape(300, -1))
    statistics = reconstruction.pixel_statistics(x)
    assert statistics.values[:size] == pytest.approx(fit.explained_variance_, abs=1e-6)
    expected = fit.inverse_transform(fit.transform(x.reshape(300, -1))).reshape(x.shape)
    found = reconstruction.pca_reconstruction(x, statistics, size)
    assert found == pytest.approx(np.clip(expected, 0, 1), abs=1e-6)


@pytest.mark.parametrize("sigma", [0.2, 0.8])
def test_linear_optimum_is_the_linear_regression_of_scikit_learn_on_clipped_noise(sigma):
    """On the same images with a hundred draws of the noise each; rows of a few bright pixels."""
    from sklearn.linear_model import LinearRegression

    levels = np.cumsum(RNG.integers(-60, 61, (600, 5, 5, 1)), axis=1).clip(0, 255)
    train = (levels / 255).astype(np.float32)
    given = [denoising.add_noise(train, sigma, seed).reshape(600, -1) for seed in range(100)]
    fit = LinearRegression().fit(np.concatenate(given), np.tile(train.reshape(600, -1), (100, 1)))
    noisy = denoising.add_noise(train, sigma, seed=1000)
    expected = np.clip(fit.predict(noisy.reshape(600, -1)), 0, 1).reshape(train.shape)
    found = denoising.linear_optimum(noisy, train, sigma)
    assert found == pytest.approx(expected, abs=0.03)
    assert np.mean(np.abs(found - expected)) < 0.003


def test_entropy_is_that_of_scipy():
    from scipy.stats import entropy

    expected = [entropy(np.stack([a, 1 - a]).reshape(2, -1)).mean() for a in IMAGES]
    assert reconstruction.entropy_floor(IMAGES) == pytest.approx(expected, abs=1e-6)
