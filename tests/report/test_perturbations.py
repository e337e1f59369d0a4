"""The table of perturbations, its panels, and the tables beside the page."""

import csv
import json

import numpy as np
import pytest

from jaxpert.core import files
from jaxpert.report import perturbations, pictures
from jaxpert.report.noted import grouped
from jaxpert.report.page import write_report
from jaxpert.report.perturbations import each_of, panels_of
from support.report_work import GENES, LONG, NAMES, SCRIPT, TESTED, results, write_work


@pytest.fixture
def work(tmp_path):
    return write_work(tmp_path / "work")


def lines_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_what_was_held_out_comes_first_and_by_rank():
    each = each_of(results()[0])
    assert each is not None and each.total == len(each.lines) == len(NAMES) - 1
    heads = [column.key for column in each.columns]
    ranks = [line.cells[heads.index("rank") - 1].order for line in each.lines]
    assert ranks == [*range(1, TESTED + 1), *range(1, len(NAMES) - TESTED)]
    splits = [line.cells[heads.index("split") - 1].text for line in each.lines]
    assert splits[:TESTED] == ["test"] * TESTED
    assert each.missing == ["interval width", "sure genes"]


def test_panels_hold_what_was_measured_and_predicted(work):
    metrics, arrays = results()
    each = each_of(metrics)
    assert each is not None
    panels = panels_of(each, work)
    assert not isinstance(panels, str) and panels.shown == panels.measured == len(GENES)
    for line, (genes, measured, predicted) in zip(each.lines, panels.rows, strict=True):
        row = NAMES.index(line.name)
        names = [panels.genes[int(g)] for g in genes]
        place = [GENES.index(name) for name in names]
        assert measured == pytest.approx(arrays["measured"][row][place], abs=6e-4)
        assert predicted == pytest.approx(arrays["effect"][0][row][place], abs=6e-4)


def test_a_large_screen_is_capped_and_says_so(work, monkeypatch):
    monkeypatch.setattr(perturbations, "MOST_ROWS", 10)
    monkeypatch.setattr(perturbations, "MOST_POINTS", 0)
    monkeypatch.setattr(perturbations, "FEWEST_GENES", 5)
    html = write_report(work).read_text(encoding="utf-8")
    assert f"This page holds the first 10 of {len(NAMES) - 1} perturbations" in html
    assert html.count("<tr data-row=") == 10
    assert len(lines_of(work / "tables/perturbations.csv")) == len(NAMES) - 1
    assert len(lines_of(work / "tables/genes.csv")) == 10 * 5
    each = each_of(results()[0])
    assert each is not None
    panels = panels_of(each, work)
    assert not isinstance(panels, str) and panels.shown == 5
    metrics, arrays = results()
    strength = np.maximum(np.abs(arrays["measured"]), np.abs(arrays["effect"][0]))
    row = strength[NAMES.index(each.lines[0].name)]
    chosen = {panels.genes[int(g)] for g in panels.rows[0][0]}
    assert chosen == {GENES[g] for g in np.argsort(-row)[:5]}


def test_every_table_lies_beside_the_page(work):
    write_report(work)
    names = {path.name for path in (work / "tables").iterdir()}
    assert names == {
        "perturbations.csv", "genes.csv", "scores.csv", "training.csv", "facts.csv",
    }  # fmt: skip
    rows = {row["perturbation"]: row for row in lines_of(work / "tables/perturbations.csv")}
    assert {SCRIPT, LONG} <= set(rows) and rows[SCRIPT]["split"] == "test"
    metrics = json.loads((work / "metrics.json").read_text())
    scores = lines_of(work / "tables/scores.csv")
    wanted = ("test", "mse", "linear")
    (line,) = [r for r in scores if (r["subset"], r["score"], r["method"]) == wanted]
    assert float(line["value"]) == metrics["baselines"]["linear"]["test"]["mse"]
    facts = {row["where"]: row["value"] for row in lines_of(work / "tables/facts.csv")}
    assert facts["data / cells"] == "9000" and SCRIPT in facts["data / notes / 1"]
    assert len(lines_of(work / "tables/training.csv")) == 8


def test_runs_of_before_have_a_page_that_names_what_it_lacks(work):
    metrics = json.loads((work / "metrics.json").read_text())
    whole = metrics["each"]
    del metrics["each"]
    (work / "metrics.json").write_text(json.dumps(metrics))
    html = write_report(work).read_text(encoding="utf-8")
    assert "The table of perturbations is missing" in html
    metrics["each"] = whole
    del whole["columns"]["cells"], whole["columns"]["support"]
    (work / "metrics.json").write_text(json.dumps(metrics))
    (work / "effects.npz").unlink()
    html = write_report(work).read_text(encoding="utf-8")
    assert "Not known for this run: cells, support, interval width, sure genes." in html
    assert "Genes cannot be shown: there is no effects.npz." in html


def test_effects_of_before_and_of_others_are_named(work):
    each = each_of(results()[0])
    assert each is not None
    arrays = dict(results()[1])
    del arrays["measured"]
    files.write_arrays(work / "effects.npz", arrays)
    assert "measured" in str(panels_of(each, work))
    arrays = results()[1] | {"conditions": np.array([f"other {n}" for n in range(len(NAMES))])}
    files.write_arrays(work / "effects.npz", arrays)
    assert "has other perturbations" in str(panels_of(each, work))


def test_notes_are_grouped_and_none_is_lost():
    notes = [
        "ATE-rho of no_change is undefined on all",
        "baseline linear is not made: no gene",
        "3 genes were merged",
        "something else",
        "ATE-R2 of mean is undefined on test",
        "3 genes were merged",
    ]
    groups = grouped(notes)
    # Baselines are called what the tables call them.
    said = {note.replace("no_change", "no change") for note in notes}
    assert {note for group in groups for note in group.notes} == said
    assert {group.title: len(group.notes) for group in groups} == {
        "Scores without a value": 2, "Baselines": 1, "Genes": 1, "Other": 1,
    }  # fmt: skip


def test_large_pictures_are_made_smaller_or_named(tmp_path, monkeypatch):
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    for name, of in (("small", noise[:20]), ("large", noise)):
        Image.fromarray(of).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    large = (tmp_path / "large.png").stat().st_size
    monkeypatch.setattr(pictures, "MOST_BYTES", large // 2)
    made = {picture.name: picture for picture in pictures.pictures_of(tmp_path)}
    assert 0 < len(made["large"].data) * 3 / 4 < large / 2, "fewer colours suffice"
    monkeypatch.setattr(pictures, "MOST_BYTES", 5000)
    made = {picture.name: picture for picture in pictures.pictures_of(tmp_path)}
    assert made["large"].data == "" and made["small"].data and made["broken"].data


def test_a_page_of_a_large_screen_can_be_sent_by_mail(work):
    from PIL import Image

    rng = np.random.default_rng(0)
    count, genes = 1200, 400
    names = [f"GENE{n:05d}+GENE{n + 1:05d}" for n in range(count)]
    metrics = json.loads((work / "metrics.json").read_text())
    numbers = ("cells", "effect_size", "noise", "match", "error", "best_baseline_match")
    columns = {name: rng.normal(size=count).tolist() for name in (*numbers, "rival_match")}
    columns |= {"perturbation": names, "split": ["test"] * count, "of": [count] * count}
    columns |= {"rank": [*range(1, count + 1)], "best_baseline": ["shrunken_additive"] * count}
    columns |= {"support": ["no training cells: GENE00001"] * count}
    metrics["each"] = {"rival": "linear", "columns": columns}
    (work / "metrics.json").write_text(json.dumps(metrics))
    arrays = {
        "effect": rng.normal(size=(1, count, genes)).astype(np.float32),
        "measured": rng.normal(size=(count, genes)).astype(np.float32),
        "conditions": np.array(names),
        "genes": np.array([f"GENE{n:05d}" for n in range(genes)]),
    }
    files.write_arrays(work / "effects.npz", arrays)
    (work / "figures").mkdir()
    for number in range(12):
        # Noise cannot be packed, so that each has some 300 kB.
        noise = rng.integers(0, 256, (300, 350, 3)).astype(np.uint8)
        Image.fromarray(noise).save(work / f"figures/picture{number}.png")
    path = write_report(work)
    assert 3e6 < path.stat().st_size < 5e6
    html = path.read_text(encoding="utf-8")
    assert "is too large for this page" in html
    assert "This page holds the first 1,000 of 1,200 perturbations" in html
