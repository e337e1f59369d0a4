"""Figures of the GEARS paper: files that hold what was given, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.models.gears.paper import plots, plots_interactions, plots_points
from jaxpert.report.plots import style
from support.pictures import colour_share, ink


@pytest.fixture
def saved(monkeypatch) -> list:
    """The matplotlib figures behind the files that are written."""
    from matplotlib.figure import Figure

    figures, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))
    )
    return figures


def titles(figure) -> list[str]:
    return [axis.get_title(loc="left") for axis in figure.axes]


def test_errors_by_group(tmp_path, saved):
    scores = {
        "GEARS": {
            "combo_seen0": 0.7,
            "combo_seen1": 0.5,
            "combo_seen2": 0.2,
            "unseen_single": 0.61,
        },
        "no_change": {"combo_seen0": 1.0, "combo_seen1": 1.0, "combo_seen2": 1.0},
        "mean_perturbation": {
            "combo_seen0": 0.9,
            "combo_seen1": 0.8,
            "combo_seen2": 0.6,
            "unseen_single": 0.7,
        },
    }
    published = {"GEARS, preprint runs": {"combo_seen2": 0.198}, "other screen": {"nowhere": 3.0}}
    path = tmp_path / "bars.png"
    plots.normalised_errors(
        scores, path, baselines=("no_change", "mean_perturbation"), published=published
    )
    assert colour_share(path, style.BLUE) > 0.003
    assert titles(saved[0]) == [
        "pairs, 0 of 2 seen",
        "pairs, 1 of 2 seen",
        "pairs, 2 of 2 seen",
        "unseen singles",
    ]
    assert [bar.get_height() for bar in saved[0].axes[2].patches] == [0.2, 1.0, 0.6]
    words = [[text.get_text() for text in axis.texts] for axis in saved[0].axes]
    assert words[2] == ["0.20", "1.00", "0.60", "0.20"] and "not scored" in words[3]
    assert [text.get_text() for text in saved[0].legends[0].get_texts()][
        -1
    ] == "GEARS, preprint runs"
    with pytest.raises(InputError, match="no group"):
        plots.normalised_errors({"GEARS": {}}, tmp_path / "none.png")
    many = {"GEARS": {f"group {g}": 0.5 for g in range(7)}}
    assert ink(plots.normalised_errors(many, tmp_path / "many.png")) > 0.01


def test_top_genes(tmp_path, saved):
    rng = np.random.default_rng(0)
    mean = np.linspace(2, -2, 20)
    genes = [f"GENE{g}" for g in range(20)]
    cells = np.maximum(rng.normal(mean, 0.7, (50, 20)), -1.5)
    shown = [plots.TopGenes(f"A+{n}", genes, cells, mean * 0.8, "test") for n in range(4)]
    path = plots.top_genes(shown, tmp_path / "top.png")
    assert colour_share(path, style.BLUE) > 1e-3 and colour_share(path, style.PALE) > 0.01
    assert [label.get_text() for label in saved[0].axes[0].get_yticklabels()][-1] == "GENE0", (
        "largest change on top"
    )
    assert titles(saved[0])[0] == "A+0\ntest"
    few = plots.TopGenes("one cell", genes[:3], cells[:1, :3], mean[:3])
    assert ink(plots.top_genes([few], tmp_path / "few.png")) > 0.01
    with pytest.raises(InputError, match="top_genes"):
        plots.top_genes([], tmp_path / "a.png")


def test_thousands_of_phenotypes(tmp_path, saved):
    rng = np.random.default_rng(0)
    kinds = np.array(
        ["predicted pair"] * 5000
        + ["predicted single"] * 100
        + ["measured pair"] * 120
        + ["measured single"] * 100
    )
    cluster = rng.integers(0, 15, len(kinds))
    points = 3 * rng.normal(size=(15, 2))[cluster] + rng.normal(size=(len(kinds), 2))
    names = [f"cluster {c + 1}: KLF{c}" for c in cluster]
    path = plots_points.phenotype_umap(points, kinds, names, tmp_path / "umap.png")
    assert ink(path) > 0.02
    left, right = saved[0].axes
    assert [len(dots.get_offsets()) for dots in left.collections] == [5000, 100, 120, 100]
    assert len(right.collections[0].get_offsets()) == 5320
    assert [text.get_text() for text in left.get_legend().get_texts()][
        0
    ] == "predicted pair (5,000)"
    assert [text.get_text() for text in right.get_legend().get_texts()][12:] == ["3 others"]
    with pytest.raises(InputError, match="expected a kind"):
        plots_points.phenotype_umap(points, np.full(len(kinds), "guess"), names, tmp_path / "a.png")


def found_rows(seed: int) -> list[dict]:
    rng = np.random.default_rng(seed)
    chance = {"precision_at_10": (0.3, 0.1, 0.5), "top_10_accuracy": (0.08, 0.0, 0.2)}
    names = ("synergy", "suppression", "neomorphism", "redundancy", "epistasis")
    return [
        {
            "subtype": name,
            "k": 10,
            "precision_at_10": float(rng.integers(3, 10)) / 10,
            "top_10_accuracy": 0.4,
            "precision": 0.5,
            "recall": 0.5,
            "true": 0 if name == "epistasis" else 20,
            "predicted": 10,
            "chance": chance,
        }
        for name in names
    ]


def test_interactions_found(tmp_path, saved):
    path = plots.interactions_found(
        {"GEARS": found_rows(0), "Seen-1": found_rows(1)}, tmp_path / "found.png"
    )
    assert colour_share(path, style.BLUE) > 0.005 and colour_share(path, style.PALE) > 0.002
    assert titles(saved[0]) == ["precision@10", "top-10 accuracy"]
    assert sum(text.get_text() == "none\ntrue" for text in saved[0].axes[0].texts) == 2
    with pytest.raises(InputError, match="no sub-type"):
        plots.interactions_found({"GEARS": []}, tmp_path / "a.png")


def test_uncertainty_against_error(tmp_path, saved):
    rng = np.random.default_rng(0)
    error = rng.lognormal(size=60)
    groups = np.array(["combo_seen0", "combo_seen1", "unseen_single"])[np.arange(60) % 3]
    path = plots_points.uncertainty_against_error(np.log(error), error, groups, tmp_path / "a.png")
    assert ink(path) > 0.01
    assert titles(saved[0])[0] == "Spearman ρ = 1.00"
    best, least = (line.get_ydata() for line in saved[0].axes[1].lines[:2])
    np.testing.assert_allclose(best, least)
    assert best[-1] == pytest.approx(error.mean())
    plots_points.uncertainty_against_error(np.zeros(60), error, groups, tmp_path / "b.png")
    assert titles(saved[1])[0] == "Spearman ρ = undefined"
    with pytest.raises(InputError, match="2 uncertainties"):
        plots_points.uncertainty_against_error(error[:2], error[:2], groups[:2], tmp_path / "c.png")


def test_maps_side_by_side_share_order_and_scale(tmp_path, saved):
    names = [f"G{k}" for k in range(8)]
    pairs = np.stack(np.triu_indices(8, 1), axis=1)
    rng = np.random.default_rng(0)
    measured = rng.normal(1, 0.3, len(pairs))
    predicted = np.where(np.arange(len(pairs)) % 5 == 0, np.nan, measured + 0.1)
    path = tmp_path / "maps.png"
    plots_interactions.interaction_maps(
        names, pairs, {"Measured": measured, "Predicted": predicted}, path
    )
    left, right = saved[0].axes[:2]
    assert titles(saved[0])[:2] == ["Measured", "Predicted"]
    order = [[label.get_text() for label in axis.get_yticklabels()] for axis in (left, right)]
    assert order[0] == order[1] and sorted(order[0]) == names
    assert left.images[0].get_clim() == right.images[0].get_clim()
    place = {name: k for k, name in enumerate(order[0])}
    assert left.images[0].get_array()[place["G0"], place["G1"]] == pytest.approx(measured[0])
    assert right.images[0].get_array().mask[place["G0"], place["G1"]]
    with pytest.raises(InputError, match="interaction_maps"):
        plots_interactions.interaction_maps(names, pairs, {"Measured": measured[:3]}, path)
    assert set(plots_points.KINDS) == {
        "predicted pair",
        "predicted single",
        "measured pair",
        "measured single",
    }
