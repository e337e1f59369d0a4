"""Situations that users meet, and others like them, through the commands: what is right is read
right, the rest is refused in one sentence, and nothing is misread in silence."""

import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert.app import cli
from support import finished_run
from support.paths import SHARED

INPUTS = SHARED / "cases/inputs"


@pytest.fixture
def write(screen, tmp_path):
    """Factory: distinct labels (or columns of the cells) -> the path of a file of 12 cells each."""

    def make(labels=(), genes=40, var=None, change=None, **columns):
        some = next(iter(columns.values()), ())
        adata = screen(np.repeat(list(labels), 12) if labels else ["x"] * len(some), genes=genes)
        for name, values in columns.items():
            adata.obs[name] = values
        if var is not None:
            adata.var_names = [*var, *adata.var_names[len(var) :]]
        if change is not None:
            change(adata)
        adata.write_h5ad(tmp_path / "screen.h5ad")
        return tmp_path / "screen.h5ad"

    return make


@pytest.fixture
def check(capsys):
    """Factory: what `jaxpert check` says of a file, page and error, and its status."""

    def run(path, *flags):
        status = cli.main(["check", str(path), *flags])
        told = capsys.readouterr()
        assert "Traceback" not in told.err and status in (0, 2)
        assert told.err.count("\n") <= 1 or status == 0
        return status, told.out + told.err

    return run


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
PREFIX = "--guide_prefix=guide_"
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
    assert status == 2 and "name the control guides in data.control" in said
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


@pytest.mark.parametrize(
    ("separator", "control", "labels"),
    [
        ("-", "non-targeting", ["KLF1-non-targeting", "KLF1-FAR2", "FAR2"]),
        ("_", "non_targeting", ["non_targeting_KLF1", "KLF1_FAR2", "FAR2"]),
        ("|", "NT|safe", ["KLF1|NT|safe", "KLF1|FAR2", "FAR2"]),
        ("_", "NT_NT", ["KLF1_NT", "FAR2_NT", "FAR2_KLF1"]),
        ("+", "negctrl0+negctrl3", ["KLF1+negctrl3", "FAR2+KLF1", "FAR2"]),
        ("-", "safe-harbor", ["KLF1-Safe-Harbor", "KLF1-FAR2", "FAR2"]),
        (";", "NT-*", ["KLF1;NT-2", "KLF1;FAR2", "FAR2;NT-1", "NT-1", "NT-2"]),
        ("--", "--ctrl", ["KLF1", "KLF1--FAR2", "FAR2"]),
    ],
)
def test_controls_that_hold_the_separator(separator, control, labels, write, check):
    first = [control] if "*" not in control else []
    path = write([*first, *labels])
    status, said = check(path, f"--control={control}", f"--separator={separator}")
    assert status == 0 and "treatments: 2: FAR2, KLF1" in said


LABELS = {
    "drugs": (
        ["DMSO", "(+)-JQ1", "(+|-)-Atenolol", "5-FU", "(+)-JQ1+5-FU"],
        ["--control=DMSO"],
        ["treatments: 3: (+)-JQ1, (+|-)-Atenolol, 5-FU"],
    ),
    "drugs, minus": (
        ["DMSO", "(R)-(-)-X", "5-FU", "alpha-D-Y", "JQ1"],
        ["--control=DMSO", "--separator=-"],
        ["treatments: 4: (R)-(-)-X, 5-FU, JQ1, alpha-D-Y", "one treatment each"],
    ),
    "doses": (
        ["DMSO@0", "JQ1@0.5", "JQ1@1", "BRD4@1"],
        ["--control=DMSO@0"],
        ["treatments: 3: BRD4@1, JQ1@0.5, JQ1@1", "doses or times of one treatment"],
    ),
    "doses, one of them none": (
        ["DMSO", "JQ1@0", "JQ1@1"],
        ["--control=DMSO"],
        ["called like controls: 'JQ1@0'", "set data.control=DMSO,JQ1@0"],
    ),
    "doses with units": (
        ["DMSO", "JQ1_1uM", "JQ1_10uM", "BRD4_1uM"],
        ["--control=DMSO", "--separator=_"],
        ["treatments: 3: BRD4_1uM, JQ1_10uM, JQ1_1uM", "doses or times of one treatment"],
    ),
    "several controls": (
        ["NT-1", "NT-2", "safe-harbor", "KLF1"],
        ["--control=NT-*, safe-harbor"],
        ["control cells are those of", "treatments: 1: KLF1"],
    ),
    "case and blanks": (
        ["ctrl", "CTRL ", "KLF1 + FAR2", "FAR2+KLF1", " KLF1", "FAR2+Ctrl"],
        [],
        ["treatments: 2: FAR2, KLF1", "merged", "'ctrl', 24 cells"],
    ),
    "guides": (
        ["NT_g1", "NT_g2", "KLF1_g1", "KLF1_g2", "FAR2_g1"],
        ["--control=NT", r"--guide_pattern=(.+)_g\d+"],
        ["treatments: 2: FAR2, KLF1", "24 cells"],
    ),
    "guides without a pattern": (
        ["NT_g1", "NT_g2", "KLF1_g1", "KLF1_g2"],
        ["--control=NT_g1"],
        ["look like guides of one gene", "called like controls: 'NT_g2'"],
    ),
    "names that begin with -": (
        ["-ctrl", "-A", "B"],
        ["--control=-ctrl"],
        ["treatments: 2: -A, B"],
    ),
    "names with commas": (
        ["a, b", "2,3-DCPE", "N,N-X"],
        ["--control=a, b"],
        ["treatments: 2: 2,3-DCPE, N,N-X"],
    ),
    "names in other letters": (
        ["ctrl", "$x_1$", "<b>", "A/B", "شی", "\u202eABC"],
        [],
        ["perturbations: 5"],
    ),
    "missing, left out": (
        ["ctrl", "NA", "unassigned", "KLF1+NA", "KLF1"],
        ["--missing=drop"],
        ["36 of 60 cells were left out", "treatments: 1: KLF1"],
    ),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels(name, write, check):
    labels, flags, parts = LABELS[name]
    status, said = check(write(labels), *flags)
    assert status == 0, said
    for part in parts:
        assert part in said, (part, said)


@pytest.mark.parametrize(
    "name", ["NO-TARGET", "NegCtrl3", "sgAAVS1", "luciferase", "GFP", "safe harbour", "no_target"]
)
def test_controls_among_treatments_are_said_loudly(name, write, check):
    _, said = check(write(["ctrl", name, "KLF1"]))
    assert f"called like controls: {name!r}" in said and f"data.control=ctrl,{name}" in said


@pytest.mark.parametrize(
    ("values", "control"),
    [
        ([0.0, 1.0, 2.0], "0"),
        ([0, 1, 2], "0.0"),
        (["0", "1", "2"], "0"),
        ([False, True, True], "False"),
    ],
)
def test_numbers_as_conditions(values, control, write, check):
    status, said = check(write(condition=np.repeat(values, 12)), f"--control={control}")
    assert status == 0 and "12 cells" in said
    assert check(write(condition=np.repeat([0.0, 0.5], 12)), "--control=0")[0] == 2


REFUSED = {
    "only control cells": (["ctrl"], [], "all 12 cells"),
    "no control cells": (["KLF1", "NTC"], [], "'NTC' (12 cells) are called like controls"),
    "drug of an open kind": (["DMSO", "JQ1", "x+y"], ["--control=DMSO"], "data.treatments=x+y"),
    "missing": (["ctrl", "None", "KLF1"], [], "data.missing=drop"),
    "missing pair": (["ctrl", "NA_NA", "KLF1"], [], "data.missing=drop"),
    "column": (["ctrl", "KLF1"], ["--perturbation=conditon"], "did you mean 'condition'?"),
    "gene names": (["ctrl", "KLF1"], ["--gene_names=symbol"], "'symbol'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_is_trained(name, write, check):
    labels, flags, part = REFUSED[name]
    status, said = check(write(labels), *flags)
    assert status == 2 and part in said


@pytest.mark.parametrize(
    ("genes", "found"),
    [
        (["MT-ND1", "RPS3", "HBA1"], "1 mitochondrial (MT-ND1), 1 ribosomal (RPS3), 1 haemoglobin"),
        (["mt-Nd1", "Rps3", "Hba-a1"], "1 mitochondrial (mt-Nd1), 1 ribosomal (Rps3)"),
        (["mt-nd1", "rps3", "hbaa1"], "1 mitochondrial (mt-nd1), 1 ribosomal (rps3)"),
    ],
)
def test_quality_genes_of_any_species(genes, found, write, check):
    assert found in check(write(["ctrl", "KLF1"], var=genes))[1]


def test_no_quality_genes_are_said_loudly(write, check):
    said = check(write(["ctrl", "KLF1"]))[1]
    assert "ATTENTION: none of the 40 genes is recognised as mitochondrial" in said


def test_identifiers_and_the_column_of_symbols(write, check):
    def symbols(adata):
        adata.var["symbol"] = ["KLF1", "FAR2", *(f"S{i}" for i in range(38))]

    ids = [f"ENSG{i:011d}.{i % 3}" for i in range(40)]
    path = write(["ctrl", "KLF1", "FAR2"], var=ids, change=symbols)
    _, said = check(path)
    assert "data.gene_names=symbol" in said
    status, said = check(path, "--gene_names=symbol")
    assert status == 0 and "data.gene_names=symbol" not in said
    assert "did you mean 'symbol'" in check(path, "--gene_names=symbl")[1]


def test_perturbations_that_batches_confound_are_named(write, check):
    batch = ["b1"] * 36 + ["b2"] * 12
    path = write(["ctrl", "A", "B", "C"], batch=batch)
    status, said = check(path, "--stratum=batch")
    assert status == 2 and "(C) have no control cell in any stratum of theirs" in said
    assert "strata without control: b2" in said and "evaluation.controls=pooled" in said


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
        ("na_text.h5ad", [], 2, "data.missing=drop"),
        ("drugs_plus.h5ad", ["--control=DMSO"], 0, "(+)-JQ1"),
        ("one_control_cell.h5ad", [], 0, "every effect is compared with 1 control"),
        ("mouse_dying.h5ad", [], 0, "mt-"),
        ("human_dying.h5ad", [], 0, "MT-"),
        ("ensembl.h5ad", [], 0, "data.gene_names="),
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


RUN = ["KLF1_FAR2", "KLF1", "FAR2", "SET", "=1+1", "-A"]
"""Labels of a run's file."""


@pytest.fixture
def config(write):
    """A run of a file with the separator `_`, and names that begin with - and =."""
    raw = finished_run.config()
    raw["data"] |= {
        "source": str(write(["--ctrl", *RUN])),
        "perturbation": "condition",
        "control": "--ctrl",
        "separator": "_",
    }
    raw["split"]["kind"] = "cells"
    raw["model"]["kwargs"]["cf_weight"] = 0.0
    return raw


def test_predictions_of_any_order_and_sign(config, tmp_path, capsys, monkeypatch):
    finished_run.leave(config, tmp_path / "home/runs/mine")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    output = f"--output={tmp_path / 'a.h5ad'}"
    means = []
    for pair in ("KLF1_FAR2", "FAR2_--ctrl_KLF1"):
        names = [pair, "-A", "=1+1"]
        assert cli.main(["predict", "~/runs/mine", output, "--particles=4", "--", *names]) == 0
        table = pd.read_csv(tmp_path / "a.csv")
        means.append(table["mean"].to_numpy())
        np.testing.assert_array_equal(means[0], means[-1])
    # A spreadsheet would run them.
    assert {"'-A", "'=1+1"} < set(table["perturbation"])
    capsys.readouterr()
    assert cli.main(["predict", "~/runs/mine", output, "-A"]) == 2
    assert "such names behind --" in capsys.readouterr().err
    assert cli.main(["predict", "~/runs/mine", output, "KLF1_far2"]) == 2
    assert "did you mean 'FAR2'?" in capsys.readouterr().err
