"""What genes are called: kinds, species, the column that fits, names with versions, spoiled
names."""

import numpy as np
import pandas as pd
import pytest

from jaxpert.core.types import InputError
from jaxpert.data import identifiers
from jaxpert.data.files import opened
from jaxpert.data.identifiers import Fit, identify

HUMAN = ["KLF1", "FAR2", "MT-ND1", "RPS3", "HBA1", "C1orf112", "HLA-A", "MTOR"]
MOUSE = ["Klf1", "Far2", "mt-Nd1", "Rps3", "Hba-a1", "H2-K1", "4930401A01Rik", "Mtor"]


@pytest.mark.parametrize(
    ("names", "kind", "species"),
    [
        (HUMAN, "symbols", "human"),
        (MOUSE, "symbols", "mouse or rat"),
        (["klf1", "mt-nd1", "hbba1", "rps3"], "symbols", "zebrafish"),
        (["ENSG00000105610", "ENSG00000064763.12"], "Ensembl ids", "human"),
        (["ENSMUSG00000064341", "ENSMUSG00000064345.3"], "Ensembl ids", "mouse"),
        (["NM_006563", "NR_046018.2"], "RefSeq accessions", "unknown"),
        (["10661", "55711"], "Entrez numbers", "unknown"),
        (["FBgn0000017", "FBgn0000018"], "FlyBase ids", "fruit fly"),
        ([], "symbols", "unknown"),
    ],
)
def test_kind_and_species(names, kind, species):
    told = identify(names)
    assert (told.kind, told.species) == (kind, species)


def ensembl(names=HUMAN, version=".5"):
    ids = [f"ENSG{i:011d}{version}" for i in range(len(names))]
    table = {"length": np.arange(len(names)) + 0.5, "biotype": "coding", "Gene_Symbol": names}
    return pd.DataFrame(table, index=ids)


def test_the_column_of_symbols_is_seen_through():
    var = ensembl()
    told = identify(list(var.index), var, ["KLF1", "FAR2", "GATA1"])
    assert (told.symbols, told.versions) == ("Gene_Symbol", 8)
    assert told.counted == {"pct_mt": 1, "pct_ribo": 1, "pct_hb": 1}
    assert told.perturbed == Fit(None, False, 0, 3)
    assert told.best == Fit("Gene_Symbol", False, 2, 3)
    assert told.best.settings() == "data.gene_names=Gene_Symbol"


def test_versions_alone_may_be_what_is_wrong():
    var = ensembl()
    told = identify(list(var.index), var, ["ENSG00000000001", "ENSG00000000002"])
    assert told.best == Fit(None, True, 2, 2)
    assert told.best.settings() == "data.strip_versions=true"
    var["stable"] = [name[:15] + ".7" for name in var.index]
    advice = identifiers.advice(HUMAN, var, ["ENSG00000000001"])
    assert "set data.gene_names= data.strip_versions=true" in advice


def test_nothing_is_advised_that_gains_nothing():
    var = ensembl()
    assert identifiers.advice(HUMAN, var, ["KLF1", "GATA1"]) == ""
    assert identifiers.advice(list(var.index), None, ["KLF1"]) == ""
    assert "upper and lower case alone (KLF1 is Klf1)" in identifiers.advice(MOUSE, None, ["KLF1"])


def test_numbers_of_genes_may_be_stored_with_a_point():
    var = pd.DataFrame({"entrez": [10661.0, np.nan]}, index=["KLF1", "x"])
    assert identify(["KLF1", "x"], var, ["10661"]).best == Fit("entrez", False, 1, 1)


def test_dates_and_numbers_in_place_of_genes():
    spoiled = ["1-Mar", "2-Sep", "Mar-01", "1. Mrz", "2001-03-01 00:00:00", "3/1/2001", "2.31E+13"]
    names = ["MARCH1", "SEPT9", "DEC1", "HLA-A", "H2-K1", "AC1.2", "1-8D", "7SK", *spoiled]
    assert identify(names).spoiled == tuple(spoiled)


def renamed(adata, names, strip=False):
    with opened(adata) as table:
        return identifiers.renamed(table, names, strip)


def test_a_column_names_the_genes(screen):
    adata = screen(["ctrl"] * 4, genes=4)
    adata.var["symbol"] = pd.Categorical(["KLF1", None, "TBCE", "TBCE"])
    table, notes = renamed(adata, "symbol")
    assert list(table.var.index) == ["KLF1", adata.var_names[1], "TBCE", "TBCE-1"]
    assert (
        f"1 genes have no name in column 'symbol' and keep their own ({adata.var_names[1]})"
        in (notes[0])
    )
    assert "1 gene names come more than once (TBCE)" in notes[1] and "TBCE-1" in notes[1]
    with pytest.raises(InputError, match=r"did you mean 'symbol'.*set data.gene_names"):
        renamed(adata, "symbols")


def test_versions_are_left_out_of_identifiers_alone(screen):
    adata = screen(["ctrl"] * 4, genes=5)
    adata.var_names = [
        "ENSG00000105610.5",
        "ENSG00000105610.7",
        "AC093323.1",
        "NM_006563.3",
        "ENSG00000182378.14_PAR_Y",
    ]
    table, notes = renamed(adata, None, True)
    ids = ["ENSG00000105610", "ENSG00000105610-1", "AC093323.1", "NM_006563"]
    assert list(table.var.index) == [*ids, "ENSG00000182378_PAR_Y"]
    assert notes[0] == "versions were left out of the names of 4 of 5 genes"
    assert "ENSG00000105610-1" in notes[1]
