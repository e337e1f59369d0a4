"""What notebooks show: pictures of predictions and scores, and data and models in words."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

import jaxpert
from jaxpert.app import plot


@pytest.fixture(scope="module")
def fitted():
    """A small screen, a model of it, and its predictions."""
    adata, _ = jaxpert.simulate("tiny")
    cells = jaxpert.read(adata, perturbation="perturbation", control="ctrl")
    cells = jaxpert.add_split(cells, kind="combinations")
    model = jaxpert.set_gp.build(jaxpert.make_spec(cells), components=5, blend=False)
    fitted = jaxpert.fit(model, cells, epochs=1, devices=1)
    names = ["PERT001", "PERT001+PERT003", "PERT002+PERT003"]
    return fitted, cells, jaxpert.predict(fitted, cells, names)


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"))


def test_pictures_are_shown_and_saved(fitted, tmp_path):
    _, cells, predicted = fitted
    picture = plot.effect(predicted, "PERT003+PERT001", cells)
    assert picture._repr_png_() == picture.png and "kB" in repr(picture)
    saved = picture.save(tmp_path / "effect.png")
    assert saved.read_bytes() == picture.png
    # Another order of the parts asks for the same row.
    assert plot.effect(predicted, "PERT001+PERT003", cells).png == picture.png


def test_what_was_measured_is_drawn_beside(fitted):
    _, cells, predicted = fitted
    alone = pixels(plot.effect(predicted, "PERT001"))
    beside = pixels(plot.effect(predicted, "PERT001", cells))
    assert alone.shape != beside.shape or (alone != beside).any()
    # A pair without cells has nothing beside it.
    unseen = plot.effect(predicted, "PERT002+PERT003", cells)
    assert unseen.png == plot.effect(predicted, "PERT002+PERT003").png


def test_intervals_are_those_of_the_predictions(fitted):
    _, _, predicted = fitted
    half = plot._half_width(predicted, 1)
    width, deviation = predicted.obs["width_90"].iloc[1], predicted.layers["measured_sd"][1]
    np.testing.assert_allclose(half, 1.6448536 * width * deviation, rtol=1e-5)
    silent = predicted[:, :].copy()
    del silent.obs["width_90"]
    assert plot._half_width(silent, 1) is None


def test_measured_effects_are_found_by_name(fitted):
    _, cells, predicted = fitted
    observed = plot._measured(predicted, cells)
    row = cells.conditions.index("PERT001+PERT003")
    counts = cells.counts[np.flatnonzero(cells.condition == row)].toarray()
    control = cells.counts[np.flatnonzero(cells.condition == cells.control)].toarray()
    effect = [np.log2(1 + 1e4 * x / x.sum(1, keepdims=True)).mean(0) for x in (counts, control)]
    np.testing.assert_allclose(observed[2], effect[0] - effect[1], atol=1e-4)
    assert np.isnan(observed[3]).all()


def test_scores_and_tables_of_genes_are_drawn(fitted):
    model, cells, predicted = fitted
    assert pixels(plot.top_genes(predicted, genes=10)).std() > 0
    assert pixels(plot.measured(predicted, cells)).std() > 0
    metrics = jaxpert.evaluate(model, cells)
    assert plot.scores(metrics).png == plot.scores(metrics, "test").png
    assert plot.scores(metrics, "train").png != plot.scores(metrics).png
    with pytest.raises(ValueError, match="subset is 'tset'"):
        plot.scores(metrics, "tset")


def test_wrong_names_and_data_are_refused(fitted):
    _, cells, predicted = fitted
    with pytest.raises(ValueError, match="hold no KLF1, expected some of ctrl, PERT001"):
        plot.effect(predicted, "KLF1")
    with pytest.raises(ValueError, match="no data are given"):
        plot.measured(predicted)
    with pytest.raises(ValueError, match="the data are a str"):
        plot.measured(predicted, "screen.h5ad")
    with pytest.raises(ValueError, match="none of PERT002\\+PERT003 was measured"):
        plot.measured(predicted[["PERT002+PERT003"]], cells)


def test_data_and_models_are_shown_in_words(fitted):
    model, cells, _ = fitted
    text = repr(cells)
    assert "600 cells x 200 genes" in text and "14, of them 6 combinations" in text
    assert "396 train" in text and text.count("\n") < 8
    unsplit = repr(dataclasses.replace(cells, split=None))
    assert "none yet" in unsplit
    labelled = repr(jaxpert.add_quality(cells, doublets="none"))
    assert "cells fail at 5 MAD" in labelled
    assert repr(model).startswith("Fitted set_gp(") and "components=5" in repr(model.model)
    assert "8 perturbed ones" in repr(jaxpert.make_spec(cells))


def test_rows_of_lines_are_shown_in_words():
    adata, _ = jaxpert.simulate("lines_tiny")
    cells = jaxpert.load_lines(adata, perturbation="perturbation", control="ctrl", line="line")
    rows = jaxpert.prepare_rows(cells, split="none", replicates=2, cells_per_draw=5)
    text = repr(rows)
    assert "48 pairs x 200 genes" in text and "line1, line2, line3" in text and "48 train" in text
