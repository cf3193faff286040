"""Whole evaluations of SavedModels whose quality is known by construction."""

import dataclasses
import io
import shutil
from pathlib import PurePosixPath

import numpy as np
import pytest
from PIL import Image

from components.evaluator.catalogue import catalogue
from components.evaluator.config import Gate
from components.evaluator.measurement import Standard
from components.evaluator.results import write_evaluation
from components.evaluator.run import evaluate_model
from components.idx_example_gen.idx import write_idx
from components.report.data import ModelReport
from components.report.topics import by_topic
from core.artifacts import read_evaluation
from core.config import InputError
from core.models import MODELS

pytestmark = pytest.mark.usefixtures("shared_yardsticks")
GENERATION_GATES = (
    Gate("fd_over_floor", "max", 3.0, 0.5, True),
    Gate("inception_score", "min", 5.0, 0.5),
    Gate("class_tv", "max", 0.15, 0.1),
    Gate("missing_modes", "max", 0.0),
)
GATES = {
    "autoencoder": (
        Gate("mse_over_pca", "max", 1.05, 0.02, True),
        Gate("kmeans_nmi_gain", "min", -0.1),
        Gate("tsne_trustworthiness", "min", 0.85),
        Gate("anomaly_auroc", "min", 0.6),
    ),
    "diffusion": (*GENERATION_GATES, Gate("denoising_gain_40", "min", -3.0, 0.1)),
    "gan": GENERATION_GATES,
}
# What takes minutes, or needs files that the project does not bring.
AUGMENTED = {"augmented_accuracy_01", "augmented_accuracy_05", "augmented_accuracy_10"}
LEFT_OUT = {
    "autoencoder": {
        *("anomaly_other_auroc", "anomaly_other_auprc"),
        *("anomaly_one_class_auroc", "anomaly_left_out_auroc"),
    },
    "diffusion": {"fid", *AUGMENTED},
    "gan": {"fid", *AUGMENTED},
}


@pytest.fixture(scope="module")
def config(small):
    return dataclasses.replace(small, gates=GATES)


@pytest.fixture(scope="module")
def judge(load, judge_uri):
    return load("judge", judge_uri)


@pytest.fixture(scope="module")
def evaluations(
    load, judge, data, config, autoencoder_uri, diffusion_uri, gan_uri, shared_yardsticks
):
    """One good evaluation of each model."""
    uris = {
        "autoencoder": autoencoder_uri(),
        "diffusion": diffusion_uri("real"),
        "gan": gan_uri("real"),
    }
    return {
        name: evaluate_model(load(name, uri), judge, data, config) for name, uri in uris.items()
    }


@pytest.mark.parametrize("model", MODELS)
def test_every_figure_of_the_catalogue_is_measured_and_a_good_model_is_blessed(evaluations, model):
    found = evaluations[model]
    levels = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert [figure.name for figure in found.figures] == list(catalogue(model, levels))
    left_out = {figure.name: figure.missing for figure in found.figures if figure.value is None}
    assert {name for name, why in left_out.items() if "not run; " in why} == LEFT_OUT[model]
    assert left_out.keys() == LEFT_OUT[model]
    assert [gate.sentence for gate in found.gates if not gate.passed] == []
    assert found.blessed
    assert found.notes == []
    assert found.champion is None
    assert len({picture.file for picture in found.plots}) == len(found.plots) >= 3


# Beginnings of the titles of tables, and files of images, by the topic they must stand under.
TABLES = {
    "samples": ("Generation: ", "Realism and variety", "Two-sample tests", "Quality by "),
    "memory": ("Nearest of 2,400 train images",),
    "reconstruction": ("Reconstruction of ",),
    "denoising": ("Denoising: ",),
    "clusters": ("K-Means, ",),
    "anomalies": ("Anomaly detection: ",),
    "discriminator": ("Discriminator on ",),
}
IMAGES = {
    "samples": ("samples", "class_histogram", "steps"),
    "process": ("reverse_process",),
    "reconstruction": ("reconstruction", "reconstruction_error"),
    "denoising": ("denoising", "denoising_curves"),
    "clusters": ("clusters",),
    "map": ("tsne",),
    "latent": ("latent_walk",),
    "memory": ("memorisation",),
    "anomalies": ("anomalies",),
    "discriminator": ("discriminator",),
}
METRICS = {
    "samples": ("frechet_distance", "kid", "precision", "classifier_accuracy", "fid")
    + ("nearest_neighbour_accuracy", "augmented_accuracy_05", "synthetic_accuracy"),
    "memory": ("memorised_share", "memorised_share_features", "memorisation_p"),
    "reconstruction": ("mse_over_pca", "reconstruction_mse"),
    "denoising": ("denoising_psnr_10", "denoising_accuracy_100"),
    "clusters": ("kmeans_nmi_gain", "kmeans_graph_ari"),
    "map": ("tsne_trustworthiness",),
    "anomalies": ("anomaly_auroc", "anomaly_other_auprc", "anomaly_one_class_auroc"),
    "discriminator": ("discriminator_pairwise",),
    "judge": ("judge_accuracy",),
}


@pytest.mark.parametrize("model", MODELS)
def test_every_table_image_and_metric_of_an_evaluation_stands_under_its_topic(
    evaluations, model, tmp_path
):
    write_evaluation(evaluations[model], tmp_path)
    metrics, pictures = read_evaluation(str(tmp_path))
    topics = by_topic(ModelReport(model, model, evaluation=metrics, pictures=pictures))
    assert "other" not in [topic.key for topic in topics]
    seen = 0
    for topic in topics:
        for table in topic.tables:
            assert table["title"].startswith(TABLES[topic.key]), table["title"]
        for picture in topic.pictures:
            assert PurePosixPath(picture.file).stem in IMAGES[topic.key], picture.file
        seen += len(topic.tables) + len(topic.pictures)
        names = {figure["name"] for figure in (*topic.figures, *topic.more_figures)}
        others = {name for key in METRICS if key != topic.key for name in METRICS[key]}
        assert not names & others
        assert names or topic.key in ("process", "latent")
    assert seen == len(metrics["tables"]) + len(pictures)


def test_a_linear_autoencoder_has_the_error_of_pca(evaluations):
    figures = {figure.name: figure for figure in evaluations["autoencoder"].figures}
    assert figures["mse_over_pca"].value == pytest.approx(1.0, abs=1e-4)
    psnr = figures["reconstruction_psnr"]
    assert psnr.value == pytest.approx(psnr.floor, abs=1e-3)
    assert figures["reconstruction_bce"].value > figures["reconstruction_bce"].floor > 0.05


def test_every_kind_of_anomaly_is_listed_beside_the_mean(evaluations):
    found = evaluations["autoencoder"]
    rows = next(t for t in found.tables if t.title.startswith("Anomaly")).rows
    assert rows[-1][0] == "mean"
    for column, name in ((1, "anomaly_auroc"), (3, "anomaly_auprc")):
        kinds = [row[column] for row in rows[:-1]]
        assert rows[-1][column] == pytest.approx(sum(kinds) / len(kinds), abs=1e-3)
        figure = found.figure(name)
        assert figure.value == pytest.approx(rows[-1][column], abs=1e-4)
        assert figure.value == pytest.approx(figure.floor, abs=1e-4)  # the model is PCA itself


def test_figures_of_the_autoencoder_lie_within_their_intervals(evaluations):
    found = evaluations["autoencoder"]
    for name in (
        *("reconstruction_mse", "reconstruction_ssim", "reconstruction_accuracy", "kmeans_nmi"),
        *("kmeans_graph_ari", "tsne_trustworthiness", "tsne_continuity", "tsne_knn_accuracy"),
        *("denoising_psnr_40", "denoising_accuracy_100", "anomaly_auroc", "anomaly_auprc"),
    ):
        figure = found.figure(name)
        assert figure.interval[0] < figure.value < figure.interval[1], name
        assert figure.floor is not None, name
    assert found.figure("mse_over_pca").interval == pytest.approx((1.0, 1.0), abs=1e-4)  # in pairs


def test_the_code_is_compared_with_pca_and_the_pixels(evaluations):
    found = evaluations["autoencoder"]
    rows = {row[0]: row for t in found.tables if t.title.startswith("Recon") for row in t.rows}
    assert list(rows) == [f"PCA, {k} dimensions" for k in (8, 16, 32, 64)] + [
        "autoencoder, 16 dimensions"
    ]
    pca, autoencoder = rows["PCA, 16 dimensions"], rows["autoencoder, 16 dimensions"]
    assert autoencoder[1:] == pytest.approx(pca[1:], 1e-3)
    errors = [row[2] for row in rows.values()]
    assert errors[:4] == sorted(errors[:4], reverse=True)
    table = next(t for t in found.tables if t.title.startswith("K-Means"))
    clustered = {row[0]: row[1:] for row in table.rows}
    code = clustered["code, 16 dimensions"]
    assert clustered["PCA, 16 dimensions"] == pytest.approx(code, abs=0.05)
    assert found.figure("kmeans_nmi").value == pytest.approx(code[2], 1e-3)


def test_the_map_comes_with_the_image_of_every_point(evaluations, config, data):
    found = evaluations["autoencoder"]
    document = found.documents["tsne.json"]
    assert len(document["points"]) == len(document["labels"]) == config.tsne_samples
    picture = next(p for p in found.plots if p.file == "figures/tsne_sprite.png")
    sheet = np.asarray(Image.open(io.BytesIO(picture.png)).convert("L")) / 255
    assert sheet.shape == (-(-config.tsne_samples // 64) * 28, 64 * 28)
    shown = [sheet[y : y + 28, x : x + 28] for y in range(0, 84, 28) for x in (0, 28, 56)]
    images = data.test_images[..., 0]
    for k, image in zip([64 * i + j for i in range(3) for j in range(3)], shown, strict=True):
        distance = np.abs(images - image).max(axis=(1, 2))
        assert document["labels"][k] == data.test_labels[distance.argmin()]


def test_other_data_is_told_from_digits_where_it_is_named(
    load, judge, data, config, autoencoder_uri, tmp_path
):
    noise = np.random.default_rng(0).integers(0, 256, (60, 28, 28)).astype(np.uint8)
    write_idx(str(tmp_path / "t10k-images-idx3-ubyte"), noise)
    write_idx(str(tmp_path / "t10k-labels-idx1-ubyte"), np.zeros(60, np.uint8))
    config = dataclasses.replace(
        config,
        anomaly_data=(str(tmp_path),),
        **{"tsne_samples": 50, "noise_levels": (0.4,), "kmeans_seeds": 1},
    )
    model = load("autoencoder", autoencoder_uri())
    found = evaluate_model(model, judge, data, config)
    assert found.figure("anomaly_other_auroc").value == 1.0
    assert found.figure("anomaly_other_auprc").value == 1.0
    assert "figures/anomalies_other.png" in {p.file for p in found.plots}
    missing = dataclasses.replace(config, anomaly_data=(str(tmp_path / "nowhere"),))
    with pytest.raises(InputError, match="evaluator.anomaly_data cannot be read"):
        evaluate_model(model, judge, data, missing)


def test_real_digits_are_as_far_from_the_test_images_as_the_floor(evaluations):
    for model in ("diffusion", "gan"):
        found = evaluations[model]
        assert 0.5 < found.figure("fd_over_floor").value < 2.0
        distance = found.figure("frechet_distance")
        assert distance.value / distance.floor == pytest.approx(
            found.figure("fd_over_floor").value, rel=1e-9
        )
        assert found.figure("missing_modes").value == 0


def test_the_linear_denoiser_beats_the_noisy_input_and_not_the_linear_optimum(evaluations):
    found = evaluations["diffusion"]
    for level in ("20", "40", "60", "80", "100"):
        psnr = found.figure(f"denoising_psnr_{level}")
        assert psnr.value > psnr.floor + 2
        assert found.figure(f"denoising_gain_{level}").value < 0.05


def test_a_collapsed_generator_is_refused_by_every_gate_of_generation(
    load, judge, data, config, gan_uri
):
    found = evaluate_model(load("gan", gan_uri("collapsed")), judge, data, config)
    assert not found.blessed
    assert [gate.passed for gate in found.gates] == [False] * 4
    assert found.figure("inception_score").value == pytest.approx(1.0, abs=1e-5)
    assert found.figure("missing_modes").value == 9
    assert found.figure("fd_over_floor").value > 20
    assert "FD as a multiple of its floor is" in found.reason


def test_a_generator_of_nan_is_refused_and_its_figures_are_shown_as_missing(
    load, judge, data, config, gan_uri
):
    found = evaluate_model(load("gan", gan_uri("broken")), judge, data, config)
    assert not found.blessed
    assert found.figure("frechet_distance").value is None
    assert found.figure("judge_accuracy").value > 0.8
    assert len(found.gates) == 4
    assert all("was not measured (signature generate gave" in g.sentence for g in found.gates)
    assert found.notes[0].startswith("generation: signature generate gave")


def test_codes_of_nan_are_refused_while_the_other_figures_stand(
    evaluations, load, judge, data, config, autoencoder_uri
):
    found = evaluate_model(load("autoencoder", autoencoder_uri(broken=True)), judge, data, config)
    assert not found.blessed
    assert found.figure("kmeans_nmi").value is None
    assert found.figure("tsne_trustworthiness").value is None
    for name in ("reconstruction_mse", "anomaly_auroc", "denoising_psnr_40"):
        whole = evaluations["autoencoder"].figure(name).value
        assert found.figure(name).value == pytest.approx(whole, rel=1e-6)


def against(champion) -> list[Standard]:
    return [Standard("the champion", champion)]


def test_the_champion_is_measured_on_the_same_images_where_a_gate_compares(
    load, judge, data, config, gan_uri, tmp_path
):
    # A copy: images are drawn once for each path.
    copy = shutil.copytree(gan_uri("real"), tmp_path / "champion")
    candidate, champion = load("gan", gan_uri("real")), load("gan", str(copy))
    found = evaluate_model(candidate, judge, data, config, against(champion))
    assert found.blessed
    assert found.champion.path == champion.path
    for name in ("fd_over_floor", "inception_score", "class_tv"):
        figure = found.figure(name)
        assert figure.champion == pytest.approx(figure.value, rel=1e-6)  # same digits, same seeds
    assert found.figure("discriminator_accuracy").champion is None


def test_a_candidate_that_is_worse_than_the_champion_is_refused(load, judge, data, config, gan_uri):
    loose = {"gan": (Gate("fd_over_floor", "max", 1e6, 0.1, True),)}
    config = dataclasses.replace(config, gates=loose)
    candidate, champion = load("gan", gan_uri("collapsed")), load("gan", gan_uri("real"))
    assert evaluate_model(candidate, judge, data, config).blessed
    found = evaluate_model(candidate, judge, data, config, against(champion))
    assert not found.blessed
    assert "the champion has" in found.reason


def test_a_collapsed_champion_keeps_no_good_generator_out(load, judge, data, config, gan_uri):
    # One digit again and again: the best precision there is, and the worst of everything else.
    gates = (*config.gates_of("gan"), Gate("precision", "min", 0.5, 0.0))
    config = dataclasses.replace(config, gates={"gan": gates})
    candidate, champion = load("gan", gan_uri("real")), load("gan", gan_uri("collapsed"))
    found = evaluate_model(candidate, judge, data, config, against(champion))
    precision = found.gates[-1]
    assert precision.champion == 1.0 > precision.value + 0.02
    assert found.blessed, found.reason
    assert precision.limit is None and "fails a gate itself" in precision.sentence


def test_a_champion_whose_codes_are_nan_keeps_no_good_autoencoder_out(
    load, judge, data, config, autoencoder_uri
):
    gates = (
        Gate("reconstruction_mse", "max", 1.0, 0.0),
        Gate("kmeans_nmi", "min", 0.0),
    )
    config = dataclasses.replace(config, gates={"autoencoder": gates})
    candidate = load("autoencoder", autoencoder_uri(used=12))
    whole, broken = (load("autoencoder", autoencoder_uri(broken=b)) for b in (False, True))
    assert not evaluate_model(candidate, judge, data, config, against(whole)).blessed
    found = evaluate_model(candidate, judge, data, config, against(broken))
    assert found.blessed, found.reason
    assert found.gates[0].champion < found.gates[0].value and found.gates[0].limit is None
    assert "could not be measured: signature encode gave" in found.gates[0].sentence


def test_the_same_seed_gives_the_same_figures(
    evaluations, load, judge, data, config, gan_uri, own_yardsticks
):
    uri, first = gan_uri("real"), evaluations["gan"]
    second = evaluate_model(load("gan", uri), judge, data, config)
    assert [f.value for f in first.figures] == [f.value for f in second.figures]
    assert [p.png for p in first.plots] == [p.png for p in second.plots]
    other = evaluate_model(load("gan", uri), judge, data, dataclasses.replace(config, seed=5))
    assert other.figure("frechet_distance").value != first.figure("frechet_distance").value


def test_a_champion_of_another_kind_is_told_and_not_passed_over(
    load, judge, data, config, gan_uri, judge_uri
):
    champion = load("gan", judge_uri)
    with pytest.raises(InputError, match="champion cannot be evaluated: .* no signature generate"):
        evaluate_model(load("gan", gan_uri("real")), judge, data, config, against(champion))
