"""Interaction scores: the library oracles, planted interactions, order, chunks, undefined
values."""

import jax
import numpy as np
import pytest
from sklearn.linear_model import TheilSenRegressor

from jaxpert.core.types import InputError
from jaxpert.evaluation.interactions import subtypes, theil_sen
from jaxpert.evaluation.interactions.distance_correlation import ROWS, distance_correlations
from jaxpert.evaluation.interactions.scores import (
    Scores,
    interaction_scores,
    non_additive_genes,
    score_pairs,
)

N, GENES = 7, 30


@pytest.fixture
def vectors() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, N, GENES))
    return a, b, 0.7 * a + 0.4 * b + 0.3 * rng.normal(size=(N, GENES))


fit_slopes = jax.jit(theil_sen.theil_sen, static_argnames="tolerance")
exact_fits = jax.jit(theil_sen.exact_fits)
correlations = jax.jit(distance_correlations, static_argnums=1)


def slopes(a, b, ab, most=theil_sen.MOST, **options) -> tuple[theil_sen.Fit, theil_sen.Subsets]:
    drawn = theil_sen.subsets(len(a), most)
    with jax.enable_x64(True):
        return jax.device_get(fit_slopes(a, b, ab, tuple(drawn), **options)), drawn


@pytest.mark.parametrize("tolerance", [1e-3, 1e-9])
@pytest.mark.parametrize("most", [10_000, 435, 200])  # of 435 pairs: all, just all, random ones
def test_theil_sen_is_scikit_learns(most, tolerance):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(GENES, 2))
    y = x @ [0.8, -0.3] + rng.standard_t(2, size=GENES)
    oracle = TheilSenRegressor(
        fit_intercept=False, max_subpopulation=most, max_iter=1000, tol=tolerance, random_state=1000
    ).fit(x, y)
    fit, drawn = slopes(x[:, 0], x[:, 1], y, most, tolerance=tolerance)
    np.testing.assert_allclose([fit.c1, fit.c2], oracle.coef_, atol=1e-11)
    assert int(fit.steps) == oracle.n_iter_ + 1 and len(drawn.first) == oracle.n_subpopulation_


def test_genes_that_leave_the_slopes_open_get_the_least_ones():
    a, b = np.array([1.0, 2.0, 0.0]), np.array([2.0, 4.0, 0.0])
    with jax.enable_x64(True):
        c1, c2 = exact_fits(a, b, a, (np.array([0, 0]), np.array([1, 2])))
    np.testing.assert_allclose(np.stack([c1, c2], 1), [[0.2, 0.4], [0.2, 0.4]])
    assert np.linalg.lstsq(np.stack([a, b], 1), a, rcond=None)[0] == pytest.approx([0.2, 0.4])


def test_the_median_stays_where_all_exact_fits_agree():
    x = np.random.default_rng(0).normal(size=(2, GENES))
    fit, _ = slopes(x[0], x[1], x[0] + x[1], tolerance=None)
    assert (float(fit.c1), float(fit.c2)) == pytest.approx((1, 1), abs=1e-12)


def test_one_outlying_gene_moves_theil_sen_little_and_least_squares_much(vectors):
    a, b, _ = (v[0] for v in vectors)
    ab = a + b
    ab[3] += 100
    fit, _ = slopes(a, b, ab, tolerance=None)
    least = np.linalg.lstsq(np.stack([a, b], 1), ab, rcond=None)[0]
    assert np.hypot(fit.c1 - 1, fit.c2 - 1) < 0.02 < 0.5 < np.hypot(*(least - 1))


def plain_distance_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """By the definition, with full matrices."""
    centred = []
    for sample in (x, y):
        d = np.linalg.norm(sample[:, None] - sample[None], axis=-1)
        centred.append(d - d.mean(0) - d.mean(1)[:, None] + d.mean())
    a, b = centred
    return float(np.sqrt((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean())))


PAIRS = (((0, 1), 2), ((0,), 1), ((0,), 2), ((1,), 2), ((0, 1, 2), 2))


@pytest.mark.parametrize("n", [3, ROWS + 1, 48])
def test_distance_correlation_by_its_definition(n):
    rng = np.random.default_rng(n)
    columns = rng.normal(size=(3, n))
    columns[2] += columns[0] ** 2
    columns[0, :2] = columns[0, 0]  # ties
    with jax.enable_x64(True):
        computed = correlations(columns, PAIRS)
    expected = []
    for group, other in PAIRS:
        expected.append(plain_distance_correlation(columns[list(group)].T, columns[other][:, None]))
    np.testing.assert_allclose(computed, expected, atol=1e-10)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_distance_correlation_in_single_precision(vectors, scale):
    a, b, ab = (scale * v[0] + 5 for v in vectors)
    computed = correlations(np.stack([a, b, ab]).astype(np.float32), PAIRS[:2])
    expected = [plain_distance_correlation(np.stack([a, b], 1), ab[:, None])]
    expected.append(plain_distance_correlation(a[:, None], b[:, None]))
    np.testing.assert_allclose(computed, expected, atol=2e-3 if scale < 1 else 2e-5)


def test_a_constant_vector_has_no_correlation(vectors):
    moving, other, both = vectors
    flat = np.full_like(moving, 0.1)
    scores = score_pairs(flat, moving, moving)
    assert np.isnan([scores.dcor_first, scores.dcor_singles, scores.eq_contr]).all()
    assert scores.dcor_second == pytest.approx(1) and np.isfinite(scores.dcor).all()
    nothing = score_pairs(moving, other, 0 * both)
    assert np.isnan([nothing.corr_fit, nothing.dcor]).all() and not nothing.mag.any()


@pytest.mark.parametrize("options", [{"chunk": 3}, {"chunk": 5, "together": 2}])
def test_chunks_change_nothing(vectors, options):
    whole, parts = score_pairs(*vectors), score_pairs(*vectors, **options)
    for name, at_once, in_chunks in zip(Scores._fields, whole, parts, strict=True):
        assert at_once.shape == (N,) and at_once.dtype == np.float64
        np.testing.assert_allclose(at_once, in_chunks, rtol=1e-10, err_msg=name)


def test_the_order_of_the_two_changes_only_names(vectors):
    a, b, ab = vectors
    in_order, turned = score_pairs(a, b, ab)._asdict(), score_pairs(b, a, ab)._asdict()
    swapped = {"c1": "c2", "c2": "c1", "dcor_first": "dcor_second", "dcor_second": "dcor_first"}
    for name, values in in_order.items():
        np.testing.assert_allclose(
            values, turned[swapped.get(name, name)], rtol=1e-10, err_msg=name
        )


def test_scores_are_free_of_the_scale_of_effects(vectors):
    in_log2, in_ln = score_pairs(*vectors), score_pairs(*(v / np.log(2) for v in vectors))
    for name, values, scaled in zip(Scores._fields, in_log2, in_ln, strict=True):
        np.testing.assert_allclose(values, scaled, rtol=1e-9, err_msg=name)


def test_single_precision_is_near(vectors):
    double, single = score_pairs(*vectors), score_pairs(*vectors, precision="float32")
    for name in set(Scores._fields) - {"dominance"}:
        np.testing.assert_allclose(
            getattr(single, name), getattr(double, name), atol=5e-3, err_msg=name
        )


def test_scores_vmap_and_jit(vectors):
    drawn = theil_sen.subsets(GENES)
    batched = jax.jit(jax.vmap(interaction_scores, in_axes=(0, 0, 0, None)))
    scores = batched(*(v.astype(np.float32) for v in vectors), tuple(drawn))
    expected = score_pairs(*vectors, precision="float32")
    np.testing.assert_allclose(scores.mag, expected.mag, atol=1e-4)


def test_dominance_of_opposite_slopes_is_undefined(vectors):
    a, b, _ = vectors
    assert np.isnan(score_pairs(a, b, a - b).dominance).all()
    np.testing.assert_allclose(score_pairs(a, b, 10 * a + b).dominance, 1, atol=1e-6)


def test_planted_interactions_are_called_what_they_are(vectors):
    a, b, _ = vectors
    rng = np.random.default_rng(3)
    planted = {
        "synergy": (a, b, 2 * a + 2 * b),
        "suppression": (a, b, 0.3 * a + 0.3 * b),
        "neomorphism": (a, b, a + b + 3 * rng.normal(size=a.shape)),
        "redundancy": (a, a + 0.05 * b, a),
        "epistasis": (a, 0.01 * b + np.sin(40 * a), a),
    }
    for name, (first, second, both) in planted.items():
        members = subtypes.members(score_pairs(first, second, both, tolerance=None)._asdict())
        if name == "epistasis":  # chance correlations of few genes alone exceed the threshold
            members = {name: score_pairs(first, second, both).eq_contr < 0.55}
        assert members[name].mean() > 0.7, name


def test_an_exactly_additive_pair_without_noise_counts_as_synergy(vectors):
    """The published thresholds suit measured effects: see RULES."""
    a, b, _ = vectors
    scores = score_pairs(a, b, a + b)
    np.testing.assert_allclose(scores.mag, np.sqrt(2), atol=1e-9)
    assert subtypes.labels(scores._asdict())[0].startswith("synergy")


def test_non_additive_genes(vectors):
    a, b, _ = vectors
    both = a + b
    both[:, [4, 9]] += [5, -7]
    genes = non_additive_genes(a, b, both, 2)
    assert (genes == [9, 4]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a, b, ab: (a[:, :2], b[:, :2], ab[:, :2]),
            "on 2 genes, expected at least 1 pair and 3 genes",
        ),
        (lambda a, b, ab: (a[:0], b[:0], ab[:0]), "0 pairs"),
        (
            lambda a, b, ab: (a, b, np.where(np.arange(N)[:, None] == 2, np.nan, ab)),
            "1 of 7 pairs .* number 2",
        ),
    ],
)
def test_vectors_that_cannot_be_scored(vectors, change, message):
    with pytest.raises(InputError, match=message):
        score_pairs(*change(*vectors))


@pytest.mark.parametrize("options", [{"fit": "spearman"}, {"precision": "bfloat16"}])
def test_options_that_are_unknown(vectors, options):
    with pytest.raises(
        InputError, match="expected fit to be one of pearson, distance and precision"
    ):
        score_pairs(*vectors, **options)


def table(mag, fit=0.95) -> dict[str, np.ndarray]:
    mag = np.asarray(mag, float)
    return {
        "mag": mag,
        "corr_fit": np.full(len(mag), fit),
        "dcor": 0 * mag,
        "eq_contr": 0 * mag + 1,
    }


def test_labels():
    scores = table([1.2, 0.5, 1.1, np.nan, 1.4])
    scores["corr_fit"][0] = 0.5
    assert subtypes.labels(scores) == [
        "synergy, neomorphism",
        "suppression",
        "additive",
        "none",
        "synergy",
    ]


def test_the_most_extreme_come_first_and_undefined_last():
    scores = table([1.0, np.nan, 3.0, 2.0])
    assert subtypes.most_extreme(scores, "synergy").tolist() == [2, 3, 0, 1]
    assert subtypes.most_extreme(scores, "suppression", 2).tolist() == [0, 3]


def test_agreement_without_any_pair_of_a_subtype():
    true, predicted = table(np.linspace(0.5, 1, 20)), table(np.linspace(1, 1.1, 20))
    agreement = subtypes.agreement(true, predicted, "synergy")
    assert (
        agreement.precision == 0
        and np.isnan(agreement.recall)
        and agreement.true == agreement.predicted == 0
    )
    assert subtypes.agreement(true, true, "suppression").top_10_accuracy == 1


def test_chance_is_that_of_drawing_pairs_blindly():
    true = table(np.r_[np.full(30, 1.5), np.full(70, 1.0)] + 1e-6 * np.arange(100))
    chance = subtypes.by_chance(true, "synergy")
    assert chance.precision_at_10[0] == pytest.approx(0.3, abs=0.02)
    assert chance.top_10_accuracy[0] == pytest.approx(0.1, abs=0.02)
    assert chance.precision_at_10[1] < 0.3 < chance.precision_at_10[2]
    with pytest.raises(InputError, match="random sets of 10 were asked of 3 pairs"):
        subtypes.by_chance(table([1, 2, 3]), "synergy")


def test_an_unknown_subtype_lists_the_known_ones():
    with pytest.raises(
        InputError, match="no interaction sub-type 'lethal', expected one of synergy, suppression"
    ):
        subtypes.agreement(table([1]), table([1]), "lethal")
