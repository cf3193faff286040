"""A report with everything in it, drawn from a fixed random generator."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from components.data_gate.histograms import Histogram
from components.report.data import EmbeddingMap, Link, ModelReport, Push, ReportData, Since
from core.artifacts import Picture, Stage
from core.comparison import Change, Metric
from core.statistics import ColumnStatistics, SplitStatistics

BELL = (0.02, 0.08, 0.3, 0.35, 0.2, 0.05)  # shares of a histogram


def png(width: int, height: int, seed: int = 0) -> bytes:
    """A grey noise picture as a PNG file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels, "L").save(buffer, "PNG")
    return buffer.getvalue()


def history(model: str, stage: str, points: int = 300) -> dict:
    rng = np.random.default_rng(len(model))
    step = np.arange(1, points + 1) * 20
    loss = 0.5 * np.exp(-step / 900) + 0.08 + 0.01 * rng.standard_normal(points)
    return {
        "model": model,
        "stage": stage,
        "seed": 1,
        "seconds": 61.25,
        "steps": int(step[-1]),
        "images_per_second": 9876.5,
        "parameters": {"trainable": 123456, "frozen": 7890},
        "trained_layers": [f"{model}/conv14", f"{model}/head"],
        "curves": {
            "step": step.tolist(),
            "loss": loss.tolist(),
            "accuracy": (1 - loss / 2).tolist(),
            "epoch_end_step": [2000.0, 4000.0, 6000.0],
            "val_loss": [0.2, 0.12, 0.1],
        },
        "events": [{"step": 120, "name": "dead discriminator", "message": "Accuracy 1.00 for 50."}],
        "final": {"loss": float(loss[-1]), "val_accuracy": 0.9931},
    }


def evaluation(model: str, passed: bool = True) -> dict:
    return {
        "model": model,
        "blessed": passed,
        "seconds": 42.0,
        "seed": 1,
        "samples": 10000,
        "figures": [
            {
                "name": "frechet_distance",
                "topic": "samples",
                "title": "Fréchet distance",
                "value": 4.5678,
                "floor": 0.4321,
                "floor_title": "real train images, as many, against the same test images",
                "better": "lower",
                "description": "Distance of the judge's features of samples and test images.",
                "champion": 5.25,
                "interval": [4.25, 4.75],
                "missing": "",
            },
            {
                "name": "recall",
                "topic": "samples",
                "title": "Recall",
                "value": None,
                "floor": 0.875,
                "floor_title": "real train images",
                "better": "higher",
                "description": "",
                "champion": None,
                "interval": None,
                "missing": "not run; inkwell evaluate --deep measures it",
            },
            {
                "name": "inception_score",
                "topic": "samples",
                "title": "Inception Score",
                "value": float("nan"),
                "floor": None,
                "floor_title": "",
                "better": "higher",
                "description": "",
                "champion": None,
            },
        ],
        "gates": [
            {
                "metric": "frechet_distance",
                "title": "Fréchet distance",
                "value": 4.5678,
                "threshold": 10.0 if passed else 2.0,
                "direction": "max",
                "interval": [4.25, 4.75],
                "champion": 5.25,
                "difference": -0.6822,
                "difference_interval": [-0.9, -0.5],
                "retrain_spread": 0.1,
                "limit": 5.875,
                "passed": passed,
                "sentence": "Fréchet distance 4.568 must be at most 2.",
                "reason": "two samples of real images differ by half as much",
            }
        ],
        "champion": {"version": "17", "path": "serving_models/gan/17"},
        "images": [],
        "tables": [
            {
                "title": "Denoising",
                "topic": "denoising",
                "columns": ["noise", "PSNR"],
                "rows": [["0.2", 22.125]],
            },
        ],
    }


def check(name: str, passed: bool, value: float, limit: float, sentence: str) -> dict:
    return {
        "name": name,
        "split": "test",
        "kind": "drift",
        "value": value,
        "limit": limit,
        "passed": passed,
        "sentence": sentence,
    }


def embedding_map(count: int = 300) -> EmbeddingMap:
    """Three groups of points; the image of point i is all of grey level i modulo 256."""
    rng = np.random.default_rng(5)
    labels = np.arange(count) % 3
    points = np.array([[0, 0], [30, 0], [0, 30]])[labels] + rng.normal(0, 4, (count, 2))
    rows = -(-count // 64)
    sheet = np.zeros((rows * 28, 64 * 28), np.uint8)
    for i in range(count):
        y, x = 28 * (i // 64), 28 * (i % 64)
        sheet[y : y + 28, x : x + 28] = i % 256
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    return EmbeddingMap(points.tolist(), [str(k) for k in labels], buffer.getvalue())


def since() -> Since:
    """As of a version that one metric got worse since, one better, and others neither."""
    values = {"frechet_distance": 4.5678, "recall": 0.61} | {f"denoising_{i}": i for i in range(5)}

    def metric(name: str, value: float) -> Metric:
        title = f"{name.replace('_', ' ').capitalize()}: normalised, on the judge's features"
        better = "higher" if name == "recall" else "lower"
        return Metric(name, title, value, (value - 0.1, value + 0.1), better)

    before = {name: metric(name, value) for name, value in values.items()}
    now = {**values, "frechet_distance": 4.9, "recall": 0.9}
    return Since(
        version="17",
        settings={"gan.epochs": (4, 6), "gan.learning_rate": (0.001, 0.002)},
        data={"data.digest": ("0123456789abcdef" * 4, "fedcba9876543210" * 4)},
        code={},
        changes=[Change("gan", (before[name], metric(name, now[name]))) for name in values],
        metrics=before,
    )


def model_report(name: str, title: str, passed: bool = True) -> ModelReport:
    lineage = {"run_id": "20260821-101500", "model": "/outputs/quick/pipeline/x/model/17"}
    return ModelReport(
        name=name,
        title=title,
        stages=[
            Stage("Training", history(name, "train"), {"seed": 1, "epochs": 4}),
            Stage(
                "Fine-tuning",
                history(name, "finetune"),
                {"seed": 1},
                [Picture(f"step {i}", "", png(112, 112, i)) for i in range(4)],
            ),
        ],
        evaluation=evaluation(name, passed),
        pictures=[
            Picture("Samples", "64 of 10,000.", png(480, 480, 1), "figures/samples.png", "samples"),
            Picture(
                *("Map", "t-SNE of the bottleneck.", png(900, 600, 2), "figures/tsne.png", "map"),
                is_chart=True,
            ),
            Picture("Denoised", "", png(1200, 120, 3), "figures/denoising.png", "denoising"),
            Picture("A file that is not there", "", None, "figures/lost.png"),
        ],
        map=embedding_map() if name == "autoencoder" else None,
        blessed=passed,
        reason="" if passed else "1 gate failed.",
        serving_check={
            "model": name,
            "passed": True,
            "reason": "",
            "latency_ms": {"serving_default": {"batch": 32, "p50": 3.25, "p95": 4.5}},
            "max_difference": {"serving_default": 1.5e-7},
            "load_seconds": 1.75,
        },
        push=Push(
            True,
            f"/serving_models/{name}/18",
            "18",
            lineage,
            "# Card",
            "<h1>Card</h1>",
            f"../{name}/18/assets.extra/model_card.html",
        )
        if passed
        else Push(False),
        since=since(),
    )


@pytest.fixture
def report_data() -> ReportData:
    """Three models: two pushed, the GAN not approved."""
    columns = [
        ColumnStatistics("mean_intensity", 0.1307, 0.04, 0.01, 0.129, 0.5, 0),
        ColumnStatistics(
            "label", *[float("nan")] * 5, missing=0, counts={str(i): 90.0 + i for i in range(10)}
        ),
    ]
    return ReportData(
        run_id="20260821-101500",
        created="2026-08-21 10:30 UTC",
        models=[
            model_report("autoencoder", "Autoencoder"),
            model_report("diffusion", "Diffusion model"),
            model_report("gan", "GAN", passed=False),
        ],
        judge=Stage("Training", history("judge", "train"), {"seed": 1}),
        splits=[SplitStatistics(name, 1000, columns) for name in ("train", "eval", "test")],
        findings={
            "baseline": True,
            "passed": False,
            "checks": [
                check("stroke_width", True, 0.01, 0.1, ""),
                check("label", False, 0.31, 0.1, "Label 9 is rarer in test than in train."),
            ],
            "histograms": [
                dataclasses.asdict(Histogram("width", split, 4, 20, now, BELL, drift, 0.1))
                for split, now, drift in (("train", BELL, 0.0), ("test", BELL[::-1], 0.31))
            ],
        },
        links=[Link("judge", "Model", "/outputs/quick/pipeline/judge/model/9")],
        config={"profile": "quick", "data_dir": "data/<mnist>", "gan": {"epochs": 4}},
    )
