"""Every metric that cell-eval has too, on the same cells."""

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert.evaluation.schools.score import score_cells

GENES, PERTURBATIONS, CELLS, CONTROLS = 120, 14, 25, 60


def drawn(seed, effects, silent):
    """Log-normalised cells: the last 4 genes are silent in control, `silent` in perturbed cells;
    perturbations without effects are like control."""
    rng = np.random.default_rng(seed)
    labels = ["control"] * CONTROLS
    labels += [f"gene{p}" for p in range(PERTURBATIONS) for _ in range(CELLS)]
    rows = np.repeat(np.arange(PERTURBATIONS + 1), [CONTROLS] + [CELLS] * PERTURBATIONS)
    level = np.geomspace(0.2, 6, GENES)
    counts = rng.poisson(level * np.exp(np.concatenate([np.zeros((1, GENES)), effects])[rows]))
    changed = np.concatenate([[False], effects.any(1)])[rows]
    counts[np.ix_(~changed, np.arange(GENES - 4, GENES))] = 0
    counts[np.ix_(changed, silent)] = 0
    x = np.log1p(1e4 * counts / counts.sum(1, keepdims=True))
    # Few levels, so that values tie as they do where cells share their depth.
    x[:, ::2] = np.round(x[:, ::2], 1)
    order = rng.permutation(len(labels))
    obs = pd.DataFrame({"target": np.array(labels)[order]}, index=[str(n) for n in order])
    var = pd.DataFrame(index=[f"gene{g}" for g in range(GENES)])
    return anndata.AnnData(sparse.csr_matrix(x[order]), obs=obs, var=var)


@pytest.fixture(scope="module")
def files():
    rng = np.random.default_rng(0)
    shape = PERTURBATIONS, GENES
    effects = rng.normal(0, 1.5, shape) * (rng.random(shape) < 0.2)
    # One that does nothing in the cells, and one that the prediction leaves as it is.
    effects[3] = 0
    predicted = effects + rng.normal(0, 0.3, shape)
    predicted[5] = 0
    return drawn(1, effects, [0, 1]), drawn(2, predicted, [1, 2])


@pytest.fixture(scope="module")
def theirs(files, tmp_path_factory):
    pytest.importorskip("cell_eval", reason="cell-eval is not installed: pip install .[test]")
    from cell_eval import MetricsEvaluator  # pyright: ignore

    with warnings.catch_warnings():
        # Correlations with a constant, and what polars says of its own future.
        warnings.simplefilter("ignore")
        evaluator = MetricsEvaluator(
            files[1].copy(),
            files[0].copy(),
            control_pert="control",
            pert_col="target",
            num_threads=1,
            outdir=str(tmp_path_factory.mktemp("celleval")),
        )
        results, _ = evaluator.compute(skip_metrics=["clustering_agreement"], write_csv=False)
    return results.to_pandas().set_index("perturbation").sort_index()


@pytest.fixture(scope="module")
def ours(files):
    return score_cells(*files, control="control", condition_key="target", scale="log1p")


def named(metric):
    """The name here of a metric of cell-eval."""
    return metric.replace("discrimination_score", "pds") + ".celleval"


def test_every_metric_agrees(theirs, ours):
    table = ours.per_perturbation
    assert list(theirs.index) == sorted(table.index)
    compared = []
    for metric in theirs.columns:
        expected = theirs[metric].astype(float)
        if named(metric) in table:
            found = table[named(metric)].loc[expected.index]
        else:
            found = np.full(len(expected), ours.aggregate[named(metric)])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=metric)
        compared.append(metric)
    assert len(compared) == 27
    # The comparison is of values that differ, not of constants.
    varied = [metric for metric in compared if theirs[metric].nunique() > 1]
    assert len(varied) >= 24


def test_the_files_hold_what_is_awkward(ours):
    table = ours.per_perturbation
    # Nothing significant on one side: 0 by definition, or undefined.
    assert table["de_nsig_counts_pred.celleval"]["gene5"] == 0
    assert table["overlap_at_N.celleval"]["gene5"] == 0
    assert table["de_nsig_counts_real.celleval"]["gene3"] == 0
    assert np.isnan(table["roc_auc.celleval"]["gene3"])
    assert table["overlap_at_N.celleval"].max() > 0.5
