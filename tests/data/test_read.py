"""Reading: what is right is kept exactly, what is wrong ends in one sentence."""

import numpy as np
import pytest
from scipy import sparse

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.data import stored


def complaint(source, **options):
    """The message of the `InputError`, checked to be one line and to end like a sentence without
    stop."""
    with pytest.raises(InputError) as caught:
        data.read(source, **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) > 40 and not message.endswith(".")
    return message


def test_labels_become_treatments_and_synonyms_merge(screen, labels):
    dataset = data.read(screen(labels))
    assert dataset.conditions == ("A+B", "A+ctrl", "ctrl", "ctrl+B")
    assert dataset.conditions[dataset.control] == "ctrl"
    assert dataset.treatments == ("A", "B")
    np.testing.assert_array_equal(dataset.condition_treatments, [[1, 1], [1, 0], [0, 0], [0, 1]])
    np.testing.assert_array_equal(np.bincount(dataset.condition), [10, 10, 12, 8])
    assert any("'B+A' into 'A+B'" in note for note in dataset.notes)
    assert dataset.strata == ("all",) and not dataset.stratum.any()


def test_without_separator_a_label_is_one_treatment(screen, labels):
    dataset = data.read(screen(labels), separator=None)
    assert dataset.treatments == ("A+B", "A+ctrl", "B+A", "ctrl+B")
    assert (dataset.condition_treatments.sum(axis=1) <= 1).all()


@pytest.mark.parametrize(
    "form", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, lambda x: x.toarray()]
)
@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("largest,dtype", [(255, np.uint8), (256, np.uint16), (70_000, np.uint32)])
def test_counts_are_exact_in_the_smallest_type(
    screen, labels, tmp_path, monkeypatch, form, on_disk, largest, dtype
):
    monkeypatch.setattr(stored, "BLOCK_ENTRIES", 40)
    adata = screen(labels)
    adata.X[17, 3] = largest
    expected = adata.X.toarray()
    adata.X = form(adata.X)
    if on_disk:
        adata.write_h5ad(tmp_path / "some.h5ad")
    dataset = data.read(tmp_path / "some.h5ad" if on_disk else adata)
    assert dataset.counts.dtype == dtype and dataset.counts.indices.dtype == np.int32
    assert sparse.isspmatrix_csr(dataset.counts)
    np.testing.assert_array_equal(dataset.counts.toarray(), expected)
    assert dataset.name == ("some" if on_disk else "adata")
    assert dataset.genes == tuple(adata.var_names) and list(dataset.cells) == list(adata.obs_names)


def test_the_users_matrix_is_left_alone(screen, labels):
    adata = screen(labels)
    adata.X.data[::3] = 0  # stored zeros, which the data set does not keep
    before = adata.X.copy()
    dataset = data.read(adata)
    assert dataset.counts.nnz == np.count_nonzero(before.data) < len(before.data)
    np.testing.assert_array_equal(adata.X.data, before.data)
    np.testing.assert_array_equal(adata.X.indices, before.indices)


def test_backed_annotated_data_is_read(screen, labels, tmp_path):
    import anndata

    adata = screen(labels)
    adata.write_h5ad(tmp_path / "some.h5ad")
    backed = anndata.read_h5ad(tmp_path / "some.h5ad", backed="r")
    np.testing.assert_array_equal(data.read(backed).counts.toarray(), adata.X.toarray())
    backed.file.close()


def test_layer_and_raw(screen, labels, tmp_path):
    adata = screen(labels)
    adata.raw = adata.copy()
    adata.layers["counts"] = adata.X.copy()
    adata = adata[:, :5].copy()
    adata.X = np.log1p(adata.X)
    adata.write_h5ad(tmp_path / "some.h5ad")
    for source in (adata, tmp_path / "some.h5ad"):
        assert data.read(source, layer="counts").counts.shape == (40, 5)
        assert data.read(source, layer="raw").counts.shape == (40, 12)
        assert "has no layer 'count'" in complaint(source, layer="count")


def test_guide_columns(screen):
    guides = {
        "guide_A": [1, 0, 1, 0] * 3,
        "guide_B": [0, 1, 1, 0] * 3,
        "guide_C": [0] * 12,
        "guide_ids": ["x"] * 12,
    }
    adata = screen(["A", "NT_B", "B+A", "whatever"] * 3, **guides)
    dataset = data.read(adata, guide_prefix="guide_", control="none")
    assert dataset.conditions == ("A", "B+A", "NT_B", "none") and dataset.control == 3
    assert dataset.treatments == ("A", "B")
    np.testing.assert_array_equal(dataset.condition_treatments, [[1, 0], [1, 1], [0, 1], [0, 0]])
    assert any("left out: C" in note for note in dataset.notes)
    assert any("guide_ids" in note for note in dataset.notes)
    nameless = data.read(adata, guide_prefix="guide_", perturbation="absent", control="none")
    assert nameless.conditions == ("A", "A+B", "B", "none")
    assert "sgRNA_" in complaint(adata, guide_prefix="sgRNA_")


def test_strata(screen, labels):
    dataset = data.read(screen(labels, line=["K562", "THP1"] * 20), stratum="line")
    assert dataset.strata == ("K562", "THP1")
    np.testing.assert_array_equal(dataset.stratum, [0, 1] * 20)


def test_gene_filters_keep_the_criteria_of_all_genes(screen, labels):
    adata = screen(labels)
    adata.X = adata.X.toarray()
    adata.X[:, 4] = 0
    adata.X[0, 4] = 9
    adata.var["highly_variable"] = [True] * 6 + [False] * 6
    whole = data.read(adata)
    dataset = data.read(adata, min_cells_per_gene=2, highly_variable="highly_variable")
    assert dataset.genes == ("G0", "G1", "G2", "G3", "G5")
    np.testing.assert_array_equal(dataset.obs["unfiltered_umi_count"], whole.counts.sum(axis=1).A1)
    assert any("7 of 12 genes were left out" in note for note in dataset.notes)
    labelled = data.add_quality(dataset, doublets="none")
    np.testing.assert_array_equal(
        labelled.quality.metrics["umi_count"], whole.counts.sum(axis=1).A1
    )
    assert data.modelled_thresholds(labelled) != labelled.quality.thresholds
    assert "no gene" in complaint(adata, min_cells_per_gene=99)
    assert "variable" in complaint(adata, highly_variable="variable")


def test_rare_things_are_noted(screen, labels):
    adata = screen([*labels, "LONELY+ctrl"])
    adata.X = adata.X.toarray()
    adata.X[3] = 0
    adata.X[:, 7] = 0
    notes = data.read(adata).notes
    assert any("LONELY+ctrl" in note and "single cell" in note for note in notes)
    assert any(note == "cells without any count, kept: 1" for note in notes)
    assert any(note == "genes without a count in any cell, kept: 1" for note in notes)


BAD_COUNTS = {
    "NaN": (lambda x: x.__setitem__((5, 2), np.nan), "NaN at cell 'cell5' and gene 'G2'"),
    "infinite": (
        lambda x: x.__setitem__((5, 2), np.inf),
        "infinite value at cell 'cell5' and gene 'G2'",
    ),
    "negative": (lambda x: x.__setitem__((5, 2), -1), "negative value -1"),
    "fraction": (lambda x: x.__setitem__((5, 2), 0.5), "fraction 0.5"),
    "log-normalised": (
        lambda x: np.log1p(1e4 * x / x.sum(1, keepdims=True), out=x),
        "log-normalised",
    ),
    "scaled": (
        lambda x: np.multiply(x, 33.3 / x.sum(1, keepdims=True), out=x),
        "scaled to a common total",
    ),
}


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
@pytest.mark.parametrize("problem", BAD_COUNTS)
def test_values_that_are_no_counts(screen, labels, monkeypatch, problem, form):
    monkeypatch.setattr(stored, "BLOCK_ENTRIES", 40)
    spoil, expected = BAD_COUNTS[problem]
    if form is sparse.csc_matrix and problem in ("log-normalised", "scaled"):
        # why is told by the values of one cell, which blocks of CSC do not hold together
        expected = "the fraction"
    adata = screen(labels)
    x = adata.X.toarray()
    adata.layers["counts"] = adata.X.copy()
    spoil(x)
    adata.X = form(x)
    message = complaint(adata)
    assert expected in message and "data.layer" in message and "'counts'" in message
    assert data.read(adata, layer="counts").counts.shape == adata.shape


def test_the_first_offender_is_named_with_a_row_selection(screen, labels):
    from jaxpert.data.files import opened
    from jaxpert.data.read import load_counts

    adata = screen(labels)
    adata.X[20, 2] = 0.25
    rows = np.arange(40) % 2 == 0
    with opened(adata) as table, pytest.raises(InputError, match="cell 'cell20' and gene 'G2'"):
        load_counts(table, rows)
    with opened(adata) as table:
        np.testing.assert_array_equal(
            load_counts(table, ~rows, np.arange(12) < 3).toarray(), adata.X.toarray()[1::2, :3]
        )


def test_tables_that_cannot_be_used(screen, labels):
    adata = screen(labels, conditions="x", depth=1.5)
    assert "did you mean 'condition'" in complaint(adata, perturbation="conditon")
    assert (
        "data.control" in (message := complaint(adata, control="non-targeting"))
        and "'ctrl' (12 cells)" in message
    )
    assert "decimals" in complaint(adata, perturbation="depth")
    assert "data.stratum" in complaint(adata, stratum="cell_line")
    adata.obs["condition"] = adata.obs["condition"].where(adata.obs_names != "cell7")
    assert "1 of 40 cells have no label" in (message := complaint(adata)) and "'cell7'" in message
    adata.obs["condition"] = "A++B"
    assert "empty part" in complaint(adata)


def test_axes_that_cannot_be_used(screen, labels):
    adata = screen(labels)
    assert "no cells" in complaint(adata[:0].copy()) and "no genes" in complaint(
        adata[:, :0].copy()
    )
    twins = screen(labels)
    twins.var_names = ["G0", "G0", *twins.var_names[2:]]
    assert "var_names_make_unique" in (message := complaint(twins)) and "G0" in message
    twins = screen(labels)
    twins.obs_names = ["same"] * 2 + list(twins.obs_names[2:])
    assert "obs_names_make_unique" in complaint(twins)
    empty = screen(labels)
    empty.X = sparse.csr_matrix(empty.shape, dtype=np.float32)
    assert "only zeros" in complaint(empty)
    huge = screen(labels)
    huge.X = huge.X.astype(np.float64)
    huge.X[0, 0] = 2.0**40
    assert "1099511627776" in complaint(huge)


def test_files_that_cannot_be_used(screen, labels, tmp_path, monkeypatch):
    import h5py

    good = tmp_path / "good.h5ad"
    screen(labels).write_h5ad(good)
    assert (
        "there is no file" in (message := complaint(tmp_path / "goood.h5ad"))
        and "good.h5ad" in message
    )
    assert "is a folder" in complaint(tmp_path)
    (tmp_path / "text.h5ad").write_text("cell,gene\n")
    assert "not an HDF5 file" in complaint(tmp_path / "text.h5ad")
    (tmp_path / "nothing.h5ad").write_bytes(b"")
    assert "is empty" in complaint(tmp_path / "nothing.h5ad")
    (tmp_path / "packed.h5ad").write_bytes(b"\x1f\x8b" + b"0" * 50)
    assert "gunzip" in complaint(tmp_path / "packed.h5ad")
    with h5py.File(tmp_path / "other.h5ad", "w") as file:
        file["matrix"] = [1, 2]
    assert "without X and obs and var" in complaint(tmp_path / "other.h5ad")
    with h5py.File(tmp_path / "old.h5ad", "w") as file:
        file["X"] = np.ones((2, 3))
        file["obs"] = np.array([(b"c1",), (b"c2",)], dtype=[("index", "S2")])
        file["var"] = np.array([(b"g1",)] * 3, dtype=[("index", "S2")])
    assert "before 0.7" in complaint(tmp_path / "old.h5ad")
    monkeypatch.setattr("builtins.open", _refuse)
    assert "Permission denied" in complaint(good)


def _refuse(*_args, **_kwargs):
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_truncated_file(screen, labels, tmp_path, share):
    screen(labels).write_h5ad(tmp_path / "whole.h5ad")
    whole = (tmp_path / "whole.h5ad").read_bytes()
    (tmp_path / "cut.h5ad").write_bytes(whole[: int(share * len(whole))])
    assert "cut short" in complaint(tmp_path / "cut.h5ad")


def test_damaged_values(screen, labels, tmp_path):
    screen(labels).write_h5ad(tmp_path / "whole.h5ad", compression="gzip")
    whole = bytearray((tmp_path / "whole.h5ad").read_bytes())
    import h5py

    with h5py.File(tmp_path / "whole.h5ad") as file:
        chunk = file["X/data"].id.get_chunk_info(0)
    whole[chunk.byte_offset + 5 : chunk.byte_offset + chunk.size - 5] = b"\x00" * (chunk.size - 10)
    (tmp_path / "damaged.h5ad").write_bytes(whole)
    assert "cannot be read to its end" in complaint(tmp_path / "damaged.h5ad")


def test_real_norman(real):
    dataset = data.read(real("norman2019_k562_combos_500g.h5ad"))
    assert dataset.counts.shape == (3375, 500) and len(dataset.conditions) == 34
    assert (dataset.condition_treatments.sum(axis=1) == 2).sum() == 15
    assert (dataset.condition == dataset.control).sum() == 100
    np.testing.assert_array_equal(dataset.counts.sum(axis=1).A1, dataset.obs["n_umi_in_file"])
