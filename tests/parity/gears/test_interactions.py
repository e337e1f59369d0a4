"""Interaction scores, agreement of sub-types and the linear baseline against the published
implementation's numbers."""

import json
import os
import pathlib

import numpy as np
import pytest

from jaxpert.evaluation.interactions import subtypes
from jaxpert.evaluation.interactions.scores import Scores, score_pairs
from jaxpert.models.gears.baselines import propagate
from support.paths import PARITY, ROOT

pytestmark = pytest.mark.parity

NAMES = {"suppression": "suppressor", "neomorphism": "neomorphic", "redundancy": "redundant"}
TOLERANCE = {"float64": 1e-10, "float32": 2e-5}


def vectors(arrays):
    return tuple(arrays[name][None] for name in ("a", "b", "ab"))


@pytest.mark.parametrize("genes", [60, 600])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_scores_match(gears_arrays, genes, precision):
    arrays = gears_arrays(f"gi_scores_g{genes}")
    found = score_pairs(*vectors(arrays), precision=precision)
    for name in Scores._fields:
        value = getattr(found, name)[0]
        np.testing.assert_allclose(value, arrays[name], atol=TOLERANCE[precision], err_msg=name)


@pytest.mark.parametrize("genes", [60, 600])
def test_the_converged_median_and_the_papers_fit_match(gears_arrays, genes):
    arrays = gears_arrays(f"gi_scores_g{genes}")
    exact = score_pairs(*vectors(arrays), tolerance=None)
    published = score_pairs(*vectors(arrays), fit="distance")
    for key in ("exact_spatial_median", "corr_fit_distance_corr_paper"):
        if key not in arrays:
            pytest.skip(f"this gi_scores_g{genes} has no {key}")
    np.testing.assert_allclose(
        [exact.c1[0], exact.c2[0]], arrays["exact_spatial_median"], atol=1e-9
    )
    np.testing.assert_allclose(
        published.corr_fit[0], arrays["corr_fit_distance_corr_paper"], atol=1e-10
    )


def test_another_draw_of_gene_pairs_is_near(gears_arrays):
    arrays = gears_arrays("gi_scores_g600")
    other = score_pairs(*vectors(arrays), seed=1, most_subsets=50_000)
    for name in ("c1", "c2", "mag"):
        assert 0 < abs(getattr(other, name)[0] - arrays[name]) < 1e-2


@pytest.mark.parametrize("subtype", subtypes.RULES)
def test_agreement_matches(gears_arrays, subtype):
    arrays = gears_arrays("gi_subtypes_inputs")
    root = PARITY
    expected = json.loads((root / "gears/gi_subtypes_expected.json").read_text())[
        NAMES.get(subtype, subtype)
    ]
    true, predicted = (
        {
            name.removeprefix(side): values
            for name, values in arrays.items()
            if name.startswith(side)
        }
        for side in ("true/", "pred/")
    )
    found = subtypes.agreement(true, predicted, subtype)
    rule = subtypes.RULES[subtype]
    assert (rule.score, ">" if rule.above else "<", rule.threshold) == tuple(
        expected[key] for key in ("metric", "op", "threshold")
    )
    keys = ("precision_at_10", "top10_accuracy", "precision", "recall", "n_true", "n_pred")
    np.testing.assert_allclose(found, [expected[key] for key in keys], atol=1e-12)


def test_linear_propagation_matches(gears_arrays):
    arrays = gears_arrays("linear_baseline")
    weights, theta = arrays["W_target_source"], arrays["theta"]
    np.testing.assert_allclose(
        propagate(weights, theta), arrays["paper_delta_E3_theta"], atol=1e-12
    )
    for hops in (1, 2, 3):
        expected = arrays[f"authors_script_delta_hops{hops}"]
        np.testing.assert_allclose(
            propagate(weights, theta, hops=hops, form="script"), expected, atol=1e-12
        )
        batch = propagate(weights, np.stack([theta, -theta]), hops=hops, form="script")
        np.testing.assert_allclose(batch, [expected, -expected], atol=1e-12)


def test_measured_pairs_are_told_apart_as_published():
    """AUROC of the Norman pairs' scores for the published lists, on the real effects."""
    shared = ROOT.parent / "shared"
    effects = shared / "data/pseudobulk/norman2019_k562_pseudobulk_lfc_2000g.h5ad"
    lists = (
        pathlib.Path(os.environ.get("JAXPERT_PARITY") or shared / "parity")
        / "gears/norman_gi_sets.json"
    )
    if not effects.is_file() or not lists.is_file():
        pytest.skip(
            "the Norman pseudobulk effects or the published lists are not here (they may not be "
            "copied)"
        )
    from sklearn.metrics import roc_auc_score

    from jaxpert.models.gears.paper import measured_interactions as experiment

    screen, published = experiment.read_effects(effects), experiment.read_lists(lists)
    assert len(screen.pairs) == 126 and len(screen.left_out) == 4
    genes = experiment.choose_genes(screen)["genes that singles move together"]
    scores = score_pairs(
        *(v[:, genes[::10]] for v in (screen.first, screen.second, screen.both))
    )._asdict()
    title = experiment.lists_of(screen, published)
    listed = np.array([name is not None for name in title])
    assert listed.sum() == 85
    for subtype, least in {
        "synergy": 0.85,
        "suppression": 0.75,
        "epistasis": 0.7,
        "neomorphism": 0.65,
    }.items():
        rule = subtypes.RULES[subtype]
        true = np.array([name in experiment.LISTS[subtype] for name in title])
        value = scores[rule.score] * (1 if rule.above else -1)
        assert roc_auc_score(true[listed], value[listed]) > least, subtype
