"""The public screens, on small files of the same form."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.data import screens, sources


def write(path, counts, obs, genes, layers=None):
    obs = obs.set_axis([f"cell{i}" for i in range(len(obs))], axis=0)
    anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=genes), layers=layers).write_h5ad(path)
    return path


def poisson(cells, genes, rate=3.0, seed=0):
    return np.random.default_rng(seed).poisson(rate, (cells, genes)).astype(np.float32)


@pytest.fixture
def norman_obs():
    labels = np.resize(["AHR+KLF1", "KLF1+AHR", "AHR+ctrl", "AHR+KLF1", "KLF1+ctrl", "ctrl"], 60)
    has = {gene: np.array([gene in label for label in labels], int) for gene in ("AHR", "KLF1")}
    return pd.DataFrame(
        {
            "guide_identity": labels,
            "guide_ids": "AHR,KLF1",
            "guide_AHR": has["AHR"],
            "guide_KLF1": has["KLF1"],
        }
    )


def test_norman_processed(tmp_path, norman_obs):
    counts = poisson(60, 10)
    layers = {"counts": sparse.csr_matrix(counts)}
    path = write(tmp_path / "norman.h5ad", np.log1p(counts), norman_obs, list("abcdefghij"), layers)
    dataset = data.load("norman", folder=tmp_path, perturbation="condition")
    np.testing.assert_array_equal(dataset.counts.toarray(), counts)
    assert dataset.name == "norman" and path.exists()
    assert dataset.treatments == ("AHR", "KLF1")
    assert dataset.conditions == ("AHR+KLF1", "AHR+ctrl", "KLF1+ctrl", "non-targeting")
    np.testing.assert_array_equal(np.bincount(dataset.condition), [30, 10, 10, 10])
    assert any("data.perturbation do not apply" in note for note in dataset.notes)


def test_norman_raw_is_filtered(tmp_path, norman_obs):
    counts = poisson(60, 400, rate=1.0)
    counts[0, 150:] = 0
    counts[1, :5] = 200
    counts[:, 399] = 0
    counts[:10, 399] = 1
    genes = [f"MT-{j}" for j in range(5)] + [f"G{j}" for j in range(395)]
    path = write(tmp_path / "norman.h5ad", sparse.csr_matrix(counts), norman_obs, genes)
    dataset = screens.norman(path, doublets="none")
    assert (
        "cell0" not in dataset.cells and "cell1" not in dataset.cells and len(dataset.cells) == 58
    )
    assert "G394" not in dataset.genes
    np.testing.assert_array_equal(dataset.obs["unfiltered_umi_count"], counts[2:].sum(1))
    assert any("fewer than 200 genes" in note for note in dataset.notes)


def test_dixit(tmp_path):
    guides = np.resize([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]], (50, 3))
    obs = pd.DataFrame(guides, columns=["ELF1", "CREB1", "YY1"])
    obs["combined_guides"] = [
        "+".join(np.array(["ELF1", "CREB1", "YY1"])[row == 1]) or "control" for row in guides
    ]
    obs = obs.assign(INTERGENIC1=1, p_sgELF1=0, ngenes=np.arange(50), phase="G1")
    path = write(tmp_path / "dixit.h5ad", sparse.csc_matrix(poisson(50, 8)), obs, list("abcdefgh"))
    dataset = screens.dixit(path, doublets="none")
    assert dataset.conditions == ("CREB1", "ELF1", "ELF1+CREB1", "non-targeting")
    assert dataset.treatments == ("CREB1", "ELF1") and len(dataset.cells) == 40
    assert any("treatments are the columns ELF1, CREB1, YY1" in note for note in dataset.notes)
    assert any(
        "more than two guides" in note and "ELF1+CREB1+YY1" in note for note in dataset.notes
    )


@pytest.fixture
def replogle_file(tmp_path):
    """Four targets (two guides each for S1); S1 and S2 move genes 0-3; a dense X, as published."""
    genes = np.repeat(["S1", "S2", "W1", "W2", "non-targeting"], [60, 60, 60, 60, 100])
    guide = np.array([f"{g}_{i % 2 if g == 'S1' else 0}+P1P2|{g}_x" for i, g in enumerate(genes)])
    counts = poisson(340, 20, rate=10.0)
    counts[:120, :4] = poisson(120, 4, rate=30.0, seed=1)
    obs = pd.DataFrame({"gene": genes, "sgID_AB": guide}, index=[f"cell{i}" for i in range(340)])
    var = pd.DataFrame(
        {"gene_name": [f"N{j % 19}" for j in range(20)]}, index=[f"ENSG{j:03}" for j in range(20)]
    )
    anndata.AnnData(counts, obs=obs, var=var).write_h5ad(tmp_path / "replogle.h5ad")
    return tmp_path / "replogle.h5ad"


def test_replogle_chooses_targets_with_an_effect(replogle_file, monkeypatch):
    monkeypatch.setattr(screens, "REPLOGLE_TARGETS", 2)
    monkeypatch.setattr(screens, "REPLOGLE_GENES", 6)
    monkeypatch.setattr(screens, "REPLOGLE_CONTROLS", 30)
    dataset = screens.replogle(replogle_file)
    assert [c.split("+")[0] for c in dataset.conditions] == [
        "S1_0",
        "S1_1",
        "S2_0",
        "non-targeting",
    ]
    assert dataset.treatments == tuple(c for c in dataset.conditions if c != "non-targeting")
    assert len(dataset.cells) == 150 and dataset.counts.shape[1] == 6
    assert len({"N0", "N1", "N2", "N3", "N0-1"} & set(dataset.genes)) >= 4
    assert any("not given as replogle_targets.txt" in note for note in dataset.notes)


def test_replogle_takes_the_lists(replogle_file):
    (replogle_file.parent / "replogle_targets.txt").write_text("W2\nS2\nABSENT\n")
    (replogle_file.parent / "replogle_genes.txt").write_text("N7\nN0-1\n")
    dataset = screens.replogle(replogle_file)
    assert dataset.genes == ("N7", "N0-1")
    assert [c.split("_")[0] for c in dataset.conditions] == ["S2", "W2", "non-targeting"]
    assert any("ABSENT" in note for note in dataset.notes)
    assert len(dataset.cells) == 220


def test_replogle_small_file_is_taken_whole(replogle_file):
    assert screens.replogle(replogle_file).counts.shape == (340, 20)


def test_adamson(tmp_path):
    labels = np.resize(
        ["SLMO2_pDS029", "62(mod)_pBA581", "*", "XBP1_pBA579", "63(mod)_x"], 250
    ).astype(object)
    obs = pd.DataFrame({"perturbation": labels, "percent": 1.0})
    obs.loc[3, "perturbation"] = None
    obs.loc[8, "percent"] = np.nan
    counts = poisson(250, 60, rate=2.0)
    counts[:, 59] = 0
    counts[:19, 59] = 1
    counts[0, 59] = 90
    path = write(
        tmp_path / "adamson.h5ad", sparse.csr_matrix(counts), obs, [f"G{j}" for j in range(60)]
    )
    dataset = data.load("adamson", folder=tmp_path)
    assert dataset.conditions == ("SLMO2", "XBP1", "non-targeting") and len(dataset.cells) == 198
    assert "G59" not in dataset.genes and len(dataset.genes) == 59
    assert any("52 of 250 cells were left out" in note and "*" in note for note in dataset.notes)
    assert dataset.obs["unfiltered_umi_count"].iloc[0] == counts[0].sum()
    labelled = data.add_quality(dataset)
    assert any("called by scrublet before the filters" in note for note in labelled.notes)
    assert path.exists()


@pytest.mark.parametrize("name", sources.SOURCES)
def test_another_file_under_a_public_name(tmp_path, screen, labels, name):
    screen(labels).write_h5ad(tmp_path / f"{name}.h5ad")
    with pytest.raises(InputError, match="expected the file of this public screen"):
        data.load(name, folder=tmp_path)
