"""Names of any script in figures: shown by a font, or as escapes; never a missing glyph, never
mathematics."""

import warnings

import numpy as np
import pytest

from jaxpert.report import plots
from jaxpert.report.plots import glyphs
from jaxpert.report.plots.style import canvas
from support.pictures import ink

HARD = [
    "Na$V1.7 (2 $ each)",
    "IFN-γ/TNF-α",
    "<b>JQ1</b> & co",
    "干扰素",
    "x^2_y",
    "a\\b",
    "$\\frac{$",
    "\u202eLRO\u200f",
    "😀",
    "tab\there",
    "\ue000\uffff",
]


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_what_cannot_be_seen_is_written_out(monkeypatch):
    monkeypatch.setattr(glyphs, "FALLBACK", ())
    assert glyphs.showable("KLF1\nFAR2 $x^2$ \\") == "KLF1\nFAR2 $x^2$ \\"
    assert glyphs.showable("IFN-γ/TNF-α ±1 −2") == "IFN-γ/TNF-α ±1 −2"
    assert glyphs.showable("干\u202eA\u200f") == r"\u5e72\u202eA\u200f"
    assert glyphs.showable("\t🧬\ue000\x00") == r"\t\U0001f9ec\ue000\x00"


def test_texts_and_ticks_of_a_figure_are_mended_and_numbers_stay(tmp_path):
    with canvas(tmp_path / "a.png", 6.0, 4.0) as figure:
        left, middle, right = figure.subplots(1, 3)
        left.set_title("\u200fleft")
        left.set_xticks([0, 1], ["a\u200f", "$b$"])
        left.plot([0, 1], [0, 1], label="\u200fline")
        left.legend()
        middle.bar(["x\u200f", "y"], [1e7, 2e7])
        right.plot([0, 0.5], [1e7, 2e7])
    assert left.get_title(loc="left") == r"\u200fleft"
    assert [t.get_text() for t in left.get_xticklabels()] == [r"a\u200f", "$b$"]
    assert [t.get_text() for t in left.get_legend().get_texts()] == [r"\u200fline"]
    assert [t.get_text() for t in middle.get_xticklabels()] == [r"x\u200f", "y"]
    assert right.yaxis.get_offset_text().get_text() == "1e7"


def test_figures_of_hard_names(tmp_path):
    rng = np.random.default_rng(0)
    effects = rng.normal(size=(len(HARD), 30))
    splits = [("train", "val", "test")[i % 3] for i in range(len(HARD))]
    scatter = tmp_path / "scatter.png"
    plots.ate_scatter(effects, effects + rng.normal(size=effects.shape), HARD, splits, scatter)
    names = np.array(HARD, object)[rng.integers(0, len(HARD), 200)]
    umap = plots.latent_umap(
        rng.normal(size=(200, 2)), rng.random(200) < 0.2, names, tmp_path / "u.png"
    )
    some = effects[:4], effects[:4], (HARD * 3)[:30], HARD[3:7]
    panels = plots.effect_panels(*some, tmp_path / "panels.png")
    for path in (scatter, umap, panels):
        assert ink(path) > 0.005
