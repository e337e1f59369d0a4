"""Streamed moments equal the plain ones; generated cells have the asked shape, order and
library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert.core.types import Model
from jaxpert.evaluation import generate, row_blocks
from jaxpert.evaluation.generate import effect_intervals, generated_counts

KEY = jax.random.key(0)
PARTICLES = 24


def moments(toys, model, request, particles=PARTICLES, params=None):
    """Of the generated cells, drawn in two groups."""
    params = toys.params if params is None else params
    effects = effect_intervals(model, params, {}, KEY, request, particles=particles, groups=2)
    return effects.moments


def all_at_once(toys, library, particles=PARTICLES):
    """Four rows in one program: log2 values [P, R, G], NaN for cells without counts."""
    predict = jax.vmap(toys.counts.predict, in_axes=(None, None, 0, None))
    keys = jax.random.split(KEY, particles)
    x = np.asarray(jax.jit(predict)(toys.params, {}, keys, toys.request(4, library)), np.float64)
    with np.errstate(invalid="ignore"):
        return np.log2(1 + 1e4 * x / x.sum(-1, keepdims=True))


@pytest.mark.parametrize("budget", [1, 48, 2**20])
def test_streaming_equals_all_cells_at_once(toys, budget, monkeypatch):
    monkeypatch.setattr(row_blocks, "BUDGET", budget)
    got = moments(toys, toys.counts, toys.request(4))
    if budget >= 4 * toys.GENES:  # the rows are one block, so that the noise is the same
        y = all_at_once(toys, 40.0)
        np.testing.assert_allclose(got.mean, y.mean(0), rtol=2e-5)
        np.testing.assert_allclose(got.sd, y.std(0, ddof=1), rtol=2e-4)
    np.testing.assert_array_equal(got.cells, PARTICLES)


def test_blocks_of_rows_share_the_globals_of_a_particle(toys, monkeypatch):
    """A model without noise of its own rows gives the same whatever the blocks."""

    def predict(params, state, key, request):
        return jnp.exp(request.treatment @ params["effect"] + jax.random.normal(key, (toys.GENES,)))

    model = Model(init=None, loss=None, predict=predict)
    whole = moments(toys, model, toys.request(7))
    monkeypatch.setattr(row_blocks, "BUDGET", 3 * toys.GENES)
    blocks = moments(toys, model, toys.request(7))
    np.testing.assert_allclose(blocks.mean, whole.mean, rtol=1e-5)
    np.testing.assert_allclose(blocks.sd, whole.sd, rtol=1e-4)


def test_cells_without_counts_are_excluded(toys):
    got = moments(toys, toys.counts, toys.request(4, 1.5), particles=200)
    y = all_at_once(toys, 1.5, particles=200)
    np.testing.assert_array_equal(got.cells, np.isfinite(y[..., 0]).sum(0))
    assert (got.cells < 200).all()
    np.testing.assert_allclose(got.mean, np.nanmean(y, 0), rtol=1e-4)
    none = moments(toys, toys.counts, toys.request(4, 0.0))
    assert np.isnan(none.mean).all() and not none.cells.any()


def test_a_diverged_model_shows(toys):
    bad = toys.params | {"base": jnp.full(toys.GENES, jnp.nan)}
    assert np.isnan(moments(toys, toys.counts, toys.request(4), params=bad).mean).all()
    with pytest.raises(ValueError, match="diverged"):
        generated_counts(toys.counts, bad, {}, KEY, toys.request(3), cells_per_row=40)


def test_effects_are_relative_to_the_control_row_with_an_honest_error(toys):
    repeats = []
    for seed in range(30):
        key, request = jax.random.key(seed), toys.request(4)
        got = effect_intervals(toys.counts, toys.params, {}, key, request, particles=100, groups=10)
        assert not got.effect[0].any() and not got.error[0].any()
        np.testing.assert_allclose(got.effect, got.moments.mean - got.moments.mean[0], atol=1e-12)
        repeats.append(got)
    spread = np.std([r.effect[1:] for r in repeats], axis=0, ddof=1).mean()
    stated = np.mean([r.error[1:] for r in repeats])
    assert stated == pytest.approx(spread, rel=0.25)
    whole = effect_intervals(toys.counts, toys.params, {}, key, request, particles=100, groups=2)
    np.testing.assert_allclose(repeats[-1].moments.mean, whole.moments.mean, rtol=1e-5)


def test_groups_must_be_equal(toys):
    with pytest.raises(ValueError, match="equal groups"):
        effect_intervals(
            toys.counts, toys.params, {}, KEY, toys.request(4), particles=50, groups=20
        )


def test_deterministic_models_are_asked_once_or_once_per_control_cell(toys):
    cells = np.random.default_rng(0).poisson(3, (5, toys.GENES)).astype(np.float32) + 1
    given = toys.request(4)._replace(control=jnp.asarray(np.tile(cells[:1], (4, 1))))
    single = effect_intervals(toys.shifting, toys.params, {}, KEY, given)
    np.testing.assert_array_equal(single.moments.cells, 1)
    many = effect_intervals(toys.shifting, toys.params, {}, KEY, given, controls=jnp.asarray(cells))
    np.testing.assert_array_equal(many.moments.cells, 5)
    y = np.log2(1 + 1e4 * cells / cells.sum(1, keepdims=True))
    np.testing.assert_allclose(many.moments.mean[0], y.mean(0), rtol=1e-5)
    np.testing.assert_allclose(
        many.effect[1:], np.asarray(toys.params["effect"]) / np.log(2), atol=1e-5
    )
    assert not many.error.any()


@pytest.mark.parametrize("budget", [1, 2**20])
def test_generated_counts_come_cell_by_cell_with_the_asked_library(toys, budget, monkeypatch):
    monkeypatch.setattr(row_blocks, "BUDGET", budget)
    rows = toys.request(3)._replace(library=jnp.array([20.0, 200.0, 2000.0]))
    counts = generated_counts(toys.counts, toys.params, {}, KEY, rows, cells_per_row=40)
    assert counts.shape == (120, toys.GENES) and counts.dtype == np.int32
    totals = np.asarray(counts.sum(1)).reshape(40, 3).mean(0)
    np.testing.assert_allclose(totals, [20, 200, 2000], rtol=0.1)


def test_libraries_are_resampled(toys):
    libraries = np.array([10.0, 10_000.0])
    counts = generated_counts(
        toys.counts, toys.params, {}, KEY, toys.request(3), cells_per_row=40, libraries=libraries
    )
    totals = np.asarray(counts.sum(1)).ravel()
    assert 0.3 < (totals > 1000).mean() < 0.7 and ((totals < 40) | (totals > 9000)).all()


def test_means_cannot_be_generated_from(toys):
    with pytest.raises(ValueError, match="predicts means"):
        generated_counts(toys.shifting, toys.params, {}, KEY, toys.request(3))


def test_a_large_request_is_never_whole_in_memory(toys, monkeypatch):
    """256 rows x 3,000 genes x 1,000 particles would be 3 GB: the compiled program needs a
    fraction of that."""
    genes, particles = 3000, 1000

    def predict(params, state, key, request):
        return jnp.exp(jax.random.normal(key, (len(request.library), genes)))

    model = Model(init=None, loss=None, predict=predict)
    request = toys.request(256)
    monkeypatch.setattr(row_blocks, "BUDGET", 2**20)
    rows, chunk = row_blocks.block_sizes(model, {}, {}, request, particles)
    assert rows * chunk * genes <= 2**20
    keep, order = row_blocks.padded_order(particles, chunk)
    drawn = generate.Particles(jax.random.split(KEY, particles)[order], order, keep)
    lowered = generate.streamed_sums.lower(predict, "counts", rows, {}, {}, drawn, request, None)
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 64e6
