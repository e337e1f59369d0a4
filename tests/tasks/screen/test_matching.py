"""Genes and conditions of predictions are found by name, in any order and case."""

import numpy as np
import pytest

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.tasks.screen import matching
from support import predictions


def test_genes_in_another_order():
    genes = matching.match_genes(["A", "B", "C"], ["C", "A", "B"], "pred")
    assert genes.second.tolist() == [1, 2, 0] and not genes.missing
    assert genes.notes == ("the genes of pred are in another order and are matched by name",)
    assert matching.match_genes(["A", "B"], ["A", "B"], "pred").notes == ()


def test_missing_and_further_genes_are_named():
    genes = matching.match_genes(["A", "B", "C"], ["X", "A", "C"], "pred")
    assert genes.first.tolist() == [0, 2] and genes.second.tolist() == [1, 2]
    assert genes.missing == ("B",)
    assert "1 of 3 measured genes are not in pred" in genes.notes[0] and ": B" in genes.notes[0]
    assert "1 genes of pred are not measured" in genes.notes[1] and ": X" in genes.notes[1]


def test_genes_in_another_case():
    genes = matching.match_genes(["Klf1", "Gata1"], ["KLF1", "GATA1"], "pred")
    assert genes.second.tolist() == [0, 1]
    assert "2 genes of pred are matched in another case" in genes.notes[0]
    # A gene that is there as it is goes before one in another case.
    genes = matching.match_genes(["Klf1"], ["KLF1", "Klf1"], "pred")
    assert genes.second.tolist() == [1]
    with pytest.raises(InputError, match="gene 'Klf1' is written 'KLF1', 'klf1'"):
        matching.match_genes(["Klf1"], ["KLF1", "klf1"], "pred")
    with pytest.raises(InputError, match="gene 'KLF1' is written 'Klf1'"):
        matching.match_genes(["klf1", "KLF1"], ["Klf1"], "pred")


def test_no_common_gene():
    with pytest.raises(InputError, match="pred has none of the 2 measured genes .*ENSG1"):
        matching.match_genes(["A", "B"], ["ENSG1"], "pred")


def test_conditions_by_the_rules_of_the_labels():
    dataset = data.read(predictions.cells())
    labels = ["B+A", "ctrl", "A + ctrl", "A+B", "a+c", "Z", "A+Z", "Z"]
    found = matching.match_conditions(labels, dataset, "pred")
    names = [dataset.conditions[c] if c >= 0 else None for c in found.of_row]
    assert names == ["A+B", "ctrl", "A", "A+B", "A+C", None, None, None]
    assert found.invented == ("A+Z", "Z")
    assert "1 labels of pred are matched in another case: a+c as A+C" in found.notes[0]
    assert "2 perturbations of pred were never measured" in found.notes[1]


def test_case_that_tells_conditions_apart_is_kept():
    adata = predictions.cells()
    labels = adata.obs["condition"].to_numpy().astype(str)
    labels[labels == "B"] = "a"
    adata.obs["condition"] = labels
    dataset = data.read(adata)
    found = matching.match_conditions(["a", "A", "c"], dataset, "pred")
    assert [dataset.conditions[c] if c >= 0 else None for c in found.of_row] == ["a", "A", None]
    assert found.invented == ("c",)


def test_labels_of_another_experiment():
    dataset = data.read(predictions.cells())
    with pytest.raises(InputError, match="pred has none of the 12 perturbations"):
        matching.match_conditions(np.array(["ctrl", "X", "Y"]), dataset, "pred")
