"""Each school's metrics by hand, in closed form, and by what must not change them."""

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy
from scipy import sparse, stats

from jaxpert.evaluation.schools import calibrated
from jaxpert.evaluation.schools.score import score_cells, score_effects
from jaxpert.evaluation.schools.table import METRICS

NAMES = [f"gene{p}" for p in range(6)]


def screen(seed, names=NAMES, genes=30, cells=8):
    rng = np.random.default_rng(seed)
    labels = np.repeat(["control", *names], [12] + [cells] * len(names))
    shift = np.concatenate([np.zeros((1, genes)), rng.normal(0, 0.7, (len(names), genes))])
    rows = np.repeat(np.arange(len(names) + 1), [12] + [cells] * len(names))
    x = np.log1p(rng.poisson(np.geomspace(0.5, 5, genes) * np.exp(shift[rows])) * 1.3)
    obs = pd.DataFrame({"target": labels}, index=[str(n) for n in range(len(labels))])
    var = pd.DataFrame(index=[f"gene{g}" for g in range(genes)])
    return anndata.AnnData(sparse.csr_matrix(x), obs=obs, var=var)


def scored(real, predicted, **options):
    given = {"control": "control", "condition_key": "target", "scale": "log1p"}
    return score_cells(real, predicted, **given, **options)


def means(adata):
    frame = pd.DataFrame(adata.X.toarray(), columns=adata.var_names)
    return frame.groupby(adata.obs["target"].to_numpy()).mean()


def effects(values, names=None):
    names = names or [f"p{row}" for row in range(len(values))]
    columns = [f"g{column}" for column in range(len(values[0]))]
    return pd.DataFrame(values, index=names, columns=columns, dtype=float)


def test_every_metric_has_its_table_entries():
    names = set(scored(screen(0), screen(1), training=NAMES[:3]).aggregate)
    assert names == set(METRICS)
    schools = {name.split(".")[1] for name in METRICS}
    assert {"celleval", "perturbench", "systema", "linear", "calibrated"} <= schools
    assert all(metric.label and metric.source for metric in METRICS.values())


def test_a_constant_predictor_gets_a_half_and_the_rest_of_a_tie():
    real = effects(np.random.default_rng(0).normal(0, 1, (9, 12)))
    constant = real * 0 + np.random.default_rng(1).normal(0, 1, 12)
    found = score_effects(real, constant).aggregate
    for kind in ("l1", "l2", "cosine"):
        assert found[f"pds_{kind}.celleval"] == pytest.approx(1 / 2 + 1 / 18, abs=1e-15)
    # Ranks among equal predictions are ties throughout, half of the way.
    assert found["rank.perturbench"] == 0.5
    assert found["centroid_accuracy.systema"] == pytest.approx(0.5)


def test_discrimination_and_rank_are_transposed():
    """Distances between predictions (rows) and real effects: [[1, 0], [3, 2]] on one gene."""
    real, predicted = effects([[1.0], [2.0]]), effects([[2.0], [4.0]])
    table = score_effects(real, predicted).per_perturbation
    # From prediction 0 the other real effect is nearer; from real 1 the other prediction is.
    np.testing.assert_array_equal(table["pds_l1.celleval"], [0.5, 1])
    np.testing.assert_array_equal(table["rank.perturbench"], [0, 1])


def test_the_perturbed_gene_is_left_out_of_discrimination():
    real = effects([[9.0, 0, 1], [0, 0, 5]], ["g0", "g1"])
    predicted = effects([[0.0, 0, 1], [0, 0, 5]], ["g0", "g1"])
    table = score_effects(real, predicted).per_perturbation
    renamed = score_effects(*(frame.set_axis(["a", "b"]) for frame in (real, predicted)))
    for kind in ("l1", "l2", "cosine"):
        # Gene 0 lies 9 off; without it the right effect is the nearest.
        assert table[f"pds_{kind}.celleval"]["g0"] == 1
        assert renamed.per_perturbation[f"pds_{kind}.celleval"]["a"] == 0.5


def test_errors_by_hand():
    real, predicted = effects([[1.0, -1, 0, 2]]), effects([[0.0, 1, 0, 2]])
    control = pd.Series([1.0, 2, 3, 4], index=real.columns)
    table = score_effects(real, predicted, control=control).aggregate
    assert table["mae.celleval"] == 3 / 4 == table["mae_delta.celleval"]
    assert table["mse.celleval"] == 5 / 4 == table["mse_delta.celleval"]
    assert table["rmse.perturbench"] == np.sqrt(5 / 4)
    assert table["l2_top1000.linear"] == np.sqrt(5)
    assert table["edistance.sqeuclid"] == 10
    logs = [
        np.log2((frame.iloc[0] + control + 0.1) / (control + 0.1)) for frame in (real, predicted)
    ]
    cosine = logs[0] @ logs[1] / np.linalg.norm(logs[0]) / np.linalg.norm(logs[1])
    assert table["cosine_logfc.perturbench"] == pytest.approx(cosine)
    expected = np.corrcoef(real.iloc[0], predicted.iloc[0])[0, 1]
    for name in ("pearson_delta.celleval", "pearson_delta_top1000.linear"):
        assert table[name] == pytest.approx(expected)


def test_the_linear_paper_looks_at_expressed_genes_alone():
    rng = np.random.default_rng(0)
    real, predicted = effects(rng.normal(0, 1, (2, 1200))), effects(rng.normal(0, 1, (2, 1200)))
    control = pd.Series(rng.random(1200), index=real.columns)
    before = score_effects(real, predicted, control=control).per_perturbation
    predicted.loc[:, control.sort_values().index[:200]] += 5
    after = score_effects(real, predicted, control=control).per_perturbation
    linear = ["l2_top1000.linear", "pearson_delta_top1000.linear"]
    pd.testing.assert_frame_equal(before[linear], after[linear])
    assert (before["rmse.perturbench"] < after["rmse.perturbench"]).all()


def test_systema_gives_the_training_mean_no_credit():
    real = effects(np.random.default_rng(0).normal(0, 1, (5, 20)))
    training = ["p0", "p2", "p3"]
    reference = real.loc[training].mean()
    guess = real * 0 + reference
    name = "pearson_delta_reference.systema"
    table = score_effects(real, guess, training=training)
    assert table.per_perturbation[name].isna().all() and np.isnan(table.aggregate[name])
    noisy = real + np.random.default_rng(1).normal(0, 1, real.shape)
    found = score_effects(real, noisy, training=training).per_perturbation[name]
    expected = [
        np.corrcoef(real.loc[p] - reference, noisy.loc[p] - reference)[0, 1] for p in real.index
    ]
    np.testing.assert_allclose(found, expected)


def test_centroid_accuracy_knows_perturbations_without_a_prediction():
    real = effects([[0.0], [1.0], [5.0]])
    predicted = effects([[0.6]], ["p0"])
    found = score_effects(real, predicted)
    # p1 is nearer than p0, p2 farther; the calibrated rank looks at scored ones alone.
    assert found.aggregate["centroid_accuracy.systema"] == 0.5
    assert np.isnan(found.aggregate["nir.calibrated"])
    assert found.notes[0] == "2 real perturbations have no prediction: p1, p2"


def test_top20_is_the_welch_statistic_against_control():
    real, predicted = screen(0), screen(1)
    table = scored(real, predicted, training=NAMES[:2]).per_perturbation
    a, b = means(real), means(predicted)
    reference = a.loc[NAMES[:2]].mean()
    dense, labels = real.X.toarray(), real.obs["target"].to_numpy()
    for name in NAMES:
        groups = dense[labels == name], dense[labels == "control"]
        t = np.abs(stats.ttest_ind(*groups, equal_var=False).statistic)
        top = np.argsort(-t)[:20]
        x, y = (side.loc[name] - reference for side in (a, b))
        expected = np.corrcoef(x.iloc[top], y.iloc[top])[0, 1]
        np.testing.assert_allclose(table["pearson_delta_reference_top20.systema"][name], expected)


def test_calibrated_weights_are_those_of_scanpy():
    real, predicted = screen(0), screen(1)
    table = scored(real, predicted).per_perturbation
    perturbed = real[real.obs["target"] != "control"].copy()
    with warnings.catch_warnings():
        # scanpy warns of log1p that it cannot see, and pandas of scanpy.
        warnings.simplefilter("ignore")
        scanpy.tl.rank_genes_groups(perturbed, "target", method="t-test_overestim_var")
    result = perturbed.uns["rank_genes_groups"]
    a, b = means(real), means(predicted)
    base = a.loc[NAMES].mean()
    for name in NAMES:
        t = pd.Series(np.abs(result["scores"][name]), index=result["names"][name])
        t = t.loc[real.var_names].astype(float)
        w = ((t - t.min()) / (t.max() - t.min())) ** 2
        error = (w * (a.loc[name] - b.loc[name]) ** 2).sum()
        np.testing.assert_allclose(table["wmse.calibrated"][name], error / w.sum(), rtol=1e-5)
        delta = a.loc[name] - base
        total = (w * (delta - (w * delta).sum() / w.sum()) ** 2).sum()
        np.testing.assert_allclose(table["r2w.calibrated"][name], 1 - error / total, rtol=1e-4)


def test_weights_of_a_gene_without_spread():
    """Gene 0 differs without any spread, so that it alone has weight."""
    difference = np.array([[2.0, 1.0, 0.0]])
    weights = calibrated._squared_scale(difference, np.array([[0.0, 1.0, 0.0]]))
    np.testing.assert_array_equal(weights, [[1, 0, 0]])


def test_dynamic_range():
    positive, negative = np.array([0.8, 0.1, 0.5, -3]), np.array([0.5, 0.4, 1, 0.9])
    found = calibrated.dynamic_range_fraction(positive, negative, 1.0)
    np.testing.assert_allclose(found, [0.6, -0.5, np.nan, -1])
    # Of an error: (negative - positive) / negative.
    np.testing.assert_allclose(
        calibrated.dynamic_range_fraction(np.ones(1), np.full(1, 4.0), 0.0), [0.75]
    )


def test_interpolated_duplicate():
    found = calibrated.interpolated_duplicate(
        np.array([[2.0, 2.0, 2.0]]), np.array([1.0, 1, 1]), np.array([[0.0, 1.0, 0.25]])
    )
    np.testing.assert_array_equal(found, [[2, 1, 1.75]])


PERFECT = {
    **{name: 1 for name, metric in METRICS.items() if metric.higher_is_better},
    **{name: 0 for name, metric in METRICS.items() if metric.higher_is_better is False},
}


def test_a_copy_is_perfect():
    real = screen(0, cells=20)
    found = scored(real, real.copy(), training=NAMES[:3]).aggregate
    del found["edistance_unbiased.sqeuclid"]
    for name, value in found.items():
        if name in PERFECT:
            assert value == pytest.approx(PERFECT[name], abs=1e-9), name


def test_order_of_cells_and_doubled_predictions():
    real, predicted = screen(0), screen(1)
    options = {"training": NAMES[:3]}
    expected = scored(real, predicted, **options).per_perturbation
    order = np.random.default_rng(0).permutation(real.n_obs)
    shuffled = scored(real[order].copy(), predicted[order].copy(), **options).per_perturbation
    pd.testing.assert_frame_equal(expected, shuffled, rtol=1e-9, atol=1e-12)
    with warnings.catch_warnings():
        # Names of cells that stand twice.
        warnings.simplefilter("ignore")
        twice = anndata.concat([predicted, predicted])
    doubled = scored(real, twice, **options).per_perturbation
    # Tests and corrected distances know the number of cells, everything else their means.
    same = [name for name, metric in METRICS.items() if "differential" not in metric.needs]
    same = [name for name in same if name in expected and "unbiased" not in name]
    pd.testing.assert_frame_equal(expected[same], doubled[same], rtol=1e-9, atol=1e-12)


def test_order_of_genes():
    real, predicted = screen(0), screen(1)
    order = np.random.default_rng(0).permutation(real.n_vars)
    expected = scored(real, predicted, training=NAMES[:3])
    found = scored(real[:, order].copy(), predicted[:, order].copy(), training=NAMES[:3])
    # Equal fold changes are ranked in the order of genes, as by cell-eval.
    kept = [name for name in METRICS if "_at_" not in name and name in expected.per_perturbation]
    pd.testing.assert_frame_equal(
        expected.per_perturbation[kept], found.per_perturbation[kept], rtol=1e-9, atol=1e-12
    )
