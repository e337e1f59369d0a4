"""Another file in the form of the training data."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from jaxpert.core.types import InputError
from jaxpert.data.quality import add_quality
from jaxpert.data.transfer import align_genes, align_strata, align_treatments, like_training
from support import toy


def training():
    return add_quality(toy.dataset(), doublets="none")


def test_genes_come_in_the_training_order_and_extra_ones_are_named():
    given = toy.dataset()
    order = [5, 0, *range(6, 12), 1, 2, 3, 4]
    turned = replace(
        given, counts=given.counts[:, order], genes=tuple(given.genes[g] for g in order)
    )
    aligned = align_genes(turned, given)
    assert aligned.genes == given.genes and aligned.notes == ()
    np.testing.assert_array_equal(aligned.counts.toarray(), given.counts.toarray())
    fewer = replace(given, counts=given.counts[:, 2:], genes=given.genes[2:])
    assert (
        "2 genes that the model does not know were left out (g0, g1)"
        in align_genes(given, fewer).notes[0]
    )
    with pytest.raises(
        InputError, match=r"lacks 2 of the 12 genes .*\(g0, g1\).*before its genes were filtered"
    ):
        align_genes(fewer, given)


def test_treatments_and_strata_go_by_name():
    given = toy.dataset()
    table = np.array([[0, 0], [1, 1]], np.float32)
    pairs = replace(
        given,
        conditions=("ctrl", "c+a"),
        condition=np.minimum(given.condition, 1),
        treatments=("c", "a"),
        condition_treatments=table,
        strata=("s1",),
        stratum=np.zeros(len(given.cells), int),
    )
    aligned = align_strata(align_treatments(pairs, given), given)
    np.testing.assert_array_equal(aligned.condition_treatments, [[0, 0, 0], [1, 0, 1]])
    assert set(aligned.stratum) == {1} and aligned.strata == given.strata
    with pytest.raises(
        InputError, match="perturbations z, which the model was not trained on.*a, b, c"
    ):
        align_treatments(replace(pairs, treatments=("z", "a")), given)
    with pytest.raises(InputError, match="strata s9.*s0, s1"):
        align_strata(replace(pairs, strata=("s9",)), given)


def test_thresholds_are_the_training_datas_own():
    """Of a file with the worst cells alone, whose by_itself thresholds would pass most of them."""
    known = training()
    assert known.quality is not None
    total = np.asarray(known.counts.sum(1)).ravel()
    thin = toy.dataset()
    thin = replace(thin, counts=(thin.counts > 0).astype(np.uint16).tocsr())
    aligned = like_training(thin, known, doublets="none")
    assert aligned.quality is not None and aligned.quality.thresholds == known.quality.thresholds
    bound = known.quality.thresholds[5]["umi_count"]
    expected = np.asarray(thin.counts.sum(1)).ravel() < bound
    assert (aligned.quality.failed >= expected).all() and bound < np.median(total)
    by_itself = add_quality(thin, doublets="none")
    assert (
        by_itself.quality is not None and by_itself.quality.thresholds != aligned.quality.thresholds
    )
    assert (
        "doublets were not called" in aligned.notes
        and "by the thresholds of 'toy' at 5 MAD" in aligned.notes[-1]
    )


def test_criteria_from_columns_keep_the_thresholds_of_those_columns():
    base = toy.dataset()
    known = replace(base, obs=pd.DataFrame({"mt": np.linspace(0, 10, len(base.cells))}))
    known = add_quality(known, doublets="none", columns={"pct_mt": "mt"})
    assert known.quality is not None
    other = replace(base, obs=pd.DataFrame({"mt": np.full(len(base.cells), 99.0)}))
    aligned = like_training(other, known, doublets="none", columns={"pct_mt": "mt"})
    assert aligned.quality is not None and aligned.quality.failed.all()
    assert aligned.quality.thresholds[5]["pct_mt"] == known.quality.thresholds[5]["pct_mt"]
    with pytest.raises(InputError, match="mt"):
        like_training(base, known, doublets="none", columns={"pct_mt": "mt"})
    with pytest.raises(InputError, match="no quality labels"):
        like_training(base, base)
