"""Scores of predicted rows, against SciPy, scikit-learn and examples worked by hand."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from jaxpert.evaluation import differential
from jaxpert.evaluation.pseudobulk import Pseudobulk
from jaxpert.tasks.translation import metrics as cyc
from jaxpert.tasks.translation.baselines import line_profiles


def pairs(rows=6, genes=30, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    start = rng.gamma(2, size=(rows, genes))
    target = start + rng.normal(0, 0.5, start.shape)
    predicted = 0.7 * target + 0.3 * start + rng.normal(0.2, 0.3, start.shape)
    return cyc.Comparison(*(side.astype(dtype) for side in (predicted, target, start)))


def reference(predicted, target, start):
    """Scores of one row by other people's code."""
    r = stats.pearsonr(predicted, target)[0]
    change = stats.pearsonr(predicted - start, target - start)[0]
    errors = mean_absolute_error(target, predicted), mean_squared_error(target, predicted)
    return dict(
        zip(cyc.METRICS, (r**2, r, r2_score(target, predicted), *errors, change), strict=True)
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_are_scored_as_by_scipy_and_sklearn(dtype):
    given = pairs(dtype=dtype)
    got = cyc.row_scores(given)
    for i, row in enumerate(zip(*given, strict=True)):
        expected = reference(*(side.astype(np.float64) for side in row))
        assert {name: values[i] for name, values in got.items()} == pytest.approx(
            expected, rel=1e-9
        )
    assert set(got) == set(cyc.METRICS)


def test_gene_sets_are_each_groups_own():
    given = pairs()
    table = np.array([[3, 1, 7, 2], [9, 8, 0, 4], [5, 6, 1, -1]])
    group = np.array([0, 1, 1, 0, 2, 1])
    got = cyc.score(given, group, {"all": None, "top4": table})
    assert got["all"]["mse"] == pytest.approx(cyc.row_scores(given)["mse"])
    for i in (0, 1, 5):
        genes = table[group[i]]
        expected = reference(*(side[i, genes] for side in given))
        assert {name: values[i] for name, values in got["top4"].items()} == pytest.approx(expected)
    assert all(np.isnan(values[4]) for values in got["top4"].values())


def test_constant_rows_are_undefined_but_have_errors():
    given = pairs(3)
    given.predicted[0], given.target[1] = 0.1, 0.7
    given.start[2] = given.target[2] + 1
    got = cyc.row_scores(given)
    undefined = {
        name: np.flatnonzero(~np.isfinite(values)).tolist() for name, values in got.items()
    }
    assert undefined == {
        "r2": [0, 1],
        "r": [0, 1],
        "r2_det": [1],
        "mae": [],
        "mse": [],
        "change_r": [2],
    }
    assert got["mae"][0] == pytest.approx(np.abs(0.1 - given.target[0]).mean())


def test_signs_are_told_apart():
    given = pairs(2)
    got = cyc.row_scores(given._replace(predicted=-given.target))
    assert (
        got["r2"] == pytest.approx([1, 1])
        and got["r"] == pytest.approx([-1, -1])
        and (got["r2_det"] < 0).all()
    )


def test_top_genes_come_from_training_cells_of_the_own_line():
    rng = np.random.default_rng(0)
    cells, line = rng.normal(5, 1, (4, 40, 150)), np.array([0, 0, 1, 1])
    cells[1, :, :20] += 3  # group 1 against control 0, group 3 against control 2
    cells[3, :, 100:] -= 3
    moments = Pseudobulk(
        cells.mean(1), np.array([40, 40, 40, 1]), np.zeros(4, int), cells.var(1, ddof=1)
    )
    ranking = differential.rank(moments, np.array([0, 0, 2, 2]))
    sets = cyc.gene_sets(ranking)
    assert (
        sets["all"] is None and sets["top20"].shape == (4, 20) and sets["top100"].shape == (4, 100)
    )
    assert set(sets["top20"][1]) == set(range(20))
    assert (sets["top20"][[0, 2, 3]] == -1).all(), "controls, and a single cell"
    assert line.tolist() == [0, 0, 1, 1]


def test_tables_average_the_pairs_of_a_line():
    given, line = pairs(), np.array([0, 1, 0, 1, 1, 2])
    given.predicted[3] = 1.0
    scores = cyc.score(given, line, {"all": None})
    table = cyc.by_line(scores, line, ["K562", "LP1", "MM1.S", "NALM6"])
    assert table["K562"]["all"]["r2"] == pytest.approx(scores["all"]["r2"][[0, 2]].mean())
    assert table["LP1"]["all"]["r2"] == pytest.approx(scores["all"]["r2"][[1, 4]].mean())
    assert table["LP1"]["all"]["mse"] == pytest.approx(scores["all"]["mse"][[1, 3, 4]].mean())
    assert [table[name]["pairs"] for name in table] == [2, 3, 1, 0]
    assert table["LP1"]["all"]["undefined"] == 1 and np.isnan(table["NALM6"]["all"]["r2"])


def test_blocks_add_up_to_the_whole():
    given, group = pairs(rows=9), np.array([0, 1, 1, 0, 3, 1, 0, 3, 3])
    sums, scores = cyc.empty_sums(4, 30), []
    for part in (slice(0, 4), slice(4, 5), slice(5, 9)):
        block = cyc.Comparison(*(side[part] for side in given))
        sums = cyc.add(sums, block, group[part])
        scores.append(cyc.score(block, group[part], {"all": None}))
    whole = cyc.score(given, group, {"all": None})["all"]
    joined = cyc.join(scores)["all"]
    assert all(joined[name] == pytest.approx(values) for name, values in whole.items())
    mean = cyc.means(sums)
    for values, rows in zip(mean, given, strict=True):
        assert values[1] == pytest.approx(rows[[1, 2, 5]].mean(0))
        assert np.isnan(values[2]).all() and np.isfinite(values[[0, 1, 3]]).all()
    level = cyc.row_scores(mean)
    assert np.isnan(level["r2"][2])
    assert level["r2"][3] == pytest.approx(
        np.corrcoef(mean.predicted[3], mean.target[3])[0, 1] ** 2
    )


def test_profiles_are_means_of_the_trained_groups_of_a_line():
    given, line = pairs(), np.array([0, 0, 1, 1, 2, 2])
    trained = np.array([True, True, True, False, False, False])
    profiles = line_profiles(given.target, line, 3, trained)
    assert profiles[0] == pytest.approx(given.target[:2].mean(0))
    assert profiles[1] == pytest.approx(given.target[2]) and np.isnan(profiles[2]).all()


def test_the_triangle_and_what_noise_passes():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(4, 2000))
    start -= start.mean(1, keepdims=True)
    change = 0.3 * rng.normal(size=start.shape)
    target = start + change
    noise = rng.normal(size=2000)
    noise -= start[2] * (noise @ start[2]) / (start[2] @ start[2])
    predicted = np.stack([target[0], start[1], noise, start[3] - change[3]])
    triangles = cyc.triangle(cyc.Comparison(predicted, target, start))
    r2 = (
        stats.pearsonr(target[2], predicted[2])[0] ** 2,
        stats.pearsonr(start[2], predicted[2])[0] ** 2,
    )
    assert (triangles.output_target[2], triangles.output_start[2]) == pytest.approx(r2)
    assert triangles.start_target[2] == pytest.approx(stats.pearsonr(target[2], start[2])[0] ** 2)
    assert triangles.nearer_target.tolist() == [True, False, True, False]
    assert triangles.beats_copying.tolist() == [True, False, False, False], (
        "noise passes the published check only"
    )
    assert (
        triangles.change_r[0] == pytest.approx(1)
        and np.isnan(triangles.change_r[1])
        and triangles.change_r[3] < -0.99
    )
    table = cyc.triangle_table(triangles, np.array([0, 0, 1, 1]), ["MED30", "TTK"])
    assert (
        table["MED30"]["passed"] == 0.5
        and table["TTK"]["passed"] == 0
        and table["TTK"]["nearer_target"] == 0.5
    )
    assert table["MED30"]["output_target"] == pytest.approx(triangles.output_target[:2].mean())


def test_mixing_of_predicted_and_real_rows():
    rng = np.random.default_rng(0)
    real, predicted = rng.normal(size=(300, 3)), rng.normal(size=(300, 3))
    dose = np.repeat([10.0, 100.0, 1000.0], 100)
    predicted[dose == 100] += 50
    got = cyc.label_mixing(predicted, real, dose, dose)
    assert got["10.0"]["mixing"] == pytest.approx(1, abs=0.15) and got["100.0"]["mixing"] < 1e-9
    few = cyc.label_mixing(predicted[:101], real, dose[:101], dose)
    assert set(few) == {"10.0"}


def test_signals_rank_genes():
    given = pairs(rows=5)
    a, b = given.predicted, given.start
    assert cyc.signal(a, b) == pytest.approx(a.mean(0) - b.mean(0))
    a[:, 0], b[:, 0], a[:, 1], b[:, 1] = 2.0, 1.0, 0.0, 0.0
    got = cyc.signal(a, b, "signal_to_noise")
    assert got[:2] == pytest.approx([1 / 0.6, 0])
    spreads = a.std(0, ddof=1), b.std(0, ddof=1)
    noisy = np.flatnonzero(
        (spreads[0] > 0.2 * np.abs(a.mean(0))) & (spreads[1] > 0.2 * np.abs(b.mean(0)))
    )
    expected = (a.mean(0) - b.mean(0))[noisy] / (spreads[0] + spreads[1])[noisy]
    assert len(noisy) > 5 and got[noisy] == pytest.approx(expected)
    with pytest.raises(ValueError, match="kind is 'ratio'"):
        cyc.signal(a, b, "ratio")
