"""README's table of results is that of the recorded run, number by number."""

import json
from pathlib import Path

from benchmarks import run_table, tables
from core.artifacts import read_json

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "benchmarks" / "results" / "run-quick.json"


def test_readme_has_the_table_of_the_record():
    assert tables.markdown(run_table.table(read_json(RECORD))) in (ROOT / "README.md").read_text()


def test_the_newest_evaluation_is_copied_and_numbers_keep_their_digits(tmp_path, capsys):
    models = read_json(RECORD)["models"]
    for kind, name in (("ae", "autoencoder"), ("diffusion", "diffusion"), ("gan", "gan")):
        for number, share in ((9, 0.5), (10, 0.25)):
            figures = [
                {"name": metric, "value": share * value, "floor": floor, "interval": interval}
                for metric, (value, floor, interval) in models[name].items()
            ]
            figures.append({"name": "fid", "value": None, "floor": None, "interval": None})
            folder = tmp_path / "pipeline" / f"evaluate-{kind}" / "evaluation" / str(number)
            folder.mkdir(parents=True)
            (folder / "metrics.json").write_text(json.dumps({"figures": figures}))
    kept = tmp_path / "record.json"
    assert run_table.main(["--output", str(tmp_path), "--record", str(kept)]) == 0
    recall = models["gan"]["recall"][0]
    assert read_json(kept)["models"]["gan"]["recall"][0] == 0.25 * recall
    printed = capsys.readouterr().out
    assert f"{0.25 * recall:#.3g} |" in printed
    assert run_table.main(["--from", str(kept)]) == 0
    assert capsys.readouterr().out == printed


def test_a_folder_without_evaluations_is_one_sentence(tmp_path, capsys):
    assert run_table.main(["--output", str(tmp_path)]) == 2
    assert "There is no evaluation of autoencoder" in capsys.readouterr().err
    assert run_table.main(["--from", str(tmp_path / "none.json")]) == 2
