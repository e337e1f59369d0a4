"""Tables from made-up rows: right numbers, honest words for what is missing, and the same files
whatever the order of the rows."""

import csv
import json
import random

import pytest

from jaxpert.core.errors import InputError
from jaxpert.models.cradle.paper.study import STUDY
from jaxpert.study import advantage, ledger, scores, tables
from jaxpert.study.scores import Asked
from support.study_rows import NAMES, row, run_folder

HEADER = "table,data,multiplier,model,metric,mean,sd\n"


def written(tmp_path, rows, asked=None, published=None):
    """Write the tables; the sections of the Markdown by title, as {row: {column: text}}."""
    for one in rows:
        ledger.append(tmp_path / "rows.jsonl", one)
    asked = asked or Asked(("norman",), (5,), (0, 1, 2))
    tables.write_tables(STUDY, tmp_path, asked, published)
    found = {}
    for part in (tmp_path / "tables.md").read_text().split("\n## ")[1:]:
        title, *lines = part.splitlines()
        cells = [
            [c.strip() for c in line.strip("|").split("|")]
            for line in lines
            if line.startswith("|")
        ]
        head, _, *body = cells
        found[title] = {line[0]: dict(zip(head[1:], line[1:], strict=True)) for line in body}
    return found


def test_mean_and_standard_deviation_over_seeds(tmp_path):
    found = written(
        tmp_path, [row("cradle_vae", seed, value) for seed, value in enumerate((0.1, 0.2, 0.6))]
    )
    table = found[
        "Table 2. Effects and quality of generated cells: norman, perturbations never trained"
    ]
    assert table["CRADLE-VAE"] == dict.fromkeys(
        ("ATE-rho ↑, 5 MAD", "ATE-R2 ↑, 5 MAD", "Jaccard, top 50 ↑, 5 MAD", "QCPR ↑, 5 MAD"),
        "0.300 ± 0.265",
    ) | {"QCPR, real library sizes ↑, 5 MAD": "0.150 ± 0.132"}
    assert (
        table["additive"]["ATE-R2 ↑, 5 MAD"] == "0.300 ± 0.265"
        and table["additive"]["QCPR ↑, 5 MAD"] == ""
    )
    assert set(table["SAMS-VAE"].values()) == {"not run"}
    assert [title.split(".")[0] for title in found] == [f"Table {n}" for n in (2, 3, 4, 5)]


def test_what_is_missing_is_said(tmp_path):
    rows = [
        row("cradle_vae", 0, -0.5),
        row("sams_vae", 0, 0.25),
        row("sams_vae", 1, 0.5),
        row("cpa_vae", 0, 0.1, failed="diverged: at step 3"),
        row("cpa_vae", 1, 0.1),
        row("svae_plus", 0, 0, failed="refused: combinations"),
        row("conditional_vae", 0, 0.1),
        row("conditional_vae", 1, 0.1)
        | {"scores": {"test": dict.fromkeys(NAMES)}, "pass_rate": {}},
    ]
    found = written(tmp_path, rows)
    table = found[
        "Table 2. Effects and quality of generated cells: norman, perturbations never trained"
    ]
    said = {name: cells["ATE-rho ↑, 5 MAD"] for name, cells in table.items()}
    assert said["CRADLE-VAE"] == "−0.500 (1 of 3 seeds)"
    assert said["SAMS-VAE"] == "0.375 ± 0.177 (2 of 3 seeds)"
    assert said["CPA-VAE"] == "0.100 (1 of 3 seeds, 1 diverged)"
    assert said["sVAE+"] == "refused"
    assert said["Conditional VAE"] == "undefined"
    assert table["Conditional VAE"]["QCPR ↑, 5 MAD"] == "0.100 (1 of 3 seeds, 1 not measured)"
    text = (tmp_path / "tables.md").read_text()
    assert "cpa_vae on norman: diverged: at step 3 (5 MAD seed 0)" in text
    assert "published: not entered (CRADLE-VAE, AAAI 2025, Table 2)" in text


def test_tables_of_nothing_hold_every_cell_as_not_run(tmp_path):
    found = written(tmp_path, [], Asked(("norman", "adamson"), (3, 4, 5), (0,)))
    assert (
        len(found) == 8
        and "Table 2. Effects and quality of generated cells: adamson, all perturbations, "
        "training and test cells"
        in found
    )
    texts = {
        text for table in found.values() for cells in table.values() for text in cells.values()
    }
    assert texts == {"not run", ""}
    assert "not run" in (tmp_path / "tables.html").read_text()


def test_splits_of_cells_are_shown_as_published_and_held_out(tmp_path):
    rows = [row("cradle_vae", 0, 0.2, data="own", subsets=("all", "test", "held_out"))]
    found = written(tmp_path, rows, Asked((), (5,), (0,)))
    values = {
        title: table["CRADLE-VAE"]["ATE-rho ↑, 5 MAD"]
        for title, table in found.items()
        if "Table 2" in title
    }
    start = "Table 2. Effects and quality of generated cells: own, "
    assert values == {
        f"{start}all perturbations, training and test cells": "0.200",
        f"{start}test cells": "2.200",
    }
    assert "published" not in (tmp_path / "tables.md").read_text()


def test_published_numbers_stand_beside_ours(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text(
        "# made up\n"
        + HEADER
        + "2,norman,5,cradle_vae,ate_pearson,0.9,0.05\n3,norman,5,cradle_vae,qcpr,1,\n"
    )
    found = written(tmp_path, [row("cradle_vae", 0, 0.2)], Asked(("norman",), (5,), (0,)), path)
    table = found[
        "Table 2. Effects and quality of generated cells: norman, perturbations never trained"
    ]
    assert table["CRADLE-VAE, published"]["ATE-rho ↑, 5 MAD"] == "0.900 ± 0.050"
    assert table["CRADLE-VAE, published"]["ATE-R2 ↑, 5 MAD"] == "not entered"
    assert (
        found["Table 3. Ablations: norman, perturbations never trained"]["CRADLE-VAE, published"][
            "QCPR ↑, 5 MAD"
        ]
        == "1.000"
    )
    lines = list(csv.DictReader((tmp_path / "tables.csv").read_text().splitlines()))
    (line,) = [
        r
        for r in lines
        if (r["table"], r["model"], r["metric"]) == ("2", "cradle_vae", "ate_pearson")
    ]
    assert (line["mean"], line["published_mean"], line["published_sd"], line["seeds"]) == (
        "0.2",
        "0.9",
        "0.05",
        "1",
    )
    assert (
        "published: not entered (CRADLE-VAE, AAAI 2025, Table 4)"
        in (tmp_path / "tables.md").read_text()
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n", "has the columns"),
        (HEADER + "2,norman,five,cradle_vae,qcpr,1,0\n", "expected numbers"),
        (HEADER + "2,norman,5,cradle_vae,qcpr\n", "expected a value for every column"),
        (HEADER + "2,norman,5,cradle,qcpr,1,0\n", "unknown model or metric"),
        (HEADER + 2 * "2,norman,5,cradle_vae,qcpr,1,0\n", "twice"),
    ],
)
def test_published_files_with_mistakes(tmp_path, text, said):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        scores.read_published(tmp_path / "p.csv", STUDY)


def test_names_from_data_are_escaped(tmp_path):
    written(tmp_path, [row("cradle_vae", 0, 0.2, data="a<b>|c")], Asked((), (5,), (0,)))
    assert "a&lt;b&gt;|c" in (tmp_path / "tables.html").read_text()


def test_tables_do_not_depend_on_the_order_in_which_runs_finished(tmp_path, monkeypatch):
    """Rows of models, data sets, thresholds and seeds, some failed, one of a model that the study
    does not know; shuffled, they give the same four files."""
    monkeypatch.setattr(advantage, "DRAWS", 20)
    models = ("old_model", "sams_vae", "cradle_vae", "cpa_vae")
    places = [(data, model) for data in ("own", "norman", "adamson") for model in models]
    rows = []
    for place, (data, model) in enumerate(places):
        for seed in range(2):
            failed = {"failed": "diverged: at step 3"} if (place + seed) % 5 == 0 else {}
            rows.append(row(model, seed, place / 10 + seed, data=data, **failed))
    for model in models:
        run_folder(tmp_path / "runs" / model, (0.3, 0.5))
    asked = Asked(("norman",), (5,), (0, 1))
    files: dict[str, bytes] = {}
    for turn in range(2):
        random.Random(turn).shuffle(rows)
        lines = [json.dumps(line) + "\n" for line in rows]
        # What a kill leaves is said on the terminal, and is no part of the tables.
        lines.insert(turn, '{"data": "nor\n' * turn)
        (tmp_path / "rows.jsonl").write_text("".join(lines))
        for path in tables.write_tables(STUDY, tmp_path, asked):
            assert files.setdefault(path.name, path.read_bytes()) == path.read_bytes(), path.name
    rivals = [line.split(",")[3] for line in files["advantage.csv"].decode().splitlines()[1:]]
    assert list(dict.fromkeys(rivals)) == ["cpa_vae", "sams_vae", "old_model", "no_change"]
    shown = [line.split(",")[1] for line in files["tables.csv"].decode().splitlines()[1:]]
    assert list(dict.fromkeys(shown)) == ["norman", "adamson", "own"]


def test_baselines_are_those_that_the_runs_stand_beside(tmp_path):
    """What the data do not allow has no row, and what an older run did not know is said."""
    new, old = row("cradle_vae", 0, 0.1), row("cradle_vae", 1, 0.2)
    new["baselines"] = {name: new["scores"] for name in ("no_change", "shrunken_additive")}
    old["baselines"] = {"no_change": old["scores"]}
    found = written(tmp_path, [new, old], Asked(("norman",), (5,), (0, 1)))
    table = found[
        "Table 2. Effects and quality of generated cells: norman, perturbations never trained"
    ]
    assert {"no change", "shrunken additive"} <= set(table)
    assert not {"additive", "linear tuned"} & set(table)
    cells = table["shrunken additive"].values()
    assert any("not made" in cell or "1 of 2" in cell for cell in cells)
