"""Files as people have them, through `jaxpert check`: guide columns of any form, counts of any
type, files of other kinds, and the inputs of public reports."""

import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from support.paths import SHARED

INPUTS = SHARED / "cases/inputs"
PREFIX = "--guide_prefix=guide_"


def given(name):
    path = INPUTS / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return path


CELLS = 60
UMIS = {
    "guide_KLF1": np.where(np.arange(CELLS) % 3 == 0, 7, 0),
    "guide_FAR2": np.where(np.arange(CELLS) % 3 == 1, 3, 0),
    "guide_NTC": np.where(np.arange(CELLS) % 3 == 2, 5, 0),
}
CALLS = {name: (counts > 0).astype(int) for name, counts in UMIS.items()}
FORMS = {
    "counts": lambda column: column,
    "floats": lambda column: column.astype(float),
    "text": lambda column: column.astype(str),
    "calls": lambda column: (column > 0).astype(int),
    "words": lambda column: np.where(column > 0, "Yes", "no"),
    "truth": lambda column: column > 0,
    "categories": lambda column: pd.Categorical(column),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("control", ["NTC", "ntc", "guide_NTC", "NT*"])
def test_guide_columns_of_any_form_with_a_control_guide(form, control, write, check):
    path = write(**{name: FORMS[form](column) for name, column in UMIS.items()})
    status, said = check(path, PREFIX, f"--control={control}")
    assert status == 0 and "20 cells" in said
    assert "treatments: 2: FAR2, KLF1" in said


def test_cells_without_a_guide_are_no_silent_controls(write, check):
    few = {name: np.where(np.arange(CELLS) < 12, 0, column) for name, column in UMIS.items()}
    status, said = check(write(**few), PREFIX, "--control=NTC")
    assert status == 0 and "12 of 60 cells were left out, since no guide was called" in said
    # A control guide that nobody named.
    status, said = check(write(**UMIS), PREFIX)
    assert status == 2 and "name the control guides in --control" in said
    assert "called like controls" in check(write(**few), PREFIX)[1]
    # Sums are no guides, whatever they are called; MAX is a gene.
    total = sum(UMIS.values())
    sums = {"guide_n": (total > 0).astype(int), "guide_max": total, "guide_total_umi": total}
    assert "treatments: 2: FAR2, KLF1" in check(write(**UMIS, **sums), PREFIX, "--control=NTC")[1]
    gene = {"guide_MAX": UMIS["guide_KLF1"][::-1]}
    assert "MAX" in check(write(**few, **gene), PREFIX, "--control=NTC")[1]
    # Gaps, -1 and fractions in the place of counts.
    for nothing in (np.nan, -1):
        gaps = np.where(few["guide_KLF1"] == 0, nothing, few["guide_KLF1"])
        status, said = check(write(**few | {"guide_KLF1": gaps}), PREFIX)
        assert status == 2 and "0 in the place of gaps" in said
    logged = few | {"guide_KLF1": np.log1p(few["guide_KLF1"])}
    status, said = check(write(**logged), PREFIX)
    assert status == 2 and "holds no whole counts" in said


STORED = {
    "float16": lambda x: x.toarray().astype(np.float16),
    "big-endian": lambda x: x.toarray().astype(">f4"),
    "big-endian integers": lambda x: x.toarray().astype(">i2"),
    "columns": lambda x: x.tocsc(),
    "bytes": lambda x: x.toarray().astype(np.uint8),
    "long": lambda x: x.astype(np.int64),
    "double": lambda x: x.toarray().astype(float),
}


@pytest.mark.parametrize("name", STORED)
def test_counts_of_any_type_are_the_same(name, write, check):
    plain = check(write(["ctrl", "A"]))[1]

    def change(adata):
        adata.X = STORED[name](adata.X)

    assert check(write(["ctrl", "A"], change=change))[1] == plain


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda x: x.log1p(), "log"),
        (lambda x: x / 2, "0.5"),
        (lambda x: sparse.csr_matrix(x.toarray() - 1), "negative"),
    ],
)
def test_counts_that_are_none(change, part, write, check):
    def changed(adata):
        adata.X = change(adata.X)

    status, said = check(write(["ctrl", "A"], change=changed))
    assert status == 2 and part in said


def test_files_of_other_kinds(write, check, tmp_path):
    path = write(["ctrl", "A"])
    plain = check(path)[1]
    for name in ("screen.h5", "screen.hdf5"):
        shutil.copy(path, tmp_path / name)
        assert check(tmp_path / name)[1] == plain.replace("screen.h5ad", name)
    (tmp_path / "table.csv").write_text("cell,G0\nc0,1\n")
    shutil.copy(tmp_path / "table.csv", tmp_path / "table.h5ad")
    (tmp_path / "empty.h5ad").touch()
    (tmp_path / "folder").mkdir()
    for name, part in (
        ("table.csv", "expected"),
        ("table.h5ad", "is not an HDF5 file"),
        ("empty.h5ad", "is empty"),
        ("folder", "expected"),
        ("screem.h5ad", "there is no file"),
    ):
        status, said = check(tmp_path / name)
        assert status == 2 and part in said and name in said


@pytest.mark.parametrize(
    ("name", "flags", "status", "part"),
    [
        ("guide_umis.h5ad", [PREFIX], 0, ""),
        ("guide_calls.h5ad", [PREFIX, "--control=NTC"], 0, ""),
        ("several_controls.h5ad", ["--control=NT-1"], 0, "called like controls"),
        ("several_controls.h5ad", ["--control=NT-*,safe-harbor"], 0, "control cells are those of"),
        ("na_text.h5ad", [], 2, "--missing=drop"),
        ("drugs_plus.h5ad", ["--control=DMSO"], 0, "(+)-JQ1"),
        ("one_control_cell.h5ad", [], 0, "every effect is compared with 1 control"),
        ("mouse_dying.h5ad", [], 0, "mt-"),
        ("human_dying.h5ad", [], 0, "MT-"),
        ("ensembl.h5ad", [], 0, "--gene_names="),
        ("dupcol.h5ad", [], 2, "dupcol.h5ad"),
        ("half.h5ad", [], 0, ""),
        ("pandas3.h5ad", [], 0, ""),
        ("tenx.h5", [], 2, "a matrix of 10x"),
        ("x.loom", [], 2, "loom"),
        ("hard_names.h5ad", ["--control=DMSO"], 0, "2,3-DCPE"),
        ("lines_confounded.h5ad", ["--stratum=line"], 0, "control"),
    ],
)
def test_files_that_came_with_the_reports(name, flags, status, part, check):
    found, said = check(given(name), *flags)
    assert found == status and part in said, said
