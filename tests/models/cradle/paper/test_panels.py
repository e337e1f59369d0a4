"""Effects of the figures are those that the runs were scored by."""

import numpy as np
import pytest

from jaxpert.evaluation import compare, pseudobulk
from jaxpert.models.cradle.paper import panels


def test_figure3_effects_are_those_of_the_run(runs, tmp_path, saved_figures):
    panels.draw_effects(tmp_path, "x", runs)
    titles = [axis.get_title(loc="left") for axis in saved_figures[0].axes]
    assert titles[:2] == ["CRADLE-VAE\nTest (n = 2)", "SAMS-VAE\nTest (n = 2)"]
    dataset = runs[0].finished.problem.dataset
    subset, rows, measured = panels.hardest_effects(dataset)
    assert subset == "test" and set(rows) == set(compare.subsets(dataset)["test"])
    scored = np.corrcoef(measured[rows].ravel(), panels.predicted_effects(runs[0])[rows].ravel())[
        0, 1
    ]
    assert scored == pytest.approx(
        runs[0].finished.metrics["model"]["test"]["ate_pearson"], abs=1e-5
    )
    assert pseudobulk.effects(pseudobulk.observed_means(dataset), dataset.control)[
        rows
    ] == pytest.approx(measured[rows])
