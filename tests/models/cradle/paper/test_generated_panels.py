"""Generated cells of the figures: how many, how good, and how far apart."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert import data
from jaxpert.models.cradle.paper.generated_panels import (
    Generated,
    artifact_scores,
    generated_cells,
    generated_groups,
    pathways,
    shown_perturbations,
)
from jaxpert.tasks.screen.predict import make_request

CELLS = 120


def test_pass_rate_of_a_group_is_that_of_its_cells(runs):
    run = runs[0]
    bounds = data.modelled_thresholds(run.finished.problem.dataset)[5] | {"pct_hb": 5.0}
    for group in generated_groups(run, bounds, CELLS, 0):
        m = group.metrics
        good = (m["umi_count"] >= bounds["umi_count"]) & (m["n_genes"] >= bounds["n_genes"])
        good &= (
            (m["pct_mt"] <= bounds["pct_mt"])
            & (m["pct_ribo"] <= bounds["pct_ribo"])
            & (m["pct_hb"] <= 5)
        )
        assert group.pass_rate == pytest.approx(good.mean())
        assert (abs(np.median(m["umi_count"]) - 1e4) < 1000) == (group.source == "fixed")


def test_generated_cells_of_a_row_stand_together(runs):
    """Libraries of 100 and 10,000 in turn."""
    dataset = runs[0].finished.problem.dataset
    library = np.where(np.arange(15) % 2 > 0, 1e4, 100).astype(np.float32)
    request = make_request(dataset.condition_treatments)._replace(library=jnp.asarray(library))
    totals = np.asarray(generated_cells(runs[0].finished, request, 8, 0).sum(1)).reshape(15, 8)
    assert (totals[0::2] < 1000).all() and (totals[1::2] > 3000).all()


def test_figure4_scores_by_hand():
    """Artifact apart in one direction, pathways in another for artifact-free cells only."""
    rng = np.random.default_rng(0)
    failed = np.arange(160) % 2 > 0
    names = np.array(["none", "one", "two", "two"])[np.arange(160) // 40]
    space = 0.1 * rng.normal(size=(160, 3))
    space[:, 0] += 10.0 * failed
    space[:, 1] += 5.0 * (names == "two") * ~failed
    scores = artifact_scores(Generated(space, failed, names), 0)
    assert scores["artifact"]["same_label_neighbours"] == 1
    assert scores["pathway_without_artifact"]["same_label_neighbours"] == 1
    mixed = scores["pathway_with_artifact"]
    assert mixed["cells"] == 60 and abs(mixed["same_label_neighbours"] - mixed["chance"]) < 0.1
    without = artifact_scores(Generated(space, failed, None), 0)
    assert without["pathway_without_artifact"] is None and without["artifact"] == scores["artifact"]


def test_pathways_come_from_gene_sets_else_from_the_truth(runs):
    finished = runs[0].finished
    planted = pathways(finished, None)
    where = dict(
        zip(finished.problem.truth.treatments, finished.problem.truth.pathway, strict=True)
    )
    assert planted == {name: f"planted pathway {p + 1}" for name, p in where.items() if p >= 0}
    sets = {"MINE": frozenset({"PERT001", "PERT002"})}
    assert pathways(finished, sets) == dict.fromkeys(("PERT001", "PERT002"), "MINE")
    measured = finished._replace(problem=finished.problem._replace(truth=None))
    assert pathways(measured, None) is None


def test_perturbations_with_a_pathway_come_first(runs):
    dataset = runs[0].finished.problem.dataset
    shown = shown_perturbations(dataset, {"PERT007": "x", "PERT008": "x"}, 40)
    assert [dataset.treatments[t] for t in shown] == ["PERT007", "PERT008"]
    assert len(shown_perturbations(dataset, {}, 4000)) == 8
