"""Situations that users meet, and others like them, through the commands: what is right is read
right, the rest is refused in one sentence, and nothing is misread in silence."""

import numpy as np
import pandas as pd
import pytest

from jaxpert import data
from jaxpert.app import cli
from jaxpert.tasks.screen import load
from jaxpert.tasks.screen.keys import SplitKeys
from support import finished_run


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
        ["called like controls: 'JQ1@0'", "set --control=DMSO,JQ1@0"],
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
    assert f"called like controls: {name!r}" in said and f"--control=ctrl,{name}" in said


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
    "drug of an open kind": (["DMSO", "JQ1", "x+y"], ["--control=DMSO"], "--treatments=x+y"),
    "missing": (["ctrl", "None", "KLF1"], [], "--missing=drop"),
    "missing pair": (["ctrl", "NA_NA", "KLF1"], [], "--missing=drop"),
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
    assert "--gene_names=symbol" in said
    status, said = check(path, "--gene_names=symbol")
    assert status == 0 and "--gene_names=symbol" not in said
    assert "did you mean 'symbol'" in check(path, "--gene_names=symbl")[1]


def test_perturbations_that_batches_confound_are_named(write, check):
    batch = ["b1"] * 36 + ["b2"] * 12
    path = write(["ctrl", "A", "B", "C"], batch=batch)
    status, said = check(path, "--stratum=batch")
    assert status == 2 and "(C) have no control cell in any stratum of theirs" in said
    assert "strata without control: b2" in said and "evaluation.controls=pooled" in said


@pytest.mark.parametrize(
    ("batch", "named"),
    [
        # Without controls of their own, and with some of the controls alone.
        (["b1"] * 36 + ["b2"] * 12, "1 perturbations (C)"),
        (["b1", "b2"] * 6 + ["b1"] * 12 + ["b2"] * 24, "3 perturbations (A, B, C)"),
        (["b1", "b2"] * 24, None),
    ],
)
def test_batches_that_nobody_named(batch, named, write, check):
    path = write(["ctrl", "A", "B", "C"], cell_line=batch, guide_id=np.arange(48) // 12)
    status, said = check(path)
    assert status == 0 and ("set --stratum=cell_line if they are batches" in said) == bool(named)
    assert not named or f"ATTENTION: {named} have all of their cells in parts of column" in said
    assert "--stratum=guide_id" not in said
    assert "ATTENTION: 3 perturbations" not in check(path, "--stratum=cell_line")[1]


def test_keys_of_another_kind_of_split_are_said(screen, labels):
    dataset = data.read(screen(labels))
    for name, value in (("file", "lists.json"), ("column", "part"), ("test_genes", ("A",))):
        divided = load.split(SplitKeys(**{name: value}), dataset)
        said = f"ATTENTION: split.{name} is set but split.kind=auto does not use it"
        assert [note for note in divided.notes if note.startswith(said)]
    assert not [note for note in load.split(SplitKeys(), dataset).notes if "ATTENTION" in note]


@pytest.mark.parametrize("command", ["score", "compare"])
def test_results_in_the_place_of_a_file(command, write, check, tmp_path, capsys):
    path, taken = write(["ctrl", "A", "B"]), tmp_path / "taken"
    taken.touch()
    names = [f"--pred={path}"] if command == "score" else [str(path), str(path)]
    assert cli.main([command, *names, f"--real={path}", f"--output={taken}"]) == 2
    assert f"--output={taken} is a file, expected a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "run", "A"],
        ["predict", "run", "A", "--format=cell-eval"],
        ["predict", "screen.h5ad", "A", "--model=additive"],
        ["simulate", "tiny"],
        ["evaluate", "run"],
        ["figures", "run"],
    ],
    ids=" ".join,
)
def test_outputs_are_looked_at_before_anything_is_read(command, tmp_path, monkeypatch, capsys):
    """There is no run but for what tells its family, and no file."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text('{"model": {"name": "cradle_vae"}}')
    (tmp_path / "taken").touch()
    monkeypatch.chdir(tmp_path)
    output = f"{tmp_path}/taken/x.h5ad"
    assert cli.main([*command, f"--output={output}"]) == 2
    assert capsys.readouterr().err == (
        f"error: --output={output} lies in {tmp_path}/taken, which is a file, expected a folder: "
        "choose another\n"
    )


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
