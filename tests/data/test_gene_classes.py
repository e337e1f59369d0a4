"""Which genes the quality criteria sum over: in any case, beside identifiers, by flags."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.data.gene_classes import by_names

MT = ["MT-ND1", "mt-Nd1", "Mt-co1", "MT.ND1", "mt:CoI", "GRCh38_MT-ND1", "mm10___mt-Nd1"]
NOT_MT = ["MTOR", "Mtor", "MT1X", "Mt2", "MTRNR2L1", "Mt1", "MTND1P23", "AMT-1", "GMT"]
RIBO = ["RPS3", "Rps3", "RPL4", "rpl4", "Rps4x", "hg19_RPL3"]
HB = ["HBA1", "Hba-a1", "Hbb-bs", "Hbb", "hbaa1", "HBEGF"]
OTHER = ["HBP1", "Hbp1", "HB(", "MRPL3", "Mrps3", "GRPEL1", "TRPS1", "SHB"]


def test_classes_go_by_names_in_any_case():
    names = MT + NOT_MT + RIBO + HB + OTHER
    classes = by_names(names)
    chosen = {key: list(np.array(names)[flags]) for key, flags in classes.items()}
    assert chosen == {"pct_mt": MT, "pct_ribo": RIBO, "pct_hb": HB}


def test_bare_mitochondrial_names_count_only_together():
    bare = ["ND1", "ND2", "ND3", "ND4", "ND5", "ND6", "COX1", "ATP6", "KLF1"]
    assert by_names(bare)["pct_mt"].tolist() == [True] * 8 + [False]
    assert not by_names(["COX1", "COX2", "KLF1"])["pct_mt"].any()
    assert by_names(["MT-ND1", *bare])["pct_mt"].sum() == 1


HUMAN = ["MT-CO1", "MT-ND1", "RPS3", "RPL4", "HBA1"]
MOUSE = ["mt-Co1", "mt-Nd1", "Rps3", "Rpl4", "Hba-a1"]


@pytest.fixture
def dying(screen):
    """Factory: names of the first genes -> 120 cells, of which the first ten are dying."""

    def make(names):
        adata = screen(["ctrl"] * 60 + ["G20+ctrl"] * 60, genes=40)
        adata.var_names = [*names, *adata.var_names[len(names) :]]
        x = np.random.default_rng(1).poisson(20, adata.shape)
        x[:10, :2] = 90
        adata.X = sparse.csr_matrix(x)
        return adata

    return make


def failing(adata, **options):
    return data.add_quality(data.read(adata, **options), doublets="none")


def test_dying_cells_of_mice_and_of_files_with_identifiers_fail_as_human_ones(dying):
    human = failing(dying(HUMAN))
    assert np.flatnonzero(human.quality.failed)[:10].tolist() == list(range(10))
    beside = dying(HUMAN)
    beside.var["Symbol"] = list(beside.var_names)
    beside.var_names = [f"ENSMUSG{i:011d}.2" for i in range(40)]
    chosen = beside.copy()
    for dataset in (
        failing(dying(MOUSE)),
        failing(beside),
        failing(chosen, gene_names="Symbol"),
    ):
        for name, values in human.quality.metrics.items():
            np.testing.assert_array_equal(dataset.quality.metrics[name], values)
        np.testing.assert_array_equal(dataset.quality.failed, human.quality.failed)
        assert not any("is recognised" in note for note in dataset.notes)


def test_a_class_without_a_gene_is_said_loudly_and_flags_mend_it(dying):
    adata = dying(["x1", "x2", "RPS3", "RPL4", "HBA1"])
    note = [note for note in failing(adata).notes if note.startswith("ATTENTION")]
    assert len(note) == 1 and "none of the 40 genes is recognised as mitochondrial" in note[0]
    assert "quality.gene_columns.pct_mt" in note[0] and "ribosomal" not in note[0]
    adata.var["mt"] = [1, 1] + [0] * 38
    flagged = failing(adata, gene_columns={"pct_mt": "mt"})
    assert flagged.quality.failed[:10].all()
    assert not any(note.startswith("ATTENTION") for note in flagged.notes)
    np.testing.assert_array_equal(
        flagged.quality.metrics["pct_mt"], failing(dying(HUMAN)).quality.metrics["pct_mt"]
    )


def test_flags_follow_the_genes(dying):
    adata = dying(["x1", "x2"])
    adata.var["mt"] = [True, True] + [False] * 38
    dataset = data.read(adata, gene_columns={"pct_mt": "mt"})
    kept = data.keep_variable(dataset, 20)
    expected = [name in ("x1", "x2") for name in kept.genes]
    assert data.gene_classes(kept)["pct_mt"].tolist() == expected
    # What was measured before the choice of genes is used after it.
    labelled = data.add_quality(kept, doublets="none")
    assert labelled.quality.failed[:10].all()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"pct_mt": "mito"}, "did you mean 'mitox'.*quality.gene_columns.pct_mt"),
        ({"pct_mt": "length"}, "more than True and False"),
        ({"pct_mito": "mitox"}, "criteria pct_mito"),
    ],
)
def test_wrong_flags(dying, columns, message):
    adata = dying(HUMAN)
    adata.var = pd.DataFrame({"length": np.arange(40), "mitox": False}, index=adata.var_names)
    with pytest.raises(InputError, match=message):
        data.read(adata, gene_columns=columns)


def test_another_file_is_measured_on_the_genes_of_training(dying):
    adata = dying(["x1", "x2"])
    adata.var["mt"] = [True, True] + [False] * 38
    dataset = data.read(adata, gene_columns={"pct_mt": "mt"})
    training = data.add_split(data.add_quality(dataset, doublets="none"), kind="cells")
    other = data.read(adata[:, ::-1].copy(), gene_columns={"pct_mt": "mt"})
    from jaxpert.data.transfer import like_training

    same = like_training(replace(other, var=None), training, doublets="none")
    np.testing.assert_array_equal(
        same.quality.metrics["pct_mt"], training.quality.metrics["pct_mt"]
    )
