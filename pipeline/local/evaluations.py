"""Evaluates trained models outside the pipeline: finds the newest, measures, shows the results.

Contract: reads the metadata of earlier runs and the models in serving, and changes neither; the
code and settings are those of the pipeline's Evaluator. ``inkwell evaluate`` runs it.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config import InputError, require
from core.models import JUDGE, MODELS
from pipeline.config import RunConfig
from pipeline.local.database import DATABASE
from pipeline.local.history import choose_id
from pipeline.local.workspace import SERVING_OPTION, spelled_out, temporary_folder
from pipeline.plan import PIPELINE_NAME
from pipeline.results import ModelResult, RunResult, load_results, read_gate

if TYPE_CHECKING:
    from rich.console import Console

    from components.evaluator.results import Evaluation


class EvaluationFailed(RuntimeError):
    """An evaluation ended with an error that is not the user's mistake."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A trained model and the inputs of its evaluation: directories of artifacts of one run."""

    model: str
    run_id: str
    model_uri: str
    judge_uri: str
    examples_uri: str


def choose_runs(output_dir: Path, profile: str | None, run_id: str | None) -> list[RunResult]:
    """Runs to look for models in, the newest first: the one named, or all of one profile.

    Args:
        output_dir: Directory of the runs.
        profile: Of the runs; None uses that of the newest run.
        run_id: As ``inkwell runs`` lists it, or its beginning; None uses all.

    Raises:
        InputError: There is no such run.
    """
    results = load_results(output_dir)[::-1]
    if run_id is not None:
        wanted = choose_id(output_dir, [result.run_id for result in results[::-1]], run_id)
        return [result for result in results if result.run_id == wanted]
    profile = profile or (results[0].profile if results else None)
    found = [result for result in results if result.profile == profile]
    of = f" of the profile {profile}" if profile else ""
    where = spelled_out(output_dir)
    require(bool(found), f"There are no runs{of} in {where}; start one with: inkwell run")
    return found


def find_candidates(
    output_dir: Path, runs: Sequence[RunResult], models: Sequence[str]
) -> list[Candidate]:
    """The newest trained model of each name; without names, untrained models are skipped.

    Args:
        output_dir: Directory of the runs.
        runs: All of one profile, the newest first.
        models: Names; empty means every model.

    Raises:
        InputError: A model has an unknown name, or was not trained, or nothing was.
    """
    from pipeline.local.metadata import RunMetadata

    for name in models:
        require(name in MODELS, f"There is no model {name}; the models are {', '.join(MODELS)}.")
    database = output_dir / runs[0].profile / DATABASE
    require(database.is_file(), f"The metadata of these runs is gone: there is no {database}.")
    metadata = RunMetadata(database, PIPELINE_NAME)
    found = {name: _newest(metadata, runs, name) for name in models or MODELS}
    for name, candidate in found.items():
        require(
            candidate is not None or not models,
            f"No {name} was trained to the end in the runs of {output_dir / runs[0].profile}.",
        )
    candidates = [candidate for candidate in found.values() if candidate is not None]
    require(bool(candidates), f"No model was trained to the end in {output_dir} yet.")
    return candidates


def evaluate_candidates(
    candidates: Sequence[Candidate], config: RunConfig, folder: Path, quiet: bool = False
) -> list[Evaluation]:
    """Compares each with the champion, shows progress, writes ``folder/<model>/metrics.json``.

    The output of the libraries goes to ``folder/evaluate.log``.

    Raises:
        InputError: A model or the data cannot be read, or no temporary directory can be written.
    """
    from pipeline.environment import set_environment
    from pipeline.local.watch import Watch
    from pipeline.terminal.display import DONE, FAILED, INTERRUPTED, Board, make_display
    from pipeline.terminal.quiet import output_to
    from pipeline.terminal.screen import Screen

    serving = config.serving_dir
    board = Board([candidate.model for candidate in candidates])
    found = []
    with temporary_folder(), output_to(folder / "evaluate.log") as screen:
        set_environment()
        from components.evaluator.run import evaluate

        with make_display(board, Screen(file=screen, quiet=quiet)) as display:
            for candidate in candidates:
                display.started(candidate.model)
                state = FAILED
                try:
                    with Watch(display, lambda node_id: DONE).attached():
                        evaluation = evaluate(
                            model_name=candidate.model,
                            model_uri=candidate.model_uri,
                            judge_uri=candidate.judge_uri,
                            examples_uri=candidate.examples_uri,
                            serving_dir=None if is_served(candidate, serving) else serving,
                            config=config.evaluator,
                            output_dir=str(folder / candidate.model),
                        )
                    found.append(evaluation)
                    state = DONE
                except KeyboardInterrupt:
                    state = INTERRUPTED
                    raise
                finally:
                    display.finished(candidate.model, state)
    return found


def evaluate_and_show(
    models: Sequence[str],
    profile: str | None,
    file: Path | None,
    overrides: Sequence[str],
    run_id: str | None,
    output: str,
    folder: Path | None,
    screen: Console,
    quiet: bool = False,
) -> list[Evaluation]:
    """Evaluates the newest trained models and shows metrics, gates and verdicts.

    Args:
        models: Names; empty takes every model that was trained.
        profile: Settings and gates; None takes the profile that ``file`` extends, or the run's.
        file: A user's own settings, as of ``load_config``.
        overrides: ``dotted.key=value`` each.
        run_id: Run of the models; None takes the newest.
        output: Directory of the runs.
        folder: Where metrics and plots go; None makes one among the runs.
        screen: Takes the tables.
        quiet: Whether only verdicts and the folder are shown.

    Raises:
        InputError: A wrong setting, run or model, or a model or data that cannot be read.
        EvaluationFailed: Anything else; the sentence names the log.
    """
    from pipeline.config import load_config, read_yaml
    from pipeline.local.failures import explain
    from pipeline.local.workspace import absolute, check_ours, make_directory
    from pipeline.terminal import tables
    from pipeline.terminal.screen import say

    overrides = [*overrides, f"output_dir={json.dumps(output)}"]
    if file is not None:
        profile = profile or read_yaml(file).get("extends")
    if profile is not None:
        load_config(profile, None, overrides, file)  # reports a wrong setting first
    runs = choose_runs(Path(output), profile, run_id)
    config = absolute(load_config(profile or runs[0].profile, None, overrides, file))
    check_ours(Path(config.output_dir), "--output")
    if "://" not in config.serving_dir:
        check_ours(Path(config.serving_dir), SERVING_OPTION)
    candidates = find_candidates(Path(config.output_dir), runs, models)
    folder = (folder or new_folder(config)).absolute()
    make_directory(folder, "--to")
    names = ", ".join(f"{c.model} of run {c.run_id}" for c in candidates)
    if not quiet:
        say(screen, f"Profile {config.profile}: {names}.")
    try:
        found = evaluate_candidates(candidates, config, folder, quiet)
    except InputError:
        raise
    except Exception as error:  # the edge: one sentence; details in the log
        words = f"{explain(error)[1]}; the log is {folder / 'evaluate.log'}"
        raise EvaluationFailed(words) from error
    for evaluation, candidate in zip(found, candidates, strict=True):
        if not quiet:
            screen.print(tables.metric_table(evaluation))
            for sentence in tables.missing_sentences(evaluation):
                say(screen, f"Missing: {sentence}")
            if evaluation.gates:
                screen.print(tables.gate_table(model_result(evaluation)))
        say(screen, end_sentence(evaluation, candidate, config.serving_dir))
    say(screen, str(folder))
    return found


def new_folder(config: RunConfig) -> Path:
    """The default folder of an evaluation."""
    stamp = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    return Path(config.output_dir) / config.profile / "evaluations" / stamp


def model_result(evaluation: Evaluation) -> ModelResult:
    """The evaluation as the tables of ``pipeline.terminal.tables`` take it."""
    gates = [read_gate(dataclasses.asdict(gate)) for gate in evaluation.gates]
    quality = evaluation.quality_gates
    return ModelResult(evaluation.model, gates, evaluation.blessed, quality_gates=quality)


def is_served(candidate: Candidate, serving_dir: str) -> bool:
    """Whether the champion is the same model, pushed: nothing to compare with."""
    from core.artifacts import SAVED_MODEL_DIR
    from serving.releases import served_version
    from serving.versions import FILES_KEY, model_files, read_lineage

    champion = served_version(serving_dir, candidate.model)
    files = read_lineage(champion).get(FILES_KEY) if champion else None
    return files is not None and files == model_files(Path(candidate.model_uri, SAVED_MODEL_DIR))


def end_sentence(evaluation: Evaluation, candidate: Candidate, serving_dir: str) -> str:
    """A sentence on the model, its comparison, and the verdict."""
    if evaluation.champion:
        rival = f"compared with version {evaluation.champion.version}, which is in serving"
    elif is_served(candidate, serving_dir):
        rival = "which is itself the one in serving"
    else:
        rival = "with none in serving"
    verdict = "approved" if evaluation.blessed else "not approved"
    head = f"{evaluation.model} of run {candidate.run_id}, {rival}: {verdict}."
    return f"{head} {evaluation.reason}"


def _newest(metadata: Any, runs: Sequence[RunResult], name: str) -> Candidate | None:
    keys = (
        *((MODELS[name].trained_by, "model"), (JUDGE.node_id, "model")),
        ("transform", "transformed_examples"),
    )
    for run in runs:
        artifacts = [metadata.output(run.run_id, node_id, key) for node_id, key in keys]
        places = [metadata.directory(found) for found in artifacts if found]
        if len(places) == len(keys) and all(place.is_dir() for place in places):
            return Candidate(name, run.run_id, *map(str, places))
    return None
