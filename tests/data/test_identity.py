"""Data that are the same are taken for the same, and others are named by what changed."""

from dataclasses import replace

import numpy as np
import pytest

from jaxpert.core.errors import InputError
from jaxpert.data.identity import check_same, identity
from support import toy


def test_the_same_data_in_other_clothes_are_the_same(tmp_path):
    data = toy.dataset()
    unsorted = data.counts.copy()
    for start, stop in zip(unsorted.indptr[:-1], unsorted.indptr[1:], strict=True):
        for array in (unsorted.indices, unsorted.data):
            array[start:stop] = array[start:stop][::-1].copy()
    unsorted.has_sorted_indices = False
    wide = replace(data, counts=unsorted, condition=data.condition.astype(np.int64), name="other")
    assert identity(wide) == identity(data)
    assert check_same(wide, identity(data), tmp_path) == ()


def with_counts(data, change):
    counts = data.counts.copy()
    change(counts)
    return replace(data, counts=counts)


def swapped(names):
    return (names[1], names[0], *names[2:])


CHANGES = {
    "one count": (
        lambda d: with_counts(d, lambda c: c.data.__setitem__(5, c.data[5] + 1)),
        "(other counts)",
    ),
    "one place": (
        lambda d: replace(d, counts=d.counts[:, ::-1].tocsr()),
        "(other counts)",
    ),
    "order of cells": (
        lambda d: replace(d, cells=d.cells[::-1]),
        "(other names or order of cells)",
    ),
    "a label": (
        lambda d: replace(d, condition=np.roll(d.condition, 1)),
        "(other labels of cells)",
    ),
    "name of a stratum": (lambda d: replace(d, strata=("s0", "x")), "(other labels of cells)"),
    "order of genes": (
        lambda d: replace(d, genes=swapped(d.genes)),
        "(in another order, of the genes number 1 was g0 and is now g1)",
    ),
    "a gene": (
        lambda d: replace(d, genes=(*d.genes[:-1], "new")),
        "(of the genes number 12 was g11 and is now new)",
    ),
    "a gene less": (
        lambda d: replace(d, genes=d.genes[:-1]),
        "(of the genes number 12 was g11 and is now none)",
    ),
    "order of treatments": (
        lambda d: replace(d, treatments=swapped(d.treatments)),
        "(in another order, of the treatments number 1 was a and is now b)",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_other_data_are_refused_with_what_changed(what, tmp_path):
    change, said = CHANGES[what]
    data = toy.dataset()
    with pytest.raises(InputError) as refused:
        check_same(change(data), identity(data), tmp_path)
    assert said in str(refused.value) and "train again in a new --workdir" in str(refused.value)


def test_data_of_a_version_without_checksums_are_compared_by_name(tmp_path):
    data = toy.dataset()
    before = {"genes": list(data.genes), "treatments": list(data.treatments)}
    (note,) = check_same(data, before, tmp_path)
    assert "counts could not be compared" in note
    with pytest.raises(InputError, match="of the genes number 1"):
        check_same(replace(data, genes=swapped(data.genes)), before, tmp_path)
