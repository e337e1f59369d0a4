"""Figures of the CycSeq comparison: they show what they are given, undefined values included."""

import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.models.cycseq.paper import plots
from jaxpert.report.plots import style
from support.pictures import colour_share, ink

RNG = np.random.default_rng(0)


def on_white(colour: str, alpha: float) -> str:
    """What a translucent colour looks like alone."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - alpha * (255 - part)):02x}" for part in parts)


def rows(noise):
    observed = {
        line: RNG.gamma(1, 1, (n, 80))
        for line, n in (("K562", 30), ("LP1", 5), ("MM1.S", 8), ("$N_{", 1))
    }
    return {line: y + noise * RNG.normal(size=y.shape) for line, y in observed.items()}, observed


def test_rows_of_each_line_against_their_targets(tmp_path):
    predicted, observed = rows(0.3)
    predicted["LP1"][0] = np.nan
    notes = {"K562": "R² 0.83 (no change 0.80)"}
    path = plots.rows_against_targets(
        predicted, observed, tmp_path / "new/rows.png", notes, "log2(1 + CP10K)"
    )
    assert ink(path) > 0.02
    again = plots.rows_against_targets(
        predicted, observed, tmp_path / "again.png", notes, "log2(1 + CP10K)"
    )
    assert again.read_bytes() == path.read_bytes()
    with pytest.raises(InputError, match="expected the same ones"):
        plots.rows_against_targets({}, {}, tmp_path / "none.png")


def test_the_triangle_marks_what_passes(tmp_path):
    copy = RNG.uniform(0.8, 0.95, 40)
    names = {way: [f"T{i}" for i in range(38)] + ["MED30", "TTK"] for way in ("n2p", "p2n")}
    corners = {"n2p": (copy + 0.03, copy - 0.1, copy), "p2n": (copy - 0.03, copy + 0.01, copy)}
    corners["p2n"][0][0] = np.nan
    path = plots.triangular_validation(corners, names, tmp_path / "triangle.png", ("MED30", "TTK"))
    assert colour_share(path, style.VERMILLION) > 1e-4 < colour_share(path, style.GREEN)
    passed = on_white(style.BLUE, 0.6)
    assert colour_share(path, passed) > 1e-4
    none = {"p2n": corners["p2n"]}
    assert (
        colour_share(plots.triangular_validation(none, names, tmp_path / "none.png"), passed) == 0
    )


def test_changes_by_line_and_method(tmp_path):
    scores = {
        line: {
            "CycSeq": RNG.normal(0.5, 0.1, 30),
            "scGen": RNG.normal(0.3, 0.2, 30),
            "mean": np.full(30, 0.2),
            "no change": np.full(30, np.nan),
        }
        for line in ("K562", "LP1")
    }
    path = plots.change_panels(scores, tmp_path / "change.png", baselines=("mean", "no change"))
    assert colour_share(path, on_white(style.ORANGE, 0.55)) > 0 < ink(path)
    with pytest.raises(InputError, match="no score to draw"):
        plots.change_panels({}, tmp_path / "none.png")


def test_doses_and_predictions(tmp_path):
    dose = np.repeat([0.0, 10, 100, 1_000, 10_000, 10_000], 20)
    points, predicted = (
        RNG.normal(size=(120, 2)) + np.log10(1 + dose)[:, None],
        np.arange(120) >= 100,
    )
    path = plots.dose_picture(
        points, dose, predicted, tmp_path / "dose.png", "DRUG001", "mixing at 10,000 nM: 0.91"
    )
    assert ink(path) > 0.01 and len(set(plots.shades_of(5))) == 5
    one = plots.dose_picture(points[:20], dose[:20], predicted[:20], tmp_path / "one.png")
    assert ink(one) > 0.005


@pytest.mark.parametrize("sign", [1, -1])
def test_enrichment_curves_of_either_sign(tmp_path, sign):
    hits = (RNG.random(400) < np.linspace(0.3, 0.0, 400))[::sign]
    running = np.cumsum(np.where(hits, 1 / hits.sum(), -1 / (~hits).sum()))
    signal = np.linspace(2, -2, 400)
    path = plots.enrichment_curve(
        running, hits, tmp_path / "curve.png", "IL2 pathway", "NES 2.1, FDR 0.01", signal
    )
    assert colour_share(path, style.BLUE) > 1e-3 and ink(path) > 0.01
    assert ink(plots.enrichment_curve(running, hits, tmp_path / "bare.png")) > 0.005
