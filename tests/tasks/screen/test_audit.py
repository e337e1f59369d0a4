"""What evaluation demands of the data is said before anything is trained."""

from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert import data
from jaxpert.core.family import Family
from jaxpert.core.types import InputError
from jaxpert.tasks.screen import audit, load
from jaxpert.tasks.screen.keys import (
    DataKeys,
    EvaluationKeys,
    QualityKeys,
    ScreenConfig,
    SplitKeys,
    TrainKeys,
)
from jaxpert.tasks.screen.task import SCREEN

CELLS = {"ctrl": 30, "A": 20, "B": 20, "C": 20, "D": 20, "E": 20, "F": 20}
LEAN = QualityKeys(doublets="none")
FAMILY = Family("toy", "Toy", SCREEN, {}, lambda model, variant: {})


def screen(cells=None, genes=60, **columns):
    labels = [name for name, count in (cells or CELLS).items() for _ in range(count)]
    rng = np.random.default_rng(0)
    counts = sparse.csr_matrix(rng.poisson(2.0, (len(labels), genes)).astype(np.float32))
    names = [f"cell{i}" for i in range(len(labels))]
    obs = pd.DataFrame({"condition": labels, **columns}, index=names)
    return anndata.AnnData(counts, obs, pd.DataFrame(index=[f"G{g}" for g in range(genes)]))


@pytest.fixture
def loaded(tmp_path):
    """Factory: AnnData and sections of the config -> the problem of a run."""

    def make(adata, stratum="", **sections):
        path = tmp_path / "screen.h5ad"
        adata.write_h5ad(path)
        keys = DataKeys(source=str(path), stratum=stratum)
        defaults = {"quality": LEAN, "evaluation": EvaluationKeys(likelihood="")}
        return load.load(ScreenConfig(data=keys, **(defaults | sections)), FAMILY, {})

    return make


def lines(cells=None, of=lambda label, number: number % 2):
    """A column of two lines, by label and running number of its cells."""
    column = []
    for label, count in (cells or CELLS).items():
        column += [f"line{of(label, i)}" for i in range(count)]
    return column


def test_only_control_cells(loaded):
    with pytest.raises(InputError, match="all 40 cells of 'screen' are control cells .'ctrl'."):
        loaded(screen({"ctrl": 40}))


def test_one_control_cell_is_a_note_where_training_has_it(loaded):
    cells = CELLS | {"ctrl": 1}
    part = ["train"] + ["train", "val", "test", "train"] * 30
    notes = loaded(
        screen(cells, part=part), split=SplitKeys(kind="column", column="part")
    ).dataset.notes
    assert any("compared with 1 control cells" in note and "no ceiling" in note for note in notes)


def test_control_cells_that_fail_quality(loaded):
    adata = screen()
    # Most counts of the control cells are of one mitochondrial gene.
    adata.var_names = ["MT-ND1", *adata.var_names[1:]]
    counts = adata.X.toarray()
    counts[:30, 0] = 400
    adata.X = sparse.csr_matrix(counts)
    with pytest.raises(InputError, match="no control cells .'ctrl'. with counts that pass quality"):
        loaded(adata)
    assert loaded(adata, quality=QualityKeys(multiplier=0)).dataset.quality is None


def test_no_perturbation_to_learn_from(loaded):
    part = ["train"] * 20 + ["test"] * 10 + ["val", "test"] * 60
    kept = SplitKeys(kind="column", column="part")
    with pytest.raises(InputError, match="none of the 6 perturbations .* has training cells"):
        loaded(screen(part=part), split=kept)
    part = ["test"] * 20 + ["val"] * 10 + ["train", "test"] * 60
    with pytest.raises(InputError, match="no control cell of 'screen' is in train"):
        loaded(screen(part=part), split=kept)


def test_one_perturbation_is_a_note_with_a_split_of_cells(loaded):
    pair = {"ctrl": 40, "A": 40}
    notes = loaded(screen(pair)).dataset.notes
    assert any("there is a single perturbation" in note for note in notes)
    assert any("1 perturbations have test cells, fewer than 5" in note for note in notes)
    with pytest.raises(InputError, match="none of the 1 perturbations"):
        loaded(screen(pair), split=SplitKeys(kind="simulation"))


def test_nothing_to_test_and_few_genes_are_notes(loaded):
    notes = loaded(screen(genes=40), split=SplitKeys(kind="none")).dataset.notes
    assert any("no perturbation has test cells" in note for note in notes)
    assert any("there are 40 genes" in note and "top 50" in note for note in notes)
    assert not any("40 genes" in note for note in loaded(screen()).dataset.notes)


def test_a_perturbation_without_controls_in_its_stratum(loaded):
    """Control lies in the first line alone, "A" and "B" in the second."""
    of = lines(of=lambda label, _: int(label in ("A", "B")))
    with pytest.raises(InputError) as caught:
        loaded(screen(line=of), stratum="line")
    sentence = str(caught.value)
    assert "2 perturbations of 'screen' (A, B)" in sentence and "line1" in sentence
    assert "evaluation.controls=pooled" in sentence
    pooled = EvaluationKeys(likelihood="", controls="pooled")
    dataset = loaded(screen(line=of), stratum="line", evaluation=pooled).dataset
    assert dataset.controls == "pooled"
    assert any(
        "6 perturbations have all of their cells in one of 2 strata" in note
        or "are compared with controls of other strata" in note
        for note in dataset.notes
    )


def test_confounded_perturbations_are_named(loaded):
    of = lines(of=lambda label, i: int(label == "A") if label != "ctrl" else i % 2)
    notes = loaded(screen(line=of), stratum="line").dataset.notes
    (note,) = [note for note in notes if "all of their cells in one of 2 strata" in note]
    assert note.startswith("6 perturbations") and "that stratum alone" in note
    # Perturbations with cells in both lines are not confounded.
    mixed = loaded(screen(line=lines()), stratum="line").dataset.notes
    assert not any("in one of 2 strata" in note for note in mixed)


def test_some_cells_without_controls_are_a_note(loaded):
    """A batch of one cell, and one without control: neither turns the file away."""
    of = lines(of=lambda label, i: 1 if label in ("A", "ctrl") and i == 0 else 0)
    dataset = loaded(screen(line=of), stratum="line").dataset
    assert len(dataset.strata) == 2
    of = lines(of=lambda label, i: int(label == "A" and i < 5))
    notes = loaded(screen(line=of), stratum="line").dataset.notes
    assert any(
        "1 strata have no control cell (line1): their 5 perturbed cells are compared with nothing"
        in note
        for note in notes
    )


def test_what_batches_cannot_be_drawn_from(loaded):
    with pytest.raises(InputError, match="fill no batch of 5000"):
        loaded(screen(), train=TrainKeys(batch_size=5000, drop_last=True))
    of = lines(of=lambda label, i: int(label == "A" and i < 5))
    with pytest.raises(InputError, match="train.pairing is 'cell', but 1 strata"):
        loaded(screen(line=of), stratum="line", train=TrainKeys(pairing="cell"))
    adata = screen()
    adata.X[0, 0] = 2**25
    with pytest.raises(InputError, match="the largest count"):
        loaded(adata, quality=QualityKeys(multiplier=0))


def test_every_multiplier_is_checked():
    """Passed at five MAD is not passed at three."""
    dataset = data.read(screen())
    dataset = data.add_split(data.add_quality(dataset, doublets="none"), kind="cells")
    metrics = dict(dataset.quality.metrics)
    bound = dataset.quality.thresholds
    # Between the bounds of three and of five.
    middle = (bound[3]["n_genes"] + bound[5]["n_genes"]) / 2
    genes = metrics["n_genes"].copy()
    genes[dataset.condition == dataset.control] = middle
    metrics["n_genes"] = genes
    dataset = replace(dataset, quality=replace(dataset.quality, metrics=metrics))
    config = ScreenConfig(quality=LEAN)
    audit.check_split(config, dataset)
    asked = replace(config, evaluation=EvaluationKeys(multipliers=(3, 5)))
    with pytest.raises(InputError, match="that pass quality at 3 MAD"):
        audit.check_split(asked, dataset)
