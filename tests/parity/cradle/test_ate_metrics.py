"""Effects and scores against the published evaluation code, which ran in float32."""

import numpy as np
import pytest
from scipy import sparse

from jaxpert.data.moments import condition_means
from jaxpert.evaluation.pseudobulk import effects
from jaxpert.evaluation.scoring import score

pytestmark = pytest.mark.parity

TOLERANCE = 4e-6


def average_effects(arrays, side):
    """Effects of one side in the fixture's order of perturbations; whatever else is labelled is the
    control."""
    order = arrays["in/perturbation_order"].tolist()
    labels = arrays[f"in/label_{side}"]
    control = sorted(set(labels.tolist()) - set(order))
    assert len(control) == 1
    condition = np.array([[*order, *control].index(label) for label in labels])
    bulk = condition_means(sparse.csr_matrix(arrays[f"in/X_{side}"]), condition, len(order) + 1)
    return effects(bulk, len(order))[: len(order)]


def test_effects_match(cradle_arrays):
    arrays = cradle_arrays("ate_metrics")
    for side in ("data", "model"):
        np.testing.assert_allclose(
            average_effects(arrays, side), arrays[f"expect/ate_{side}"], atol=TOLERANCE
        )


def test_scores_match(cradle_arrays):
    arrays = cradle_arrays("ate_metrics")
    observed, predicted = average_effects(arrays, "data"), average_effects(arrays, "model")
    scores = score(observed, predicted)
    got = {
        "ATE_pearsonr": scores["ate_pearson"],
        "ATE_r2": scores["ate_r2"],
        "ATE_pearsonr_top20": scores["ate_pearson_top20"],
        "ATE_r2_top20": scores["ate_r2_top20"],
        "jaccard_sim_top20": scores["jaccard_top20"],
        "jaccard_sim_top50": scores["jaccard_top50"],
    }
    for name, value in got.items():
        np.testing.assert_allclose(value, arrays[f"expect/{name}"], atol=TOLERANCE, err_msg=name)
