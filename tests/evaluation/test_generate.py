"""Streamed moments equal the plain ones; generated cells have the asked shape, order and
library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert.core.types import Model
from jaxpert.evaluation.generate import effect_intervals, generated_counts, predicted_means

KEY = jax.random.key(0)


def naive(toys, model, rows, particles, library=40.0):
    """All cells at once: log2 values [P, R, G], NaN for cells without counts."""
    keys = jax.random.split(KEY, particles)
    draws = jax.jit(
        jax.vmap(lambda k: model.predict(toys.params, {}, k, toys.request(rows, library)))
    )(keys)
    x = np.asarray(draws, np.float64)
    with np.errstate(invalid="ignore"):
        return np.log2(1 + 1e4 * x / x.sum(-1, keepdims=True))


@pytest.mark.parametrize("budget", [1, 48, 2**20])
def test_streaming_equals_all_cells_at_once(toys, budget):
    model = toys.counts
    got = predicted_means(model, toys.params, {}, KEY, toys.request(4), particles=23, budget=budget)
    if budget >= 4 * toys.GENES:  # the rows are one block, so that the noise is the same
        y = naive(toys, model, 4, 23)
        np.testing.assert_allclose(got.mean, y.mean(0), rtol=2e-5)
        np.testing.assert_allclose(got.sd, y.std(0, ddof=1), rtol=2e-4)
    np.testing.assert_array_equal(got.cells, 23)


def test_blocks_of_rows_share_the_globals_of_a_particle(toys):
    """A model without noise of its own rows gives the same whatever the blocks."""

    def predict(params, state, key, request):
        return jnp.exp(request.treatment @ params["effect"] + jax.random.normal(key, (toys.GENES,)))

    model = Model(init=None, loss=None, predict=predict)
    whole, blocks = (
        predicted_means(model, toys.params, {}, KEY, toys.request(7), particles=11, budget=b)
        for b in (2**20, 3 * toys.GENES)
    )
    np.testing.assert_allclose(blocks.mean, whole.mean, rtol=1e-5)
    np.testing.assert_allclose(blocks.sd, whole.sd, rtol=1e-4)


def test_cells_without_counts_are_excluded(toys):
    y = naive(toys, toys.counts, 4, 200, library=1.5)
    got = predicted_means(toys.counts, toys.params, {}, KEY, toys.request(4, 1.5), particles=200)
    np.testing.assert_array_equal(got.cells, np.isfinite(y[..., 0]).sum(0))
    assert (got.cells < 200).all()
    np.testing.assert_allclose(got.mean, np.nanmean(y, 0), rtol=1e-4)
    none = predicted_means(toys.counts, toys.params, {}, KEY, toys.request(2, 0.0), particles=3)
    assert np.isnan(none.mean).all() and not none.cells.any()


def test_a_diverged_model_shows(toys):
    bad = toys.params | {"base": jnp.full(toys.GENES, jnp.nan)}

    def predict(params, state, key, request):
        return request.library[:, None] * params["base"]

    model = Model(init=None, loss=None, predict=predict)
    assert np.isnan(predicted_means(model, bad, {}, KEY, toys.request(2), particles=2).mean).all()
    with pytest.raises(ValueError, match="diverged"):
        generated_counts(model, bad, {}, KEY, toys.request(2), cells_per_row=2)


def test_effects_are_relative_to_the_control_row_with_an_honest_error(toys):
    model, repeats = toys.counts, []
    for seed in range(30):
        got = effect_intervals(
            model,
            toys.params,
            {},
            jax.random.key(seed),
            toys.request(4),
            control=0,
            particles=100,
            groups=10,
        )
        assert not got.effect[0].any() and not got.error[0].any()
        repeats.append(got)
    spread = np.std([r.effect[1:] for r in repeats], axis=0, ddof=1).mean()
    stated = np.mean([r.error[1:] for r in repeats])
    assert stated == pytest.approx(spread, rel=0.25)
    same = predicted_means(
        model, toys.params, {}, jax.random.key(29), toys.request(4), particles=100
    )
    np.testing.assert_allclose(repeats[-1].moments.mean, same.mean, rtol=1e-5)


def test_groups_must_be_equal(toys):
    with pytest.raises(ValueError, match="equal groups"):
        effect_intervals(
            toys.counts, toys.params, {}, KEY, toys.request(4), control=0, particles=50, groups=20
        )


def test_deterministic_models_are_asked_once_or_once_per_control_cell(toys):
    cells = jnp.array(np.random.default_rng(0).poisson(3, (5, toys.GENES)) + 1.0)
    given = toys.request(4)._replace(control=jnp.tile(cells[:1], (4, 1)))
    one = predicted_means(toys.shifting, toys.params, {}, KEY, given)
    np.testing.assert_array_equal(one.cells, 1)
    many = effect_intervals(toys.shifting, toys.params, {}, KEY, given, control=0, controls=cells)
    np.testing.assert_array_equal(many.moments.cells, 5)
    y = np.log2(1 + 1e4 * cells / cells.sum(1, keepdims=True))
    np.testing.assert_allclose(many.moments.mean[0], y.mean(0), rtol=1e-5)
    np.testing.assert_allclose(
        many.effect[1:], np.asarray(toys.params["effect"]) / np.log(2), atol=1e-5
    )
    assert not many.error.any()


@pytest.mark.parametrize("budget", [1, 2**20])
def test_generated_counts_come_cell_by_cell_with_the_asked_library(toys, budget):
    rows = toys.request(3)._replace(library=jnp.array([20.0, 200.0, 2000.0]))
    counts = generated_counts(
        toys.counts, toys.params, {}, KEY, rows, cells_per_row=50, budget=budget
    )
    assert counts.shape == (150, toys.GENES) and counts.dtype == np.int32
    totals = np.asarray(counts.sum(1)).reshape(50, 3).mean(0)
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


def test_a_large_request_is_never_whole_in_memory(toys):
    """200 rows x 3,000 genes x 1,000 particles would be 2.4 GB: the compiled program needs a
    fraction of that."""
    from jaxpert.evaluation.generate import _block_sizes, _padded, _stream

    genes, rows, particles = 3000, 200, 1000

    def predict(params, state, key, request):
        return jnp.exp(jax.random.normal(key, (len(request.library), genes)))

    model = Model(init=None, loss=None, predict=predict)
    ask = toys.request(rows)
    block, chunk = _block_sizes(model, {}, {}, ask, particles, 2**20)
    keep, order = _padded(particles, chunk)
    keys = jax.random.split(KEY, particles)[order]
    compiled = _stream.lower(
        predict, "counts", block, {}, {}, keys, order, keep, ask, None
    ).compile()
    assert block * chunk * genes <= 2**20
    assert compiled.memory_analysis().temp_size_in_bytes < 64e6
