"""One evaluation from directories to directories: the work of the TFX node, without TFX."""

import logging
from collections.abc import Sequence
from pathlib import Path

from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Part, Standard, champion_error, run_parts
from components.evaluator.parts import judge as judge_part
from components.evaluator.references import EvalData, References, read_eval_data
from components.evaluator.results import Evaluation, write_evaluation
from components.evaluator.saved_model import LoadedModel, load_model
from core.artifacts import SAVED_MODEL_DIR
from core.config import InputError, require
from core.models import MODELS, load
from serving.releases import best_version, whole_version
from serving.versions import judged_by_quality

LOGGER = logging.getLogger(__name__)


def evaluate(
    model_name: str,
    model_uri: str,
    judge_uri: str,
    examples_uri: str,
    serving_dir: str | None,
    config: EvaluatorConfig,
    output_dir: str,
) -> Evaluation:
    """Evaluates the Model artifact ``model_uri`` and writes metrics.json and plots.

    Args:
        model_name: A name of the table of models.
        model_uri: Directory of the candidate's Model artifact.
        judge_uri: Directory of the judge's Model artifact.
        examples_uri: Directory of Transform's examples.
        serving_dir: Directory of the models in serving, where the champion is; None for none.
        config: Measurements and gates.
        output_dir: Directory of the evaluation, created if needed.

    Raises:
        InputError: A model or the data cannot be read, the champion is damaged, or a model lacks a
            signature.
    """
    require(
        model_name in MODELS, f"There is no model {model_name}; the models are {', '.join(MODELS)}."
    )
    data = read_eval_data(examples_uri)
    judge = load_model("judge", Path(judge_uri) / SAVED_MODEL_DIR, config.batch_size)
    model = load_model(model_name, Path(model_uri) / SAVED_MODEL_DIR, config.batch_size)
    standards = _standards(model_name, serving_dir, config.batch_size) if serving_dir else []
    evaluation = evaluate_model(model, judge, data, config, standards)
    write_evaluation(evaluation, output_dir)
    return evaluation


def evaluate_model(
    model: LoadedModel,
    judge: LoadedModel,
    data: EvalData,
    config: EvaluatorConfig,
    standards: Sequence[Standard] = (),
) -> Evaluation:
    """Takes the measurements that the table of models names for ``model``; judges its gates.

    Raises:
        InputError: A model lacks a signature, or another data set cannot be read.
    """
    parts = parts_of(model.name, config)
    return run_parts(parts, model, References(data, judge, config), config, standards)


def parts_of(model_name: str, config: EvaluatorConfig) -> list[Part]:
    """The parts of the measurements of a model, and the judge's.

    Modules are imported by name, so that the code fingerprint of a model's evaluator holds its own
    measurements only.
    """
    modules = MODELS[model_name].measurement_modules
    found = [part for module in modules for part in load(f"{module}.parts")(config)]
    return [*found, *judge_part.parts(config)]


def _standards(model_name: str, serving_dir: str, batch_size: int) -> list[Standard]:
    """The version that clients get, and the best one in the directory where that is another."""
    champion = whole_version(serving_dir, model_name)
    best = best_version(serving_dir, model_name)
    LOGGER.info("Champion of %s: %s; best: %s", model_name, champion or "none yet", best or "none")
    others = {"the champion": champion}
    if best != champion:
        others["the best version so far"] = best
    found = []
    for words, place in others.items():
        if place is None:
            continue
        try:
            model = load_model(model_name, place, batch_size)
        except InputError as error:
            raise champion_error(error) from error
        unfit = "" if judged_by_quality(place) else "its gates did not judge quality"
        found.append(Standard(words, model, unfit))
    return found


def write_blessing(evaluation: Evaluation, folder: str | Path) -> None:
    """Writes the empty file BLESSED or NOT_BLESSED that TFX's own tools look for."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ("BLESSED" if evaluation.blessed else "NOT_BLESSED")).touch()


def blessing_properties(evaluation: Evaluation, model_uri: str) -> dict[str, int | str]:
    """Custom properties of the blessing; Pusher reads ``blessed``. Models are linked by URI."""
    properties = {
        "blessed": int(evaluation.blessed),
        "current_model": model_uri,
        "reason": evaluation.reason,
    }
    if evaluation.champion:
        properties["baseline_model"] = evaluation.champion.path
    return properties
