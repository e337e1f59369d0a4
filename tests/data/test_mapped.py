"""Counts in mapped files are those that reading into memory gives, whole or not there at all."""

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert.core.types import InputError
from jaxpert.data import kept_counts, mapped
from jaxpert.data.counts import row_blocks
from jaxpert.data.read import read
from jaxpert.data.subset import keep_cells, keep_genes

FORMS = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}


def screen(form="csr", top=300):
    """41 cells; the last has a count that needs two bytes."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.5, (41, 9)).astype(np.float32)
    counts[-1, 3] = top
    obs = pd.DataFrame({"condition": np.where(np.arange(41) % 3, "A", "ctrl")})
    obs.index = [f"cell{i}" for i in range(41)]
    var = pd.DataFrame(index=[*"ABCDEFG", "MT-CO1", "RPL3"])
    return anndata.AnnData(FORMS[form](counts), obs=obs, var=var)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few cells, so that the toy has many."""
    monkeypatch.setattr("jaxpert.data.stored.BLOCK_ENTRIES", 20)
    monkeypatch.setattr(mapped, "ROWS", 4)
    monkeypatch.setattr(mapped, "PIECE", 7)
    monkeypatch.setattr(kept_counts, "SCATTERED", 5)


def same(left, right):
    assert left.shape == right.shape and left.dtype == right.dtype
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(left, part), getattr(right, part))


def entries(folder):
    return sorted(path.name for path in (folder / "counts").iterdir())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", ["h5ad", "zarr"])
def test_mapped_counts_are_those_read_into_memory(tmp_path, small_blocks, form, ending):
    path = tmp_path / f"screen.{ending}"
    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=3):
        # Of what the next version of anndata will do.
        warnings.simplefilter("ignore")
        getattr(screen(form), f"write_{ending}")(path)
    options = {"missing": "drop", "min_cells_per_gene": 17}
    memory = read(path, counts="memory", **options)
    disk = read(path, counts="disk", folder=tmp_path, **options)
    assert mapped.is_mapped(disk.counts) and not mapped.is_mapped(memory.counts)
    assert len(disk.genes) == 7 and disk.notes == memory.notes
    same(disk.counts, memory.counts)
    keep = np.arange(41) % 4 > 0
    for function in (lambda d: keep_cells(d, keep, "a test"), lambda d: keep_genes(d, keep[:7])):
        chosen = function(disk)
        assert mapped.is_mapped(chosen.counts)
        same(chosen.counts, function(memory).counts)
    for (rows, block), (other_rows, other) in zip(
        row_blocks(disk.counts, 20), row_blocks(memory.counts, 20), strict=True
    ):
        assert rows == other_rows
        same(block, other)


def test_some_cells_of_a_file_by_genes_are_mapped_too(tmp_path, small_blocks):
    adata = screen("csc")
    adata.obs.loc["cell5", "condition"] = "unassigned"
    adata.write_h5ad(tmp_path / "screen.h5ad")
    memory, disk = (
        read(tmp_path / "screen.h5ad", counts=place, folder=tmp_path, missing="drop")
        for place in ("memory", "disk")
    )
    assert len(disk.cells) == 40
    same(disk.counts, memory.counts)


def test_a_second_reading_finds_the_counts_and_a_changed_file_does_not(tmp_path, monkeypatch):
    path = tmp_path / "screen.h5ad"
    screen().write_h5ad(path)
    read(path, counts="disk", folder=tmp_path)
    before = entries(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(kept_counts, "write", None)
        assert read(path, counts="disk", folder=tmp_path).counts.max() == 300
    screen(top=70_000).write_h5ad(path)
    assert read(path, counts="disk", folder=tmp_path).counts.max() == 70_000
    assert len(before) == 1 and len(entries(tmp_path)) == 2


@pytest.mark.parametrize("part", ["data", "indices", "indptr", "form.json", "checksums.json"])
def test_damaged_counts_are_made_anew(tmp_path, part):
    path = tmp_path / "screen.h5ad"
    screen().write_h5ad(path)
    expected = read(path, counts="memory").counts
    read(path, counts="disk", folder=tmp_path)
    (name,) = entries(tmp_path)
    file = tmp_path / "counts" / name / part
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    same(read(path, counts="disk", folder=tmp_path).counts, expected)
    assert entries(tmp_path) == [name]


def test_a_full_disk_leaves_nothing_and_is_one_sentence(tmp_path, monkeypatch):
    path = tmp_path / "screen.h5ad"
    screen().write_h5ad(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mapped, "finish", full)
    with pytest.raises(InputError, match="No space left on device.*expected a folder.*data.folder"):
        read(path, counts="disk", folder=tmp_path)
    assert entries(tmp_path) == []


def test_a_place_that_is_no_folder_is_one_sentence(tmp_path):
    path = tmp_path / "screen.h5ad"
    screen().write_h5ad(path)
    (tmp_path / "counts").touch()
    with pytest.raises(InputError, match="counts cannot be kept in .*choose one with data.folder"):
        read(path, counts="disk", folder=tmp_path)
    with pytest.raises(InputError, match="data.counts is 'cloud', expected one of auto, memory"):
        read(path, counts="cloud")


def test_auto_maps_what_would_take_a_quarter_of_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "screen.h5ad"
    screen().write_h5ad(path)
    needed = 5 * screen().X.nnz
    for memory, expected in ((4 * needed, False), (4 * needed - 4, True)):
        monkeypatch.setattr(kept_counts, "memory_bytes", lambda memory=memory: memory)
        assert mapped.is_mapped(read(path, folder=tmp_path).counts) == expected


def test_rows_are_made_dense_wherever_they_are(tmp_path, small_blocks):
    screen().write_h5ad(tmp_path / "screen.h5ad")
    counts = read(tmp_path / "screen.h5ad", counts="disk", folder=tmp_path).counts
    rows = np.random.default_rng(1).integers(0, 41, (2, 3, 5))
    dense = mapped.dense_rows(counts, rows, np.dtype(np.uint16))
    np.testing.assert_array_equal(dense, counts.toarray()[rows])


def test_many_counts_are_indexed_in_64_bits(tmp_path, monkeypatch):
    # SciPy takes one type for pointers and indices, and pointers beyond 2^31 need 64 bits.
    monkeypatch.setattr(mapped, "LARGEST_INDEX", 10)
    monkeypatch.setattr(mapped, "PIECE", 7)
    screen().write_h5ad(tmp_path / "screen.h5ad")
    memory, disk = (
        read(tmp_path / "screen.h5ad", counts=place, folder=tmp_path)
        for place in ("memory", "disk")
    )
    (folder,) = (tmp_path / "counts").iterdir()
    assert (folder / "indices").stat().st_size == 8 * memory.counts.nnz
    np.testing.assert_array_equal(disk.counts.toarray(), memory.counts.toarray())
