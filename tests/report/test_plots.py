"""Figures: files that hold a picture, the same for the same arrays, and drawn from what is
given."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.evaluation.metrics import METRICS
from jaxpert.report import plots
from jaxpert.report.plots import style
from support.pictures import colour_share, ink, pixels

P, G = 9, 60
NAMES = [f"T{p}" for p in range(P - 2)] + ["A+B", "$weird_{name"]
GENES = [f"GENE{g}" for g in range(G)]


@pytest.fixture
def effects() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    observed = rng.normal(size=(P, G))
    return observed, 0.7 * observed + 0.1 * rng.normal(size=(P, G))


def log_rows(epochs: int = 12) -> list[dict]:
    rows = []
    for epoch in range(epochs):
        for step in range(10 * epoch + 1, 10 * epoch + 11):
            loss = 100 + 500 * np.exp(-step / 5)
            rows.append(
                {"step": step, "epoch": epoch, "train/loss": loss, "train/reconstruction": -loss}
            )
        rows.append(
            {"step": 10 * epoch + 10, "epoch": epoch, "val/loss": 110 + (epoch - 6) ** 2 * 0.5}
        )
    return rows


def test_loss_curves(tmp_path):
    path = plots.loss_curves(log_rows(), tmp_path / "new" / "loss.png")
    assert path == tmp_path / "new" / "loss.png" and ink(path) > 0.01
    assert [p.name for p in path.parent.iterdir()] == ["loss.png"], (
        "no half-written file is left behind"
    )


def test_loss_curves_with_terms_and_undefined_values(tmp_path):
    rows = [*log_rows(2), {"step": 21, "epoch": 2, "train/loss": None, "val/loss": float("nan")}]
    assert ink(plots.loss_curves(rows, tmp_path / "a.png")) > 0.01
    only_loss = [{"step": 1, "epoch": 0, "train/loss": 3.0}]
    assert ink(plots.loss_curves(only_loss, tmp_path / "b.png")) > 0.005


def test_loss_curves_without_any_loss(tmp_path):
    with pytest.raises(InputError, match="train/loss"):
        plots.loss_curves([{"step": 1}], tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_the_best_epoch_is_the_lowest_validation_loss():
    from matplotlib.figure import Figure

    from jaxpert.report.plots import training

    axis = Figure().subplots()
    training.loss_panel(axis, log_rows())
    assert "best validation: 110.00, epoch 6" in axis.get_legend_handles_labels()[1]


def test_ate_scatter_is_the_same_for_the_same_arrays(tmp_path, effects):
    splits = [("train", "all")] * 4 + [("test", "all")] * 5
    observed, predicted = effects
    scores = {
        "test": {"ate_pearson": 0.9, "ate_r2": None},
        "all": {"ate_pearson": 0.8, "ate_r2": 0.6},
    }
    first, second = (
        plots.ate_scatter(observed, predicted, NAMES, splits, tmp_path / f"{n}.png", scores)
        for n in "ab"
    )
    assert ink(first) > 0.02 and first.read_bytes() == second.read_bytes()


def test_ate_scatter_of_constant_and_undefined_effects(tmp_path):
    zero, holes = np.zeros((2, G)), np.zeros((2, G))
    holes[0, :5] = np.nan
    assert (
        ink(plots.ate_scatter(holes, zero, NAMES[:2], ["train", "test"], tmp_path / "a.png")) > 0.01
    )


def test_ate_scatter_ignores_the_callers_matplotlib_settings(tmp_path, effects):
    import matplotlib

    observed, predicted = effects
    with matplotlib.rc_context({"figure.facecolor": "red", "font.size": 40}):
        path = plots.ate_scatter(observed, predicted, NAMES, ["train"] * P, tmp_path / "a.png")
        assert matplotlib.rcParams["font.size"] == 40
    assert colour_share(path, "#ff0000") == 0


def test_top_genes_are_those_of_largest_size_in_signed_order():
    from jaxpert.report.plots.effects import strongest_genes

    assert list(strongest_genes(np.array([0.1, -3.0, np.nan, 2.0, 0.5]), 3)) == [1, 4, 3]


@pytest.mark.parametrize("interval", [False, True])
def test_effect_panels(tmp_path, effects, interval):
    observed, predicted = effects
    bounds = {"lower": predicted[:4] - 0.5, "upper": predicted[:4] + 0.5} if interval else {}
    path = plots.effect_panels(
        observed[:4], predicted[:4], GENES, NAMES[:4], tmp_path / "a.png", k=10, **bounds
    )
    assert ink(path) > 0.01
    assert (colour_share(path, "#a6cce5") > 0.002) == interval, (
        "the bars are there when bounds are given"
    )


def test_effect_panels_with_fewer_genes_than_asked(tmp_path, effects):
    observed, predicted = effects
    assert (
        ink(
            plots.effect_panels(
                observed[:1, :5], predicted[:1, :5], GENES[:5], NAMES[-1:], tmp_path / "a.png"
            )
        )
        > 0
    )


def test_recovery(tmp_path, effects):
    artifact = np.random.default_rng(1).normal(size=G)
    observed, predicted = effects
    both = plots.recovery(observed, predicted, tmp_path / "a.png", artifact, 0.8 * artifact, GENES)
    alone = plots.recovery(observed, predicted, tmp_path / "b.png")
    assert ink(both) > 0.01 and ink(alone) > 0.01
    assert pixels(both).shape[1] > 1.5 * pixels(alone).shape[1]


def quality_cells(rng: np.random.Generator, cells: int) -> dict:
    quality = {
        "umi_count": rng.lognormal(9, 0.4, cells),
        "n_genes": rng.lognormal(8, 0.3, cells),
        "pct_mt": rng.lognormal(1, 0.4, cells),
    }
    return dict.fromkeys(plots.QUALITY_GROUPS, quality)


def test_quality_violins(tmp_path):
    cells = {name: quality_cells(np.random.default_rng(0), 50) for name in ("control", "T0")}
    path = plots.quality_violins(
        cells, {"umi_count": -20.0, "n_genes": 900.0, "pct_mt": 5.0}, tmp_path / "a.png", 3
    )
    assert ink(path) > 0.03
    assert all(colour_share(path, colour) > 0.003 for _, colour in plots.QUALITY_GROUPS.values())


def test_quality_violins_of_few_or_equal_cells(tmp_path):
    cells = {
        "a": quality_cells(np.random.default_rng(0), 2),
        "b": {"real_passed": {"pct_mt": np.ones(40)}},
        "c": {},
    }
    assert ink(plots.quality_violins(cells, {}, tmp_path / "a.png")) > 0.005


def test_quality_violins_without_metrics(tmp_path):
    with pytest.raises(InputError, match="umi_count"):
        plots.quality_violins({"a": {}}, {}, tmp_path / "a.png")


def test_latent_umap(tmp_path):
    rng = np.random.default_rng(0)
    labels = [f"T{i}" for i in rng.integers(0, 40, 300)]
    path = plots.latent_umap(
        rng.normal(size=(300, 2)), rng.random(300) < 0.3, labels, tmp_path / "a.png"
    )
    assert ink(path) > 0.02


@pytest.mark.parametrize("most, left", [(2, {"b", "a", "2 others"}), (4, {"a", "b", "c", "d"})])
def test_rare_perturbations_share_grey(most, left):
    from jaxpert.report.plots.cells import most_common

    names = np.array([*"aa", *"bbb", *"c", *"d"], object)
    shown, hues = most_common(names, most)
    assert set(hues) == set(shown) == left and list(shown[:5]) == [*"aabbb"]
    assert len(set(hues.values())) == len(hues)


@pytest.mark.slow  # UMAP compiles for half a minute
def test_umap_embedding_separates_and_repeats():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(80, 6)).astype(np.float32)
    latent[40:] += 20
    first, second = (plots.umap_embedding(latent, seed=3) for _ in range(2))
    assert first.shape == (80, 2) and np.array_equal(first, second)
    gap = np.linalg.norm(first[:40].mean(0) - first[40:].mean(0))
    assert gap > 2 * first[:40].std(0).max()


@pytest.mark.parametrize("latent", [np.zeros((3, 2)), np.full((20, 2), np.nan)])
def test_umap_embedding_refuses(latent):
    with pytest.raises(InputError, match="finite"):
        plots.umap_embedding(latent, seed=0)


def scores(value: float | None) -> dict:
    return {
        "test": {"ate_pearson": value, "ate_r2": -7.0},
        "train": {"ate_pearson": 0.9, "ate_r2": 0.5},
    }


@pytest.mark.parametrize("ceiling", [None, scores(0.95)])
def test_baseline_bars(tmp_path, ceiling):
    metrics = {
        "model": scores(0.6),
        "baselines": {"no_change": scores(None), "mean": scores(0.5)},
        "ceiling": ceiling,
        "ceiling_interval": ceiling and {"test": {}},
    }
    assert ink(plots.baseline_bars(metrics, tmp_path / "a.png")) > 0.01


def test_baseline_bars_marks_the_model(tmp_path):
    path = plots.baseline_bars(
        {"model": scores(0.6), "baselines": {"mean": scores(0.5)}}, tmp_path / "a.png"
    )
    assert colour_share(path, "#0072B2") > 0.0005


def test_baseline_bars_without_scores(tmp_path):
    with pytest.raises(InputError, match="metrics.json"):
        plots.baseline_bars({"model": {}, "baselines": {}}, tmp_path / "a.png")


def test_main_metrics_are_scores_that_evaluation_gives():
    assert all(METRICS[name].higher_is_better for name in plots.MAIN_METRICS)


def test_importing_plots_loads_neither_matplotlib_nor_umap():
    import subprocess
    import sys

    heavy = ("matplotlib", "umap", "jinja2", "anndata")
    code = (
        f"import sys, jaxpert.report.plots, jaxpert.report.page; print([m for m in {heavy} if m in "
        "sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "[]"


def test_figures_for_print_have_more_dots_and_another_form_beside(tmp_path):
    from PIL import Image

    def draw(path):
        with style.canvas(path, 2.0, 1.0) as figure:
            figure.subplots().set_title("A$B")

    draw(tmp_path / "screen.png")
    with style.printed("svg"):
        draw(tmp_path / "print.png")
    with style.printed("pdf"):
        draw(tmp_path / "print.png")
    for name, size in {"screen": (320, 160), "print": (600, 300)}.items():
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.size == size
    # Text stays text, and equal figures are equal files.
    drawn = (tmp_path / "print.svg").read_text()
    assert "A$B" in drawn and "<dc:date>" not in drawn
    assert (tmp_path / "print.pdf").read_bytes().startswith(b"%PDF")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "print.pdf",
        "print.png",
        "print.svg",
        "screen.png",
    ]
