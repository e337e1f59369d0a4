"""Variants of the situations that users meet, through `jaxpert check`: what was once misread,
accepted in silence or refused without the reason."""

import numpy as np
import pytest

from support.paths import ROOT, SHARED

INPUTS = SHARED / "cases/inputs"
PREFIX = "--guide_prefix=guide_"


@pytest.mark.parametrize("unseen", ["\u200b", "\ufeff", "\u2060", "\u00ad"])
def test_characters_without_a_width_change_no_name(unseen, write, check):
    labels = ["ctrl", f"ctrl{unseen}", "KLF1", f"{unseen}KLF1", f"KLF1{unseen}+FAR2", "FAR2"]
    status, said = check(write(labels))
    assert status == 0 and "treatments: 2: FAR2, KLF1" in said and "'ctrl', 24 cells" in said
    # What a reader of the file could not see is said with the others.
    assert "merged" in said and repr(f"{unseen}KLF1") in said


@pytest.mark.parametrize("error", ["#NAME?", "#REF!", "#DIV/0!", "#VALUE!", "#NULL!", "#N/A"])
def test_errors_of_spreadsheets_are_missing_labels(error, write, check):
    path = write(["ctrl", error, "KLF1"])
    status, said = check(path)
    assert status == 2 and repr(error) in said and "--missing=drop" in said
    status, said = check(path, "--missing=drop")
    assert status == 0 and "treatments: 1: KLF1" in said


@pytest.mark.parametrize("separator", ["-", "."])
def test_what_occurs_in_several_labels_is_a_treatment_though_never_alone(separator, write, check):
    crossed = ["PBS", "AA-BB", "BB-CC", "CC-AA"]
    path = write([label.replace("-", separator) for label in crossed])
    status, said = check(path, "--control=PBS", f"--separator={separator}")
    assert status == 0 and "treatments: 3: AA, BB, CC" in said and "nowhere" not in said


@pytest.mark.parametrize("change", [np.log1p, lambda x: x - 1.0, lambda x: np.where(x, x, np.nan)])
def test_guide_columns_of_no_counts_alone_are_named(change, write, check):
    guide = np.arange(60) % 3
    columns = {f"guide_{name}": change(np.where(guide == i, 5, 0)) for i, name in enumerate("ABC")}
    status, said = check(write(**columns), PREFIX, "--control=C")
    assert status == 2 and "guide_A, guide_B, guide_C start with 'guide_' but hold" in said


@pytest.mark.parametrize(
    ("column", "named"),
    [
        *((name, True) for name in ("Batch.ID", "plate_no", "donor_name", "orig.ident", "batch2")),
        *((name, True) for name in ("CellLine", "cell_line_name", "Bio_Rep", "gem_group")),
        *((name, False) for name in ("guide_id", "barcode", "n_counts", "phase", "gene_name")),
    ],
)
def test_batches_by_any_name(column, named, write, check):
    path = write(["ctrl", "KLF1", "FAR2"], **{column: ["a"] * 24 + ["b"] * 12})
    status, said = check(path)
    assert status == 0 and (f"set --stratum={column} if they are batches" in said) == named


def test_variable_genes_are_chosen_before_the_file_is_described(write, check):
    def symbols(adata):
        adata.var["symbol"] = ["KLF1", "FAR2", *(f"S{i}" for i in range(38))]

    path = write(["ctrl", "KLF1", "FAR2"], var=[f"ENSG{i:011d}" for i in range(40)], change=symbols)
    status, said = check(path, "--variable_genes=20")
    assert status == 0 and "genes: 20 (" in said and "0 of 2 perturbed genes are kept" in said
    assert "--gene_names=symbol" in said
    status, said = check(path, "--variable_genes=20", "--gene_names=symbol")
    assert status == 0 and "2 of the 2 treatments are measured genes" in said


def test_every_perturbation_that_is_no_gene_is_named(write, check):
    absent = [f"ABSENT{i}" for i in range(12)]
    _, said = check(write(["ctrl", "KLF1", *absent], var=["KLF1"]))
    assert f"treatments: 13: {', '.join(sorted([*absent, 'KLF1']))}\n" in said
    assert f"1 of the 13 treatments are measured genes, not {', '.join(sorted(absent))}\n" in said
    # As many as a note names.
    _, said = check(write(["ctrl", *absent[:8]]))
    assert f"(perturbations {', '.join(absent[:8])}; genes" in said


LINES = ["data.perturbation=condition", "data.control=ctrl,NT", "split.kind=replicate"]
SIZES = [
    "data.cells_per_draw=5",
    "data.replicates=4",
    "data.variable_genes=0",
    "train.batch_size=4",
]


@pytest.mark.parametrize(
    ("keys", "status", "part"),
    [
        (["data.line=", "data.lines="], 0, "perturbations: 2: FAR2+NT, KLF1+NT\n"),
        (["data.line=", "data.lines="], 0, "control cells are those of 'NT' (20 cells), 'ctrl'"),
        (["data.lines="], 2, "have no column 'line', expected one of condition: set data.line"),
        (["data.line="], 2, "data.lines names 'line1'"),
        (["data.line=", "data.lines=", "data.control=ctrl"], 2, "have no control cell (RPE1)"),
    ],
)
def test_lines_in_files_of_their_own_each_with_its_control(keys, status, part, check):
    files = [INPUTS / "K562.h5ad", INPUTS / "RPE1.h5ad"]
    if not all(file.exists() for file in files):
        pytest.skip(f"{INPUTS} is absent")
    source = f"data.source={files[0]},{files[1]}"
    flags = [f"--config.{key}" for key in (source, *LINES, *SIZES, *keys)]
    found, said = check(f"--config={ROOT}/configs/cycseq_pretrain.py:test", *flags)
    assert found == status and part in said, said
