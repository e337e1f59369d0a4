"""Energy distances and kernels against sums over all pairs, and the closed forms that hold."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist

from jaxpert.evaluation.schools import kernels
from jaxpert.evaluation.schools.score import score_cells

GAMMAS = (2, 1, 0.5, 0.1, 0.01, 0.005)
LABELS = np.repeat(["control", "p", "q"], [9, 5, 4])


def cells(seed):
    rng = np.random.default_rng(seed)
    x = rng.gamma(1, 1, (len(LABELS), 6)) * (rng.random((len(LABELS), 6)) < 0.8)
    obs = pd.DataFrame({"target": LABELS}, index=[str(n) for n in range(len(LABELS))])
    var = pd.DataFrame(index=[f"gene{g}" for g in range(6)])
    made = anndata.AnnData(sparse.csr_matrix(x), obs=obs, var=var)
    made.obsm["X_pca"] = rng.normal(0, 1, (len(LABELS), 3))
    return made


def scored(real, predicted, **options):
    given = {"control": "control", "condition_key": "target", "scale": "log1p"}
    return score_cells(real, predicted, **given, **options).per_perturbation


def energy(x, y, metric="euclidean"):
    """2 E d(x, y) - E d(x, x') - E d(y, y') over all pairs."""
    return 2 * cdist(x, y, metric).mean() - cdist(x, x, metric).mean() - cdist(y, y, metric).mean()


def mmd(x, y, kernel):
    within = kernel(x, x).mean() + kernel(y, y).mean()
    return within - 2 * kernel(x, y).mean()


@pytest.mark.parametrize("space", [None, "X_pca"])
def test_all_distances_are_sums_over_pairs(space):
    real, predicted = cells(0), cells(1)
    table = scored(real, predicted, embedding=space)
    for name in ("p", "q"):
        files = [a.X.toarray() if space is None else a.obsm[space] for a in (real, predicted)]
        x, y = (points[LABELS == name] for points in files)
        expected = {
            "edistance.sqeuclid": energy(x, y, "sqeuclidean"),
            "edistance.pertpy": energy(x, y),
            "mmd_energy.perturbench": energy(x, y) / 2,
            "mmd_linear.pertpy": mmd(x, y, lambda a, b: a @ b.T),
            "mmd_poly.pertpy": mmd(x, y, lambda a, b: (a @ b.T) ** 2),
            "mmd_rbf.pertpy": mmd(x, y, lambda a, b: np.exp(-cdist(a, b, "sqeuclidean"))),
            "mmd_rbf.cellflow": np.mean(
                [
                    mmd(x, y, lambda a, b, g=g: np.exp(-g * cdist(a, b, "sqeuclidean")))
                    for g in GAMMAS
                ]
            ),
            "edistance_real.celleval": energy(x, files[0][LABELS == "control"]),
            "edistance_predicted.celleval": energy(y, files[1][LABELS == "control"]),
        }
        apart = [cdist(z, z, "sqeuclidean").sum() / (len(z) * (len(z) - 1)) for z in (x, y)]
        unbiased = 2 * cdist(x, y, "sqeuclidean").mean() - sum(apart)
        expected["edistance_unbiased.sqeuclid"] = unbiased
        for metric, value in expected.items():
            np.testing.assert_allclose(table.loc[name, metric], value, rtol=1e-9, err_msg=metric)


def test_a_copy_of_the_cells_is_at_distance_zero():
    table = scored(cells(0), cells(0)[::-1].copy())
    biased = ["edistance.sqeuclid", "edistance.pertpy", "mmd_rbf.cellflow", "mmd_poly.pertpy"]
    np.testing.assert_allclose(table[biased], 0, atol=1e-10)
    # Without its zeros a cell's distance from itself makes room below 0.
    assert (table["edistance_unbiased.sqeuclid"] < 0).all()


def test_blocks_of_cells_change_nothing(monkeypatch):
    whole = scored(cells(0), cells(1))
    monkeypatch.setattr(kernels, "MOST", 2)
    monkeypatch.setattr(kernels, "HELD", 0)
    pd.testing.assert_frame_equal(whole, scored(cells(0), cells(1)), rtol=1e-12)


def test_pearson_of_distances_from_control():
    files = [cells(0), cells(1)]
    table = scored(*files)
    options = {"control": "control", "condition_key": "target", "scale": "log1p"}
    found = score_cells(*files, metrics=["pearson_edistance.celleval"], **options)
    assert found.per_perturbation.shape == (2, 0)
    # Over two perturbations a correlation is a sign.
    pair = table[["edistance_real.celleval", "edistance_predicted.celleval"]].diff().iloc[1]
    expected = np.sign(pair.prod())
    np.testing.assert_allclose(found.aggregate["pearson_edistance.celleval"], expected)
