"""Matrices whose types, indices or entries are unusual: read exactly, or refused before a cast."""

import numpy as np
import pytest
from scipy import sparse

from jaxpert import data
from jaxpert.core import stages, verbosity
from jaxpert.core.types import InputError
from jaxpert.data import stored
from jaxpert.data.files import opened
from jaxpert.data.read import load_counts


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(stored, "BLOCK_ENTRIES", 40)


TYPES = ["f2", ">f2", ">f4", ">f8", "g", ">i4", ">u2", "i1", "i8", "u8", "?"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
def test_types_that_scipy_does_not_know_are_read_exactly(screen, labels, dtype, form):
    adata = screen(labels)
    table = adata.X.toarray().astype(dtype)
    matrix = table
    if form != "dense":
        matrix = sparse.csr_matrix(adata.X) if form == "csr" else sparse.csc_matrix(adata.X)
        # Set after construction, in which SciPy would refuse the type.
        matrix.data = matrix.data.astype(dtype)
    with opened(adata) as table_of:
        counts = load_counts(table_of._replace(matrix=matrix))
    assert counts.dtype == np.uint8
    np.testing.assert_array_equal(counts.toarray(), table.astype(int))


@pytest.mark.parametrize("form", ["csr", "csc"])
@pytest.mark.parametrize("index", [2**32, 2**32 + 1, -(2**32), 2**40, -1, 0.5, np.nan, True])
def test_indices_are_checked_before_they_are_cast(screen, labels, form, index):
    adata = screen(labels)
    matrix = sparse.csr_matrix(adata.X) if form == "csr" else sparse.csc_matrix(adata.X)
    dtype = np.array(index).dtype
    matrix.indices = matrix.indices.astype(dtype)
    matrix.indices[3] = index
    with opened(adata) as table, pytest.raises(InputError, match="layer 'X' of the AnnData obj"):
        load_counts(table._replace(matrix=matrix))


def two_parts(first, second, dtype):
    """One cell and one gene more than a single entry, which is stored in two parts."""
    return sparse.csr_matrix(
        (np.array([first, second, 1], dtype), [0, 0, 1], [0, 3, 3]), shape=(2, 2)
    )


@pytest.mark.parametrize(
    "first,second,dtype,kind",
    [
        (200, 100, "u1", np.uint16),
        (100, 100, "i1", np.uint8),
        (65535, 1, "u2", np.uint32),
        (2**24, 1, "f4", np.uint32),
        (2**31 - 1, 1, "i4", np.uint32),
        (2**32 - 1, 0, "u4", np.uint32),
    ],
)
def test_an_entry_in_two_parts_is_their_sum(screen, first, second, dtype, kind):
    adata = screen(["ctrl", "A"], genes=2)
    adata.X = two_parts(first, second, dtype)
    counts = data.read(adata).counts
    assert counts.dtype == kind and counts.has_canonical_format
    np.testing.assert_array_equal(counts.toarray(), [[first + second, 1], [0, 0]])


@pytest.mark.parametrize(
    "first,second,dtype,expected",
    [
        (-1, 3, "i4", "negative value -1"),
        (0.5, 0.5, "f4", "fraction 0.5"),
        (np.inf, -np.inf, "f4", "infinite value"),
        (2**32 - 1, 5, "u4", "4294967300"),
        (2**63, 2**63, "u8", "9223372036854775808"),
        (True, True, "?", "True twice"),
    ],
)
def test_a_sum_hides_nothing(screen, first, second, dtype, expected):
    adata = screen(["ctrl", "A"], genes=2)
    adata.X = two_parts(first, second, dtype)
    with pytest.raises(InputError, match=expected):
        data.read(adata)


def test_only_chosen_cells_are_checked(screen, labels):
    adata = screen(labels)
    expected = adata.X.toarray()[1::2]
    adata.X[20, 2] = np.nan
    chosen = np.arange(40) % 2 == 1
    for form in (sparse.csr_matrix, sparse.csc_matrix, lambda x: x.toarray()):
        with opened(adata) as table:
            counts = load_counts(table._replace(matrix=form(adata.X)), chosen)
        np.testing.assert_array_equal(counts.toarray(), expected)


def test_forms_that_are_no_matrix_of_counts(screen, labels):
    adata = screen(labels)
    others = {
        "'coo'": sparse.coo_matrix(adata.X),
        "complex64": adata.X.astype(np.complex64),
        "object": adata.X.toarray().astype(object),
        "1 dimensions": np.ones(40),
        r"shape \[12, 40\]": adata.X.toarray().T,
    }
    for expected, matrix in others.items():
        with opened(adata) as table, pytest.raises(InputError, match=expected):
            load_counts(table._replace(matrix=matrix))


@pytest.mark.parametrize("form", ["dense", "csr"])
def test_reading_says_how_far_it_is(screen, labels, form, monkeypatch, capsys):
    monkeypatch.setattr(stages, "EVERY", 0.0)
    adata = screen(labels)
    matrix = adata.X.toarray() if form == "dense" else sparse.csr_matrix(adata.X)
    with opened(adata) as table:
        load_counts(table._replace(matrix=matrix, source="mine.h5ad"))
        told = capsys.readouterr().err.splitlines()
        assert len(told) > 1 and told[0].startswith("reading mine.h5ad: 1 of ")
        token = verbosity.LEVEL.set(verbosity.QUIET)
        load_counts(table._replace(matrix=matrix))
        verbosity.LEVEL.reset(token)
        assert capsys.readouterr().err == ""
