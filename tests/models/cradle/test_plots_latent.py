"""Figures of the latent space: a picture in the file, rows and columns together in one order,
nothing undefined."""

import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.models.cradle import plots_latent
from jaxpert.report.plots import style
from support.pictures import colour_share, ink

T, F, G = 12, 7, 40
NAMES = [f"PERT{t}" for t in range(T - 1)] + ["$weird_{name"]
FACTORS = [f"z{z}" for z in range(F)]


@pytest.fixture
def embedding() -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(T, F))
    values[0], values[1] = 5, -5
    values[:2, F // 2 :] = 0
    return values


def test_heat_map(embedding, tmp_path):
    path = plots_latent.effect_heatmap(embedding, NAMES, FACTORS, tmp_path / "new/heat.png")
    assert ink(path) > 0.1 and colour_share(path, style.VERMILLION) > 1e-3 < colour_share(
        path, style.BLUE
    )
    with_masks = plots_latent.effect_heatmap(
        embedding, NAMES, FACTORS, tmp_path / "both.png", np.full((T, F), 1.0)
    )
    assert colour_share(with_masks, style.DENSITY[-1]) > 0.05
    again = plots_latent.effect_heatmap(embedding, NAMES, FACTORS, tmp_path / "again.png")
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 1), (150, 3)])
def test_heat_maps_of_all_sizes(shape, tmp_path):
    rows, columns = [str(i) for i in range(shape[0])], [str(i) for i in range(shape[1])]
    values = np.random.default_rng(0).normal(size=shape)
    values[0] = 0
    assert (
        ink(
            plots_latent.effect_heatmap(
                values, rows, columns, tmp_path / "heat.png", np.abs(values)
            )
        )
        > 0.001
    )


def test_alike_rows_stand_together():
    groups = np.repeat(np.eye(3), 4, axis=0) + 0.01 * np.random.default_rng(0).normal(size=(12, 3))
    order = np.random.default_rng(1).permutation(12)
    leaves = plots_latent.leaves(plots_latent.tree_of(groups[order]), 12)
    kinds = (order // 4)[leaves]
    assert np.count_nonzero(np.diff(kinds)) == 2


def test_similarity_map(embedding, tmp_path):
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    path = plots_latent.similarity_map(unit @ unit.T, NAMES, tmp_path / "one.png")
    assert colour_share(path, style.VERMILLION) > 0.01
    both = plots_latent.similarity_map(unit @ unit.T, NAMES, tmp_path / "both.png", np.eye(T))
    assert ink(both) > 0.05


def test_factor_genes(embedding, tmp_path):
    change = np.random.default_rng(0).normal(size=(F, G))
    genes = [f"GENE{g}" for g in range(G)]
    path = plots_latent.factor_genes(change, FACTORS, genes, tmp_path / "genes.png", k=5)
    assert colour_share(path, style.VERMILLION) > 0.01 < colour_share(path, style.BLUE)
    rising = plots_latent.factor_genes(np.abs(change), FACTORS, genes, tmp_path / "rising.png")
    assert colour_share(rising, style.BLUE) == 0 < colour_share(rising, style.VERMILLION)


def test_most_moved_genes():
    row = np.array([0.0, 3, -1, 2, -4, 0, 1])
    assert plots_latent.most_moved(row, 2).tolist() == [4, 2, 3, 1]
    assert plots_latent.most_moved(row, 9).tolist() == [4, 2, 6, 3, 1]
    assert plots_latent.most_moved(row[:1], 2).tolist() == []


@pytest.mark.parametrize("bad", [np.full((2, 2), np.nan), np.zeros((2, 0)), np.zeros((0, 2))])
def test_what_cannot_be_drawn(bad, tmp_path):
    names = [str(i) for i in range(len(bad))]
    with pytest.raises(InputError, match="expected finite values"):
        plots_latent.effect_heatmap(
            bad, names, [str(i) for i in range(bad.shape[1])], tmp_path / "x.png"
        )
    with pytest.raises(InputError, match="expected finite values"):
        plots_latent.factor_genes(bad, names, ["a", "b"], tmp_path / "x.png")
    with pytest.raises(InputError, match="in at least 2 rows"):
        plots_latent.similarity_map(np.eye(1), ["one"], tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
