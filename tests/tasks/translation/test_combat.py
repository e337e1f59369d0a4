import numpy as np
import pytest
from scipy import sparse

from jaxpert.core.types import InputError
from jaxpert.data.counts import row_blocks
from jaxpert.tasks.translation import log_scale
from jaxpert.tasks.translation.combat import (
    CombatReference,
    after_standardising,
    apply_affine,
    combat,
    require_comparable,
    standardised_moments,
)
from jaxpert.tasks.translation.log_scale import (
    LOGNORM,
    GroupMoments,
    fit_log_scale,
    group_moments,
    log_values,
)

BATCHES = np.repeat([0, 1, 2], [80, 50, 30])
EVERY = np.ones(len(BATCHES), bool)
ONE_FILE = np.zeros(len(BATCHES), np.int32)


@pytest.fixture(scope="module")
def counts():
    """40 genes; gene 0 is never seen, gene 1 not in batch 0, and the batches differ in every
    other."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(1.5, 1.0, 40) * rng.lognormal(0, 0.5, (3, 40))
    x = rng.poisson(rate[BATCHES]).astype(np.uint16)
    x[:, 0], x[:80, 1] = 0, 0
    return sparse.csr_matrix(x)


def dense(counts, scale):
    return sparse.csr_matrix(
        (log_values(scale, counts, slice(None)), counts.indices, counts.indptr), counts.shape
    ).toarray()


@pytest.fixture(scope="module")
def fitted(counts):
    scale = fit_log_scale(counts, "log2_cp10k", ONE_FILE, EVERY)
    moments = group_moments(counts, scale, BATCHES, 4, EVERY)
    return dense(counts, scale), moments, combat(moments, 0)


def test_streamed_moments_are_those_of_the_dense_matrix(fitted, monkeypatch, counts):
    y, moments, _ = fitted
    for b in range(3):
        np.testing.assert_allclose(moments.mean[b], y[BATCHES == b].mean(0), rtol=1e-12)
        np.testing.assert_allclose(
            moments.variance[b], y[BATCHES == b].var(0), rtol=1e-10, atol=1e-14
        )
    assert (moments.variance[:, 0] == 0).all() and moments.cells.tolist() == [80, 50, 30, 0]
    monkeypatch.setattr(log_scale, "row_blocks", lambda counts: row_blocks(counts, 300))
    scale = fit_log_scale(counts, "log2_cp10k", ONE_FILE, EVERY)
    small = group_moments(counts, scale, BATCHES, 4, EVERY)
    np.testing.assert_allclose(small.variance, moments.variance, rtol=1e-12)


def test_the_reference_does_not_move_and_the_others_come_to_it(fitted):
    y, moments, fit = fitted
    adjusted = apply_affine(fit.affine, BATCHES, y)
    np.testing.assert_array_equal(adjusted[BATCHES == 0], y[BATCHES == 0])
    before, after = (
        np.abs(values[BATCHES == 1].mean(0) - moments.mean[0])[2:].mean()
        for values in (y, adjusted)
    )
    assert after < 0.2 * before
    spread = adjusted[BATCHES == 1].var(0)[2:] / moments.variance[0, 2:]
    assert 0.8 < np.median(spread) < 1.25


def test_genes_that_do_not_vary_in_the_reference_are_untouched(fitted):
    y, _, fit = fitted
    assert (
        fit.untouched[1:3, :2].all() and not fit.untouched[1:3, 2:].any() and fit.untouched[3].all()
    )
    np.testing.assert_array_equal(apply_affine(fit.affine, BATCHES, y)[:, :2], y[:, :2])


def test_a_batch_without_spread_between_genes_is_untouched():
    moments = GroupMoments(
        np.array([5, 5]), np.array([[0.0, 1, 2], [1, 2, 5]]), np.array([[1.0, 2, 3], [2, 4, 6]])
    )
    fit = combat(moments, 0)
    assert fit.untouched.all() and (fit.affine.scale == 1).all() and (fit.affine.shift == 0).all()
    with pytest.raises(ValueError, match="'absolute' or 'signed'"):
        combat(moments, 0, stopping="sometimes")


def kept(moments, batch=0):
    """The reference batch without its cells."""
    batch_moments = int(moments.cells[batch]), moments.mean[batch], moments.variance[batch]
    return CombatReference(
        "first",
        *batch_moments,
        tuple(f"g{i}" for i in range(moments.mean.shape[1])),
        "given",
        "all",
    )


def test_batches_come_to_a_kept_reference_as_to_one_that_is_there(fitted):
    _, moments, together = fitted
    alone = combat(GroupMoments(*(values[1:] for values in moments)), kept(moments))
    np.testing.assert_allclose(alone.affine.scale, together.affine.scale[1:], rtol=1e-12)
    np.testing.assert_allclose(
        alone.affine.shift, together.affine.shift[1:], rtol=1e-12, atol=1e-12
    )
    np.testing.assert_array_equal(alone.untouched, together.untouched[1:])
    assert np.abs(alone.affine.scale[0] - 1).max() > 0.1  # the first of the new batches moves too


def test_a_shifted_and_scaled_copy_of_a_kept_reference_comes_back(fitted):
    y, moments, _ = fitted
    rng = np.random.default_rng(2)
    a, b = rng.lognormal(0, 0.2, 40), rng.normal(0, 0.5, 40)
    of_copy = GroupMoments(moments.cells[:1], a * moments.mean[:1] + b, a**2 * moments.variance[:1])
    cells, first = a * y[:80] + b, np.zeros(80, int)
    back = apply_affine(combat(of_copy, kept(moments)).affine, first, cells)
    varies = moments.variance[0] > 0
    before, after = (np.abs(values - y[:80])[:, varies].mean() for values in (cells, back))
    assert after < 0.15 * before
    same = combat(GroupMoments(*(values[:1] for values in moments)), kept(moments))
    np.testing.assert_allclose(apply_affine(same.affine, first, y[:80]), y[:80], atol=1e-6)


@pytest.mark.parametrize(
    ("genes", "lognorm", "cells", "text"),
    [
        (
            3,
            "log2_raw",
            "all",
            "'first' was fitted with data.lognorm=given and here it is log2_raw",
        ),
        (3, "given", "controls", "data.combat_cells=all and here it is controls"),
        (
            2,
            "given",
            "all",
            "have 2 genes and the kept ComBat reference 'first' 3, 1 of them missing here .g2.",
        ),
        (
            4,
            "given",
            "all",
            "have 4 genes and the kept ComBat reference 'first' 3, in another order or fewer",
        ),
    ],
)
def test_a_kept_reference_of_another_scale_or_other_genes_is_refused(genes, lognorm, cells, text):
    reference = kept(GroupMoments(np.array([5]), np.ones((1, 3)), np.ones((1, 3))))
    require_comparable(reference, ("g0", "g1", "g2"), "given", "all")
    with pytest.raises(InputError, match=text):
        require_comparable(reference, tuple(f"g{i}" for i in range(genes)), lognorm, cells)


@pytest.mark.parametrize("lognorm", LOGNORM[:3])
def test_the_map_of_means_is_the_mean_of_mapped_cells(counts, lognorm, monkeypatch):
    """With everything fixed, log transform then z-score then ComBat is affine per batch and gene,
    clip included."""
    monkeypatch.setattr(log_scale, "CLIP", 1.0)  # 10 needs more cells than there are here
    file, x = (BATCHES > 0).astype(np.int32), counts
    scale = fit_log_scale(x, lognorm, file, EVERY)
    moments = group_moments(x, scale, BATCHES, 3, EVERY)
    files = np.array([0, 1, 1])
    fitted = combat(standardised_moments(moments, scale, files), 0).affine
    affine = after_standardising(fitted, scale, files)
    total = x.toarray().sum(1, keepdims=True)
    raw = x.toarray() * (1e4 / total if "cp10k" in lognorm else 1.0)
    cells = np.log1p(raw) / (np.log(2) if lognorm.startswith("log2") else 1)
    if lognorm == "ln_cp10k_zscore":
        z = (cells - scale.mean[file]) / scale.std[file]
        assert (z > 1).mean() > 0.01
        cells = np.minimum(z, 1)
    adjusted = apply_affine(fitted, BATCHES, cells)
    drawn = np.random.default_rng(1).integers(80, 130, 50)
    through_means = apply_affine(affine, np.array([1]), dense(x, scale)[drawn].mean(0)[None])[0]
    np.testing.assert_allclose(through_means, adjusted[drawn].mean(0), rtol=1e-9, atol=1e-9)


def test_unknown_transforms_and_cells_of_another_kind_are_refused(counts):
    with pytest.raises(InputError, match="expected one of log2_cp10k, log2_raw"):
        fit_log_scale(counts, "log10", ONE_FILE, EVERY)
    with pytest.raises(InputError, match="expected at least 2 to z-score"):
        fit_log_scale(counts, "ln_cp10k_zscore", (BATCHES > 0).astype(np.int32), BATCHES > 0)
