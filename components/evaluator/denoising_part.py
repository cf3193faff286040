"""Denoising beside the noisy input and the linear optimum, for autoencoder and diffusion alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from components.evaluator import figures, reconstruction
from components.evaluator.catalogue import level_name
from components.evaluator.data import References
from components.evaluator.models import LoadedModel
from components.evaluator.parts import Measured, Part
from components.evaluator.results import Picture, Table

_STRIP = 10  # digits in the picture
# (model, noisy images [N, 28, 28, 1], sigma, stage) -> clean images of the same shape
Denoiser = Callable[[LoadedModel, np.ndarray, float, str], np.ndarray]


def denoising_part(noise_levels: Sequence[float], denoise: Denoiser) -> Part:
    """Measures PSNR and SSIM at every noise level; the same digits at each."""
    metrics = tuple(
        f"denoising_{kind}_{level_name(sigma)}"
        for sigma in noise_levels
        for kind in ("psnr", "gain", "ssim")
    )

    def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
        values, floors, rows, strips = {}, {}, [], []
        for sigma in noise_levels:
            given, level = references.noisy(sigma), level_name(sigma)
            images = denoise(model, given.noisy, sigma, f"{stage} at noise {sigma:g}")
            psnr = float(reconstruction.psnr(given.clean, images).mean())
            ssim = float(reconstruction.ssim(given.clean, images).mean())
            values[f"denoising_psnr_{level}"] = psnr
            values[f"denoising_gain_{level}"] = psnr - given.linear_psnr
            values[f"denoising_ssim_{level}"] = ssim
            floors[f"denoising_psnr_{level}"] = given.noisy_psnr
            floors[f"denoising_ssim_{level}"] = given.linear_ssim
            rows.append(
                [sigma, given.noisy_psnr, given.linear_psnr, psnr]
                + [given.noisy_ssim, given.linear_ssim, ssim]
            )
            strips += [given.noisy[:_STRIP], np.array(images[:_STRIP])]
        if not draw:
            return Measured(values)
        clean = references.noisy(noise_levels[0]).clean
        pictures = [_strip_picture(noise_levels, clean[:_STRIP], strips), _curves(rows)]
        return Measured(values, floors, pictures, [_table(rows, len(clean))])

    return Part("denoising", metrics, measure)


def _strip_picture(
    noise_levels: Sequence[float], clean: np.ndarray, strips: Sequence[np.ndarray]
) -> Picture:
    labels = ["original"]
    for sigma in noise_levels:
        labels += [f"noise {sigma:g}", "denoised"]
    return Picture(
        "figures/denoising.png",
        "Denoising",
        "Original test digits, then for each noise level (deviation, pixels in 0..1) the noisy "
        "input and what the model makes of it. The digits were drawn at random.",
        figures.image_rows([clean, *strips], labels),
    )


def _curves(rows: Sequence[Sequence[float]]) -> Picture:
    sigma, noisy, linear, model = (list(column) for column in list(zip(*rows, strict=True))[:4])
    series = {"model": model, "linear optimum (LMMSE)": linear, "noisy input": noisy}
    return Picture(
        "figures/denoising_psnr.png",
        "Denoising over the noise level",
        "Mean PSNR of the test images; higher is better.",
        figures.lines(sigma, series, "noise: deviation, pixels in 0..1", "PSNR (dB)"),
    )


def _table(rows: Sequence[Sequence[float]], count: int) -> Table:
    columns = ("noise", "PSNR noisy (dB)", "PSNR linear (dB)", "PSNR model (dB)")
    columns += ("SSIM noisy", "SSIM linear", "SSIM model")
    digits = (2, 2, 2, 2, 3, 3, 3)
    rounded = [[round(v, d) for v, d in zip(row, digits, strict=True)] for row in rows]
    return Table(f"Denoising, mean over {count:,} test images", columns, rounded)
