"""Leaks are found in labelled tables, and what is none is not named."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.tasks.screen import audit, leaks
from jaxpert.tasks.screen.keys import QualityKeys, ScreenConfig
from support import predictions


def rows(n=40, genes=60, seed=0, density=0.5):
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, 1.0, (n, genes)) * (rng.random((n, genes)) < density)
    return sparse.csr_matrix(x)


def test_repeated_rows_forgive_rounding_and_nothing_else():
    first, second = rows(), rows(30, seed=1)
    assert len(leaks.repeated_rows(first, second)[0]) == 0
    # As another tool stores them: float32, and in another order.
    second = sparse.csr_matrix(sparse.vstack([second, first[[7, 3]].astype(np.float32)]))
    here, there = leaks.repeated_rows(first, second)
    assert dict(zip(here.tolist(), there.tolist(), strict=True)) == {7: 30, 3: 31}
    near = first.copy()
    near.data = near.data + 0.01
    assert len(leaks.repeated_rows(near, second)[0]) == 0


def test_rows_of_few_entries_may_be_alike():
    few = sparse.csr_matrix(np.tile(np.arange(60) < leaks.FEWEST_ENTRIES - 1, (5, 1)) * 1.0)
    assert len(leaks.repeated_rows(few, few)[0]) == 0
    some = sparse.csr_matrix(np.tile(np.arange(60) < leaks.FEWEST_ENTRIES, (5, 1)) * 1.0)
    assert len(leaks.repeated_rows(some, some)[0]) == 5


def test_copied_names_conditions_and_leaves_controls_alone():
    real, of_real = rows(), np.arange(40) % 4
    names = ("ctrl", "A", "B", "C")
    predicted = sparse.csr_matrix(sparse.vstack([real[:8], rows(8, seed=3)]))
    of_predicted = np.arange(16) % 4
    said = leaks.copied(predicted, of_predicted, real, of_real, names, 0)
    assert said.startswith("6 of 12 predicted rows of perturbations are cells of the real file")
    assert "(of A, B, C)" in said
    assert leaks.copied(real[:8], np.zeros(8, int), real, of_real, names, 0) == ""


def split(dataset, train, test):
    names = np.asarray(dataset.conditions)[dataset.condition]
    codes = np.where(np.isin(names, test), 2, np.where(np.isin(names, train), 0, 3))
    return replace(dataset, split=codes.astype(np.int8))


def test_single_whose_gene_was_trained_in_company():
    dataset = data.read(predictions.cells())
    leaked = split(dataset, ["ctrl", "C", "A+B", "C+D"], ["A", "F"])
    said = leaks.trained_in_company(leaked)
    assert "1 of 2 single perturbations held out for test" in said and "(A)" in said
    assert leaks.trained_in_company(split(dataset, ["ctrl", "C", "C+D"], ["A", "F", "A+B"])) == ""
    assert leaks.trained_in_company(dataset) == ""


def test_cells_in_training_and_test():
    dataset = data.read(predictions.cells())
    divided = split(dataset, ["ctrl", "A", "B"], ["A+B"])
    assert leaks.repeated_between_parts(divided) == ""
    train, test = divided.rows("train"), divided.rows("test")
    order = np.arange(len(dataset.cells))
    order[test[:2]] = train[-2:]
    said = leaks.repeated_between_parts(replace(divided, counts=dataset.counts[order]))
    assert said.startswith("2 of 15 test cells have the very counts of a training cell")
    assert f"{dataset.cells[test[0]]} is {dataset.cells[train[-2]]}" in said


def test_a_run_is_told_of_both():
    adata = predictions.cells()
    labels = adata.obs["condition"].to_numpy().astype(str)
    # A alone is tested, and trained on in A+B; B is tested on copies of cells of D.
    x = adata.X.toarray()
    x[labels == "B"] = x[labels == "D"]
    adata.X = sparse.csr_matrix(x)
    dataset = split(data.read(adata), ["ctrl", "C", "D", "A+B"], ["A", "B"])
    notes = " ".join(audit.notes_of(ScreenConfig(quality=QualityKeys(multiplier=0)), dataset))
    assert "2 of 2 single perturbations held out for test" in notes
    assert "15 of 30 test cells have the very counts of a training cell" in notes


def test_changed_control():
    rng = np.random.default_rng(0)
    real, error = rng.gamma(2.0, 1.0, 50), np.full(50, 0.02)
    genes = [f"G{g}" for g in range(50)]
    same = real + rng.normal(0, 0.02, 50)
    assert leaks.changed_control(same, real, error, genes) == ""
    edited = real.copy()
    edited[7] += 0.5
    said = leaks.changed_control(edited, real, error, genes)
    # One gene of 50 by 0.5: a root mean square of 0.5 / sqrt(50).
    assert "in 1 of 50 genes (G7 +0.50; root mean square 0.071, log2)" in said
    assert leaks.changed_control(np.zeros(50), real, error, genes).startswith("the predicted")


@pytest.mark.parametrize(
    ("ratio", "base"), [(1 / np.log(2), "log2 where"), (np.log(2), "ln where")]
)
def test_another_logarithm_is_refused(ratio, base):
    real = np.random.default_rng(0).gamma(2.0, 1.0, 50)
    with pytest.raises(InputError, match=f"{ratio:.2f} times the measured one .* as {base}"):
        leaks.changed_control(real * ratio, real, np.zeros(50), ["G"] * 50)
    leaks.changed_control(real * 1.2, real, np.zeros(50), ["G"] * 50)


def test_missing_perturbations_are_named():
    wanted, there = np.array([False, True, True, True]), np.array([True, True, False, False])
    said = leaks.missing(wanted, there, ("ctrl", "A", "B", "C"))
    assert said.startswith("2 of 3 perturbations are not predicted") and said.endswith(": B, C")
    assert leaks.missing(wanted, wanted, ("ctrl", "A", "B", "C")) == ""


def test_effects_of_the_control_are_zero():
    leaks.unlike_controls(np.zeros(4), "effects.csv")
    with pytest.raises(InputError, match="effects.csv gives the control an effect of up to 0.5"):
        leaks.unlike_controls(np.array([0.0, -0.5]), "effects.csv")
