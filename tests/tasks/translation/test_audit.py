"""What evaluation demands of paired rows is said before anything is trained."""

from dataclasses import replace

import numpy as np
import pytest

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.tasks.translation import audit
from jaxpert.tasks.translation.keys import EvaluationKeys, TrainKeys, TranslationConfig
from jaxpert.tasks.translation.lines import load_lines
from jaxpert.tasks.translation.prepare import prepare

CONFIG = TranslationConfig(train=TrainKeys(batch_size=8))


@pytest.fixture(scope="module")
def cells():
    adata, _ = data.simulate("lines_tiny")
    return adata


def rows(adata, line="line", **options):
    dataset = load_lines(adata, perturbation="perturbation", control="ctrl", line=line)
    return prepare(dataset, replicates=4, cells_per_draw=10, **options)


def test_rows_that_carry_a_run(cells):
    prepared = rows(cells, split="perturbation")
    audit.check_rows(CONFIG, prepared)
    facts = audit.facts_of(prepared)
    assert set(facts["lines"]) == set(prepared.pseudobulk.lines)
    total = sum(line["cells"] for line in facts["lines"].values())
    assert total == facts["cells"] == len(prepared.dataset.cells)
    named = facts["perturbations"].split(": ")[1].split(", ")
    assert "ctrl" not in named and facts["perturbations"].startswith(f"{len(named)}: ")
    control = sum(line["control cells"] for line in facts["lines"].values())
    assert control == (prepared.dataset.condition == prepared.dataset.control).sum()


def test_too_few_rows_for_a_batch(cells):
    prepared = rows(cells)
    with pytest.raises(InputError, match="training rows, expected at least a batch of 100000"):
        audit.check_rows(replace(CONFIG, train=TrainKeys(batch_size=100_000)), prepared)
    # A run that is scored as it is trains on nothing.
    audit.check_rows(replace(CONFIG, train=TrainKeys(batch_size=100_000, epochs=0)), prepared)


def test_nothing_to_score_and_unknown_names(cells):
    with pytest.raises(InputError, match="leaves no rows to score"):
        audit.check_rows(CONFIG, rows(cells, split="none"))
    asked = replace(CONFIG, evaluation=EvaluationKeys(shown=("NONE in nowhere",)))
    with pytest.raises(InputError, match="'NONE in nowhere', expected pairs"):
        audit.check_rows(asked, rows(cells))


def test_one_line_and_few_groups_are_notes(cells):
    assert not audit.notes_of(rows(cells))
    first = cells[np.asarray(cells.obs["line"] == cells.obs["line"].iloc[0])].copy()
    notes = audit.notes_of(rows(first))
    assert any(note.startswith("there is one line") for note in notes)
    kept = first.obs["perturbation"].isin(["ctrl", *first.obs["perturbation"].unique()[:3]])
    notes = audit.notes_of(rows(first[np.asarray(kept)].copy()))
    assert any("are scored, fewer than 5" in note for note in notes)


def test_baselines_need_controls_that_train(cells):
    prepared = rows(cells)
    dataset = prepared.dataset
    split = np.where(dataset.condition == dataset.control, 2, dataset.split).astype(np.int8)
    without = prepared._replace(dataset=replace(dataset, split=split))
    with pytest.raises(InputError, match="whose control has training cells"):
        audit.check_rows(CONFIG, without)
