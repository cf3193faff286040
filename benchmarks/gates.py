"""Shows that the gates approve what training gives, and refuse what is bad.

    python -m benchmarks.gates --seeds 5 --record benchmarks/results/gates-mnist.json
    python -m benchmarks.gates --judge benchmarks/results/gates-mnist.json

Contract: the first command trains every model with n seeds, measures the bad candidates with the
same judge and images, and records every value with its reference: two to three hours on two cores.
Finished parts are kept in ``--output``, and the same command resumes. The second command trains
nothing: it judges the record by the gates of today's profile. Both print two tables.

The first table has mean and standard deviation over the seeds, how many standard deviations lie
between the mean and the threshold, and the share of retrainings that a normal distribution with
these would refuse. The last column is two standard deviations, ``retrain_spread`` of the profile;
retraining moves a Fréchet distance 3.2 times as far as resampling does (arXiv 2606.20536).
"""

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from benchmarks import candidates, command, retraining, tables
from benchmarks.command import mistakes_exit
from components.evaluator.catalogue import catalogue
from components.evaluator.config import Gate
from components.evaluator.gates import Measurement, check_gate
from components.evaluator.references import References, read_eval_data
from components.evaluator.results import GateResult
from components.evaluator.saved_model import load_model
from core.artifacts import SAVED_MODEL_DIR, read_json
from core.config import InputError, require
from core.files import write_whole
from core.models import MODELS
from core.processors import use_processors
from pipeline.config import RunConfig, load_config
from pipeline.local.workspace import absolute

RECORDS = Path(__file__).parent / "results"
Values = dict[str, tuple[float | None, float | None]]  # value and reference by metric
_REPLICATES = 2  # intervals decide nothing here


@mistakes_exit("gates")
def main(arguments: list[str] | None = None) -> int:
    """Measures what is missing and prints both tables; returns 2 after a user's mistake."""
    parser = command.parser(__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--seeds", type=int, default=5, help="how many, from the profile's seed on")
    parser.add_argument("--output", default="outputs/gates", help="folder of the trainings")
    parser.add_argument("--record", help="file to write every value to")
    parser.add_argument("--judge", help="a record to judge by today's gates; trains nothing")
    parser.add_argument("--markdown", help="file to write the tables to as well")
    options = parser.parse_args(arguments)
    config = load_config(options.profile, options.data, options.set)
    use_processors()
    if options.judge:
        record = read_record(Path(options.judge))
    else:
        require(options.seeds >= 1, "--seeds must be at least 1.")
        folder = Path(options.output).absolute() / options.profile / Path(config.data_dir).name
        record = measure(absolute(config), options.models, options.seeds, folder)
        record["caption"] = f"{tables.machine()}; {' '.join(options.set)}".rstrip("; ")
        if options.record:
            write_whole(Path(options.record), json.dumps(record, indent=1) + "\n")
    caption = f"{record['data']}, profile {options.profile}; {record['caption']}"
    found = (trained_table(record, config), bad_table(record, config))
    for lines in found:
        tables.show(caption, lines, 160)
    if options.markdown:
        text = "\n".join(tables.markdown(lines) for lines in found)
        write_whole(Path(options.markdown), f"{caption}\n\n{text}")
    return 0


def read_record(path: Path) -> dict[str, Any]:
    """A record of ``measure``; raises ``InputError`` if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a record of benchmarks.gates: {error}.") from None


def measure(config: RunConfig, models: Sequence[str], seeds: int, folder: Path) -> dict[str, Any]:
    """Trains, evaluates and measures what ``folder`` lacks.

    Raises:
        InputError: ``folder`` holds evaluations under other settings.
        RuntimeError: A training or an evaluation crashed; the message names its log.
    """
    config = dataclasses.replace(config, output_dir=str(folder / "data"))
    uris = retraining.prepare(config, folder)
    trained: dict[str, dict[str, Values]] = {}
    for model in models:
        for seed in range(config.seed, config.seed + seeds):
            figures = retraining.figures_of(config, model, seed, uris, folder)
            trained.setdefault(model, {})[str(seed)] = {
                figure["name"]: _rounded(figure["value"], figure["floor"]) for figure in figures
            }
    bad: dict[str, dict[str, Values]] = {model: {} for model in models}
    for candidate, values in _measured(config, models, uris, folder):
        for model in candidate.models:
            bad[model][candidate.name] = values
    return {"data": Path(config.data_dir).name, "trained": trained, "bad": bad}


def _measured(
    config: RunConfig, models: Sequence[str], uris: tuple[str, str], folder: Path
) -> Iterator[tuple[candidates.Candidate, Values]]:
    """Every bad candidate with its values, from ``folder`` or by measuring it."""
    settings = dataclasses.replace(
        config.evaluator,
        noise_levels=(candidates.NOISE,),
        bootstrap_replicates=_REPLICATES,
        distance_replicates=_REPLICATES,
    )
    judge = load_model("judge", Path(uris[1]) / SAVED_MODEL_DIR, settings.batch_size)
    references = References(read_eval_data(uris[0]), judge, settings)
    own = {
        model: load_model(
            model, retraining.model_of(model, config.seed, folder), settings.batch_size
        )
        for model in models
    }
    path = folder / "bad.json"
    kept = read_json(path) or {}
    for candidate in candidates.all_of(references, own):
        if candidate.name not in kept:
            rows = candidates.measure(candidate, references, settings)
            kept[candidate.name] = {row.metric: _rounded(row.value, row.reference) for row in rows}
            write_whole(path, json.dumps(kept, indent=1) + "\n")
            print(candidate.name, file=sys.stderr, flush=True)
        yield candidate, kept[candidate.name]


def judged(config: RunConfig, model: str, values: Values) -> list[GateResult]:
    """The verdicts of the gates whose metric was measured; a trained model has all of them."""
    known = catalogue(model, config.evaluator.noise_levels)
    return [
        check_gate(gate, known[gate.metric], Measurement(*values[gate.metric]))
        for gate in config.evaluator.gates_of(model)
        if gate.metric in values
    ]


def trained_table(record: Mapping[str, Any], config: RunConfig) -> list[list[str]]:
    """One line per gate, and one per model with all its retrainings."""
    lines = [
        ["model", "metric", "mean", "standard deviation", "worst", "threshold"]
        + ["distance", "refused of 60", "two standard deviations"]
    ]
    for model, seeds in record["trained"].items():
        refusals = 0.0
        for gate in config.evaluator.gates_of(model):
            line, share = _line(model, gate, [found[gate.metric] for found in seeds.values()])
            lines.append(line)
            refusals += share
        approved = sum(
            all(gate.passed for gate in judged(config, model, found)) for found in seeds.values()
        )
        words = f"{approved} of {len(seeds)} approved"
        lines.append([model, words, *[""] * 5, f"{60 * refusals:.2g}", ""])
    return lines


def _line(model: str, gate: Gate, found: Sequence[Sequence[float]]) -> tuple[list[str], float]:
    """The line of one gate, and the share of retrainings that it refuses."""
    values, bounds = np.array([[value, gate.bound(own)] for value, own in found]).T
    is_max = gate.direction == "max"
    mean, worst = values.mean(), values.max() if is_max else values.min()
    line = [model, gate.metric, f"{mean:.4g}"]
    bound = f"{'≤' if is_max else '≥'} {bounds.mean():.4g}"
    if values.min() == values.max():  # the deviation of equal values is not always 0
        return [*line, "none", f"{worst:.4g}", bound, "", "", ""], 0.0
    deviation = values.std(ddof=1)
    distance = ((bounds - values) if is_max else (values - bounds)).mean() / deviation
    share = float(norm.sf(distance))
    spread = f"{2 * deviation / (abs(mean) if gate.relative else 1):.2g}"
    spread += " of the mean" * gate.relative
    line += [f"{deviation:.4g}", f"{worst:.4g}", bound, f"{distance:.1f}"]
    return [*line, f"{60 * share:.2g}", spread], share


def bad_table(record: Mapping[str, Any], config: RunConfig) -> list[list[str]]:
    """One line per bad candidate, with the gates that refuse it."""
    lines = [["model", "candidate", "refused by"]]
    for model, found in record["bad"].items():
        for name, values in found.items():
            failed = [
                f"{gate.metric} {gate.value:.3g}"
                for gate in judged(config, model, values)
                if not gate.passed
            ]
            lines.append([model, name, ", ".join(failed) or "no gate"])
    return lines


def _rounded(value: float | None, reference: float | None) -> tuple[float | None, float | None]:
    """Six digits of both."""

    def rounded(number: float | None) -> float | None:
        return None if number is None else float(f"{number:.6g}")

    return rounded(value), rounded(reference)


if __name__ == "__main__":
    sys.exit(main())
