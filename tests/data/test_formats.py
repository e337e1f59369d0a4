"""Kinds of files: each is read as an .h5ad file with the same content, or refused in one
sentence."""

import gzip
import subprocess
import sys
import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import io, sparse

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.data.files import opened
from jaxpert.data.read import load_counts
from support.paths import SHARED


def complaint(source, **options):
    """The message of the `InputError`, which has to be one line."""
    with pytest.raises(InputError) as caught:
        data.read(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def check_same(dataset, adata):
    np.testing.assert_array_equal(dataset.counts.toarray(), adata.X.toarray())
    assert list(dataset.cells) == list(adata.obs_names)
    assert dataset.genes == tuple(adata.var_names)
    assert list(dataset.obs["condition"]) == list(adata.obs["condition"])


@pytest.fixture
def layered(screen, labels):
    """A screen with a layer and with `raw` of more genes."""
    adata = screen(labels)
    adata.raw = adata.copy()
    adata = adata[:, :9].copy()
    adata.layers["double"] = adata.X * 2
    return adata


def write_zarr(adata, path, version):
    """A store of this format; anndata warns of the older one, and of the setting itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with anndata.settings.override(zarr_write_format=version):
            adata.write_zarr(path)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, lambda x: x.toarray()])
def test_zarr(layered, tmp_path, version, form):
    expected = layered.copy()
    layered.X = form(layered.X)
    write_zarr(layered, tmp_path / "mine.zarr", version)
    dataset = data.read(tmp_path / "mine.zarr")
    check_same(dataset, expected)
    assert dataset.name == "mine"
    double = data.read(tmp_path / "mine.zarr", layer="double")
    np.testing.assert_array_equal(double.counts.toarray(), 2 * expected.X.toarray())
    assert data.read(tmp_path / "mine.zarr", layer="raw").counts.shape == (40, 12)
    assert "has no layer 'lost'" in complaint(tmp_path / "mine.zarr", layer="lost")


def test_a_zarr_store_without_a_piece_is_refused(screen, labels, tmp_path):
    write_zarr(screen(labels), tmp_path / "mine.zarr", 2)
    # zarr reads as zeros what is not there: all entries would be of the first gene.
    (tmp_path / "mine.zarr/X/indices/0").unlink()
    assert "lacks 1 of the 1 pieces" in complaint(tmp_path / "mine.zarr")


def write_mudata(path, adata, outer=None, modality="rna"):
    """A .h5mu file of one modality, by anndata alone."""
    with h5py.File(path, "w") as file:
        anndata.io.write_elem(file, f"mod/{modality}", adata)
        if outer is not None:
            anndata.io.write_elem(file, "obs", outer)


def test_mudata(layered, tmp_path):
    write_mudata(tmp_path / "mine.h5mu", layered)
    check_same(data.read(tmp_path / "mine.h5mu"), layered)
    assert data.read(tmp_path / "mine.h5mu", layer="raw").counts.shape == (40, 12)
    write_mudata(tmp_path / "other.h5mu", layered, modality="adt")
    assert "modalities adt, expected one called 'rna'" in complaint(tmp_path / "other.h5mu")


def test_labels_may_stand_in_the_outer_table_of_mudata(screen, labels, tmp_path):
    adata = screen(labels)
    expected = adata.copy()
    # In another order and with a cell of another modality alone.
    outer = adata.obs.iloc[::-1]
    outer = pd.concat([outer, pd.DataFrame({"condition": ["ctrl"]}, index=["elsewhere"])])
    adata.obs = adata.obs[[]]
    write_mudata(tmp_path / "mine.h5mu", adata, outer)
    check_same(data.read(tmp_path / "mine.h5mu"), expected)


def test_files_and_objects_of_the_package_mudata(layered, tmp_path):
    mudata = pytest.importorskip("mudata")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = mudata.MuData({"rna": layered, "adt": layered[:, :3].copy()})
        whole.write_h5mu(tmp_path / "mine.h5mu")
        check_same(data.read(whole), layered)
    check_same(data.read(tmp_path / "mine.h5mu"), layered)


def write_tenx(path, counts, kinds, names):
    """A matrix as Cell Ranger 3 and later write it: features by cells, in columns."""
    columns = sparse.csc_matrix(counts.T)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = [f"cell{i}" for i in range(len(counts))]
        group["data"] = columns.data.astype("i4")
        group["indices"], group["indptr"] = columns.indices, columns.indptr
        group["shape"] = columns.shape
        features = group.create_group("features")
        features["id"] = [f"ENSG{i}" for i in range(counts.shape[1])]
        features["name"], features["feature_type"] = names, kinds
        features["genome"] = ["GRCh38"] * counts.shape[1]


def write_tenx_folder(folder, counts, kinds, names):
    """The same as files of text."""
    folder.mkdir()
    io.mmwrite(folder / "matrix.mtx", sparse.coo_matrix(counts.T))
    lines = []
    for i, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        lines.append(f"ENSG{i}\t{name}\t{kind}\n")
    (folder / "features.tsv").write_text("".join(lines))
    (folder / "barcodes.tsv").write_text("".join(f"cell{i}\n" for i in range(len(counts))))
    for part in list(folder.iterdir()):
        (folder / f"{part.name}.gz").write_bytes(gzip.compress(part.read_bytes()))
        part.unlink()


@pytest.mark.parametrize("write", [write_tenx, write_tenx_folder])
def test_tenx(tmp_path, write):
    counts = np.random.default_rng(0).poisson(2, (6, 5))
    kinds = ["Gene Expression"] * 3 + ["CRISPR Guide Capture", "Antibody Capture"]
    path = tmp_path / ("mine.h5" if write is write_tenx else "matrix")
    write(path, counts, kinds, ["A", "B", "A", "guide", "CD3"])
    with opened(path) as table:
        np.testing.assert_array_equal(load_counts(table).toarray(), counts[:, :3])
        assert list(table.var.index) == ["A", "B", "A-1"]
        assert list(table.obs.index) == [f"cell{i}" for i in range(6)]
        kinds_note, names_note = table.notes
    assert "1 Antibody Capture, 1 CRISPR Guide Capture, 3 Gene Expression" in kinds_note
    assert "1 gene symbols occur more than once and were numbered: A" in names_note
    message = complaint(path)
    assert "no column 'condition' nor any other (files of 10x have none)" in message


def test_tenx_that_cannot_be_used(tmp_path):
    counts = np.ones((3, 2), int)
    write_tenx(tmp_path / "adt.h5", counts, ["Antibody Capture"] * 2, ["CD3", "CD4"])
    assert "2 Antibody Capture" in complaint(tmp_path / "adt.h5")
    write_tenx(tmp_path / "short.h5", counts, ["Gene Expression"] * 2, ["A", "B"])
    with h5py.File(tmp_path / "short.h5", "r+") as file:
        del file["matrix/features/name"]
    assert "a matrix of 10x, cannot be read" in complaint(tmp_path / "short.h5")
    counts[1, 1] = 2**24 + 1
    write_tenx(tmp_path / "large.h5", counts, ["Gene Expression"] * 2, ["A", "B"])
    assert "below 16,777,216" in complaint(tmp_path / "large.h5")
    (tmp_path / "half").mkdir()
    (tmp_path / "half/matrix.mtx.gz").write_bytes(b"")
    assert "a matrix of 10x, cannot be read" in complaint(tmp_path / "half")


def test_files_of_other_kinds(screen, labels, tmp_path):
    with h5py.File(tmp_path / "x.loom", "w") as file:
        file["matrix"] = np.ones((3, 2))
        file.create_group("row_attrs"), file.create_group("col_attrs")
    assert "is a loom file" in complaint(tmp_path / "x.loom")
    screen(labels).write_h5ad(tmp_path / "good.h5ad")
    whole = (tmp_path / "good.h5ad").read_bytes()
    (tmp_path / "x.h5ad.gz").write_bytes(gzip.compress(whole))
    assert "gunzip" in complaint(tmp_path / "x.h5ad.gz")
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04" + bytes(50))
    assert "zip archive" in complaint(tmp_path / "x.zip")
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "folder.zarr/zarr.json").write_text("{")
    assert "cannot be read to its end" in complaint(tmp_path / "folder.zarr")
    assert "of type int, expected a path" in complaint(3)
    assert "zero byte" in complaint(f"{tmp_path}/a\0b.h5ad")


def test_a_file_that_another_process_writes(screen, labels, tmp_path):
    path = tmp_path / "busy.h5ad"
    screen(labels).write_h5ad(path)
    code = (
        f"import h5py, sys\nf = h5py.File({str(path)!r}, 'r+')\nprint(flush=True)\nsys.stdin.read()"
    )
    arguments = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **arguments) as other:
        other.stdout.readline()
        message = complaint(path)
        other.stdin.close()
    for part in (str(path), "is locked", "notebook or script", "HDF5_USE_FILE_LOCKING=FALSE"):
        assert part in message
    # Once it is closed there, it can be read here.
    assert data.read(path).counts.shape == (40, 12)


def test_a_file_of_a_writer_that_was_killed(tmp_path):
    with h5py.File(tmp_path / "open.h5ad", "w", libver="latest") as file:
        file["X"] = np.ones((2, 2))
        file.flush()
        (tmp_path / "left.h5ad").write_bytes((tmp_path / "open.h5ad").read_bytes())
    assert "h5clear" in complaint(tmp_path / "left.h5ad")


def test_columns_of_the_same_name(screen, labels, tmp_path):
    adata = screen(labels, batch="x")
    adata.write_h5ad(tmp_path / "twice.h5ad")
    with h5py.File(tmp_path / "twice.h5ad", "r+") as file:
        file["obs"].attrs["column-order"] = ["condition", "batch", "condition"]
    assert "1 columns of cells or genes of the same name (condition)" in complaint(
        tmp_path / "twice.h5ad"
    )
    adata.obs.columns = ["condition", "condition"]
    assert "of the same name (condition)" in complaint(adata)
    genes = screen(labels)
    genes.var = pd.DataFrame(np.zeros((12, 2)), genes.var_names, ["flag", "flag"])
    assert "of the same name (flag)" in complaint(genes)


def test_text_that_may_be_missing_is_read_and_can_be_written(screen, labels, tmp_path):
    adata = screen(labels, line=["x", "y"] * 20)
    adata.obs = adata.obs.astype("string")
    adata.obs["kind"] = pd.Categorical(adata.obs["line"])
    adata.obs_names = adata.obs_names.astype("string")
    adata.var_names = adata.var_names.astype("string")
    with anndata.settings.override(allow_write_nullable_strings=True):
        adata.write_h5ad(tmp_path / "new.h5ad", convert_strings_to_categoricals=False)
    with h5py.File(tmp_path / "new.h5ad") as file:
        assert file["obs/condition"].attrs["encoding-type"] == "nullable-string-array"
    for source in (adata, tmp_path / "new.h5ad"):
        dataset = data.read(source, stratum="line")
        assert list(dataset.obs["condition"]) == labels and dataset.strata == ("x", "y")
        assert list(dataset.cells) == list(adata.obs_names)
        again = anndata.AnnData(obs=dataset.obs)
        again.write_h5ad(tmp_path / "again.h5ad")
    adata.obs.iloc[7, 0] = None
    with anndata.settings.override(allow_write_nullable_strings=True):
        adata.write_h5ad(tmp_path / "new.h5ad", convert_strings_to_categoricals=False)
    for source in (adata, tmp_path / "new.h5ad"):
        assert "1 of 40 cells have no label" in (message := complaint(source))
        assert "'cell7'" in message


CASES = {"half": (320, 90), "pandas3": (320, 90), "x.h5mu": (40, 40), "large_counts": (320, 90)}


@pytest.mark.parametrize("name", CASES)
def test_files_that_others_made(name):
    path = SHARED / "cases/inputs" / (name if "." in name else f"{name}.h5ad")
    if not path.exists():
        pytest.skip(f"{path} is absent")
    dataset = data.read(path)
    assert dataset.counts.shape == CASES[name] and dataset.counts.dtype.kind == "u"
