"""Judges a diffusion model: generated images against real ones, and denoising.

Works through the SavedModel's signatures alone; generating takes most of the time.
"""

from __future__ import annotations

import numpy as np

from components.evaluator.config import EvaluatorConfig
from components.evaluator.data import EvalData, References
from components.evaluator.denoising_part import denoising_part
from components.evaluator.generation_parts import generation_parts
from components.evaluator.models import LoadedModel
from components.evaluator.parts import judge_part, run_parts
from components.evaluator.process_pictures import reverse_process_part
from components.evaluator.results import Evaluation


def evaluate_diffusion(
    model: LoadedModel,
    judge: LoadedModel,
    data: EvalData,
    config: EvaluatorConfig,
    champion: LoadedModel | None = None,
) -> Evaluation:
    """Measures ``model`` against the test images and judges its gates.

    Raises:
        InputError: A model lacks a signature.
    """
    parts = (
        *generation_parts({"steps": config.generate_steps}),
        reverse_process_part(config.generate_steps),
        denoising_part(config.noise_levels, _denoise),
        judge_part(),
    )
    return run_parts(parts, model, References(data, judge, config), config, champion)


def _denoise(model: LoadedModel, noisy: np.ndarray, sigma: float, stage: str) -> np.ndarray:
    levels = np.full(len(noisy), sigma, np.float32)
    return model.run("denoise", stage, image=noisy, noise_level=levels)["image"]
