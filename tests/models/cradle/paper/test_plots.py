"""The pictures of the paper's figures hold something."""

import numpy as np
import pytest

from jaxpert.core.errors import InputError
from jaxpert.models.cradle.paper import plots
from jaxpert.models.cradle.paper.plots import SOURCES, Group, View, score_note
from support.pictures import colour_share, ink


def group(label: str, source: str, cells: int, seed: int = 0) -> Group:
    rng = np.random.default_rng(seed)
    metrics = {
        "umi_count": rng.lognormal(9, 0.4, cells),
        "n_genes": rng.lognormal(6, 0.05, cells),
        "pct_mt": np.r_[np.nan, rng.lognormal(1, 0.4, cells - 1)],
    }
    return Group(label, source, metrics, 0.987)


def test_quality_distributions(tmp_path, saved_figures):
    groups = [
        group(source, source, cells)
        for source, cells in zip(SOURCES, (200, 90, 3, 200), strict=True)
    ]
    bounds = {"umi_count": -20.0, "n_genes": 350.0, "pct_mt": 5.0}
    path = plots.quality_distributions(groups, bounds, tmp_path / "a.png", 4)
    assert all(
        colour_share(path, SOURCES[name]) > 0.002 for name in ("passed", "failed", "resampled")
    )
    axes = saved_figures[0].axes
    assert [axis.get_title(loc="left") for axis in axes] == [
        "UMI count",
        "genes detected",
        "% mitochondrial",
    ]
    assert [text.get_text() for text in axes[0].get_yticklabels()][3] == "resampled\n98.7% pass"
    assert "never fires" in axes[0].get_xlabel() and not axes[1].get_xlabel()
    beyond = np.mean(groups[0].metrics["pct_mt"][1:] > 5)
    assert axes[2].texts[0].get_text() == (
        f"{beyond:.0%}" if 0.1 < beyond < 0.9 else f"{beyond:.1%}"
    )
    assert all(len(axis.get_xticks()) > 1 for axis in axes), [axis.get_xticks() for axis in axes]


def test_quality_distributions_without_metrics(tmp_path):
    with pytest.raises(InputError, match="umi_count"):
        plots.quality_distributions([Group("a", "passed", {}, 1.0)], {}, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("known", [False, True])
def test_generated_tsne(tmp_path, saved_figures, known):
    rng = np.random.default_rng(0)
    kinds = [
        "none",
        *(f"HALLMARK_A_VERY_LONG_NAME_OF_A_GENE_SET_{i}_THAT_GOES_ON_AND_ON" for i in range(7)),
    ]
    pathways = np.array(kinds)[rng.integers(0, 8, 200)] if known else None
    path = tmp_path / "a.png"
    plots.generated_tsne(
        rng.normal(size=(200, 2)), rng.random(200) < 0.5, pathways, path, ("one", "two")
    )
    assert len(saved_figures[0].axes) == (2 if known else 1)
    assert ink(path) > 0.001
    legends = [axis.get_legend() for axis in saved_figures[0].axes]
    assert [len(legend.get_texts()) for legend in legends] == ([2, 8] if known else [2])
    assert (colour_share(path, "#dbdbdb") > 0.001) == known, "cells without a pathway are grey"


def test_latent_comparison(tmp_path, saved_figures):
    rng = np.random.default_rng(0)
    views = {name: View(rng.normal(size=(300, 2)), "a note", "another") for name in ("A", "B", "C")}
    labels = [f"T{i}" for i in rng.integers(0, 20, 300)]
    plots.latent_comparison(views, rng.random(300) < 0.3, labels, tmp_path / "a.png")
    figure = saved_figures[0]
    assert len(figure.axes) == 6 and len(figure.legends) == 2
    assert [axis.get_title(loc="left") for axis in figure.axes[:3]] == ["A", "B", "C"]
    assert ink(tmp_path / "a.png") > 0.001


def test_score_note():
    assert (
        score_note("x", {"same_label_neighbours": 0.614, "chance": 0.5})
        == "x: 0.61\n(well mixed: 0.50)"
    )
    assert score_note("x", None) == "x: nothing to compare"


def test_tsne_embedding_separates_and_repeats():
    points = np.random.default_rng(0).normal(size=(30, 5))
    points[15:] += 20
    first, second = (plots.tsne_embedding(points, seed=3) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.linalg.norm(first[:15].mean(0) - first[15:].mean(0)) > 2 * first[:15].std(0).max()
    with pytest.raises(InputError, match="finite"):
        plots.tsne_embedding(points[:3], seed=0)
