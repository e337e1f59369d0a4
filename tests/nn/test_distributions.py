"""Count and mask distributions against NumPyro's, exact sums, automatic derivatives and their own
samples."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats
from scipy.special import softmax

from jaxpert.nn.distributions import (
    MAX_INVERSE_RATE,
    CellNormal,
    LibraryGammaPoisson,
    StraightThroughBernoulli,
    digamma_rising,
    log_rising,
)

CELLS, GENES = 5, 7
RISES = np.array([0, 1, 2, 3, 7, 8, 9, 30, 1000, 100_000])


@pytest.fixture(params=["float64", "float32"])
def precision(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


@pytest.fixture
def close(precision):
    return partial(
        np.testing.assert_allclose,
        **{"float64": {"rtol": 1e-9}, "float32": {"rtol": 2e-5}}[precision],
    )


def numbers(precision: str):
    """(logits [2, B, G], log concentration [2, G], library [2, B], counts [2, B, G]): ordinary
    ones, then ones with rates on both sides of the published bound."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (2, CELLS, GENES))
    log_r = np.stack([np.linspace(-3, 4, GENES)] * 2)
    counts = rng.poisson(np.exp(rng.normal(1, 1.5, (2, CELLS, GENES))))
    counts[:, 0, :3] = 0, 1, 2000
    # The mean of gene -2 is then nearly the library (20 to 2012 counts), so the cells differ in
    # whether they pass.
    logits[1, :, -2] += 8
    log_r[1, -2] = np.log(5e-5)
    return tuple(jnp.asarray(a, precision) for a in (logits, log_r, counts.sum(-1), counts))


def cell_log_prob(logits, log_r, library, x):
    return LibraryGammaPoisson(logits, log_r, library).log_prob(x)


def gene_log_prob(logits, log_r, library, x):
    return LibraryGammaPoisson(logits, log_r, library).gene_log_prob(x)


def slow_log_prob(*arguments):
    return gene_log_prob(*arguments).sum(-1)


def expected_rate(logits, log_r, library):
    return np.maximum(
        np.exp(log_r)[:, None] / (library[..., None] * softmax(logits, -1) + 1e-4), 1e-6
    )


def test_the_published_clamp_is_met_by_some_cells_only():
    """Guards the other tests: their second set of numbers lies on both sides of the bound."""
    with jax.enable_x64(True):
        arguments = numbers("float64")[:3]
        rate = jax.vmap(lambda *a: LibraryGammaPoisson(*a).rate)(*arguments)
    np.testing.assert_allclose(rate, expected_rate(*(np.asarray(a) for a in arguments)), rtol=1e-12)
    hit = np.isclose(rate, 1 / MAX_INVERSE_RATE, rtol=1e-9).sum(1)
    assert 0 < hit[1, -2] < CELLS and hit.sum() == hit[1, -2]


def test_log_mass_is_the_negative_binomials(precision):
    """Against SciPy's mass, gene by gene and summed, and NumPyro's (whose log beta function is good
    to 1e-6)."""
    arguments = numbers(precision)
    by_cell, by_gene = jax.jit(jax.vmap(lambda *a: (cell_log_prob(*a), gene_log_prob(*a))))(
        *arguments
    )
    assert by_cell.dtype == by_gene.dtype == precision
    logits, log_r, library, x = (np.asarray(a, float) for a in arguments)
    rate, r = expected_rate(logits, log_r, library), np.exp(log_r)[:, None]
    expected = stats.nbinom.logpmf(x, r, rate / (1 + rate))
    # The terms that cancel have the size of x ln x.
    tolerance = {"float64": 1e-12, "float32": 5e-6}[precision] * (
        abs(expected) + x * np.log1p(x) + 1
    )
    assert (abs(np.asarray(by_gene) - expected) < tolerance).all()
    assert (abs(np.asarray(by_cell) - expected.sum(-1)) < tolerance.sum(-1)).all()
    with jax.enable_x64(True):
        theirs = np.asarray(
            jax.jit(lambda *a: dist.GammaPoisson(*a[:2]).log_prob(a[2]))(r, rate, x)
        )
    np.testing.assert_allclose(
        by_cell, theirs.sum(-1), rtol=2e-5 if precision == "float32" else 1e-6
    )


def test_hand_written_derivatives_in_both_modes_under_vmap(precision):
    """Over both sets of numbers, and over three particles that share all but the logits."""
    logits, log_r, library, x = numbers(precision)
    logits = logits[:, None] + jnp.asarray([[[0]], [[0.5]], [[-1]]], precision) * jnp.arange(GENES)

    def jacobian(mode, function):
        particles = jax.vmap(mode(function, argnums=(0, 1, 2)), in_axes=(0, None, None, None))
        return jax.vmap(particles)(logits, log_r, library, x)

    backward, forward, automatic = jax.jit(
        lambda: (
            jacobian(jax.jacrev, cell_log_prob),
            jacobian(jax.jacfwd, cell_log_prob),
            jacobian(jax.jacrev, slow_log_prob),
        )
    )()
    rtol, atol = {"float64": (1e-9, 1e-9), "float32": (1e-4, 1e-3)}[precision]
    for own in (backward, forward):
        for got, expected in zip(own, automatic, strict=True):
            assert got.dtype == precision and np.isfinite(got).all()
            np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)


def test_derivatives_are_finite_differences():
    with jax.enable_x64(True):
        *point, x = numbers("float64")
        total = jax.jit(
            jax.value_and_grad(lambda *point: jax.vmap(cell_log_prob)(*point, x).sum(), (0, 1, 2))
        )
        gradients = total(*point)[1]
        rng, step = np.random.default_rng(1), 1e-5
        for _ in range(5):
            direction = [rng.normal(size=a.shape) for a in point]
            ahead, behind = (
                total(
                    *(
                        np.asarray(a) + sign * step * d
                        for a, d in zip(point, direction, strict=True)
                    )
                )[0]
                for sign in (1, -1)
            )
            slope = sum(
                (np.asarray(g) * d).sum() for g, d in zip(gradients, direction, strict=True)
            )
            np.testing.assert_allclose((ahead - behind) / (2 * step), slope, rtol=1e-6)


def test_genes_without_share_or_counts_stay_finite():
    """A logit of -200 underflows to a share of 0: the offset keeps mass and slopes finite."""
    logits, x = jnp.array([[0, -200.0, -200.0]]), jnp.array([[10.0, 0, 3]])
    mass = jax.value_and_grad(lambda *a: cell_log_prob(*a, x).sum(), (0, 1, 2))
    value, slopes = jax.jit(mass)(logits, jnp.array([-8.0, 0, 8]), jnp.array([13.0]))
    assert np.isfinite(value) and all(np.isfinite(s).all() for s in slopes)


def exact_sums(precision: str):
    """(r, sum of ln(r + j), sum of |ln(r + j)|, sum of 1 / (r + j)) over j < x, one row per r, one
    column per x."""
    r = np.logspace(-3, 6, 19).astype(precision).astype(np.longdouble)
    steps = r[:, None] + np.arange(RISES[-1], dtype=np.longdouble)

    def upto(terms):
        return np.pad(np.cumsum(terms, 1), ((0, 0), (1, 0)))[:, RISES].astype(float)

    logs = np.log(steps)
    return r.astype(precision), upto(logs), upto(abs(logs)), upto(1 / steps)


def test_rising_logarithm_and_its_derivative_are_exact_sums(precision):
    r, logs, scale, inverses = exact_sums(precision)
    r, x = jnp.asarray(r)[:, None], jnp.asarray(RISES, precision)
    rtol = {"float64": 1e-11, "float32": 1e-5}[precision]
    value, slope = jax.jit(lambda *a: (log_rising(*a), digamma_rising(*a)))(r, x)
    assert value.dtype == slope.dtype == precision
    value, slope = np.asarray(value, float), np.asarray(slope, float)
    # Logarithms of both signs cancel below r = 1 and vanish at 1, so errors are measured against
    # their sizes.
    assert (abs(value - logs) <= rtol * np.maximum(scale, 1)).all()
    np.testing.assert_allclose(slope, inverses, rtol=rtol)
    np.testing.assert_array_equal(value[:, 0], 0)


def test_digamma_difference_is_the_derivative():
    with jax.enable_x64(True):
        r, x = jnp.logspace(-2, 5, 15)[:, None], jnp.array([1.0, 3, 50, 4000])
        derivative = jax.jit(jax.jacfwd(lambda s: log_rising(r * s, x)))(1.0)
        np.testing.assert_allclose(derivative, r * digamma_rising(r, x), rtol=1e-8)


def test_the_sign_of_the_slope_in_the_dispersion_survives_float32():
    """At r = 1e4 the slope is near (x - (x - m)^2) / (2 r), 1e-4 of the terms that it is made
    of."""
    count = np.array([0, 2, 3, 5, 6, 9, 16])

    def slopes(dtype):
        def mass(log_r, count):
            x = jnp.stack([count, 1000 - count])[None]
            share = jnp.log(jnp.asarray([[4e-3, 1 - 4e-3]], dtype))
            log_r = jnp.stack([log_r, jnp.zeros((), dtype)])
            return cell_log_prob(share, log_r, jnp.asarray([1000.0], dtype), x)[0]

        slope = jax.jit(jax.vmap(jax.grad(mass), (None, 0)))
        return np.asarray(slope(jnp.log(jnp.asarray(1e4, dtype)), jnp.asarray(count, dtype)), float)

    with jax.enable_x64(True):
        exact = slopes("float64")
    np.testing.assert_allclose(exact, (count - (count - 4) ** 2) / 2e4, rtol=0.01)
    got = slopes("float32")
    np.testing.assert_allclose(got, exact, rtol=0.05)
    np.testing.assert_array_equal(np.sign(got), np.sign(exact))


def test_sampled_counts_have_the_stated_moments():
    logits = jnp.array([0.0, 1, 2, -1, 0.5, -6])
    log_r = jnp.log(jnp.array([0.3, 1, 5, 0.8, 200, 2]))
    counts = LibraryGammaPoisson(logits, log_r, jnp.float32(400))
    draws = np.asarray(
        jax.jit(partial(counts.sample, sample_shape=(40_000,)))(jax.random.key(0)), float
    )
    assert draws.shape == (40_000, 6) and (draws >= 0).all() and (draws == np.round(draws)).all()
    mean, variance = np.asarray(counts.mean, float), np.asarray(counts.variance, float)
    np.testing.assert_allclose(mean.sum(), 400 + 6e-4, rtol=1e-6)
    np.testing.assert_array_less(abs(draws.mean(0) - mean), 5 * (variance / 40_000) ** 0.5)
    fourth = ((draws - mean) ** 4).mean(0)
    error = ((fourth - variance**2) / 40_000) ** 0.5
    assert (abs(draws.var(0) - variance) < 6 * error).all()


def test_clamped_rates_are_sampled_as_scored():
    """Beyond the bound the sampled mean is r * 1e6, not the library's share."""
    counts = LibraryGammaPoisson(jnp.zeros(2), jnp.log(jnp.array([1e-4, 1.0])), jnp.float32(2000))
    np.testing.assert_allclose(1 / counts.rate, [1e6, 1000], rtol=1e-4)
    draws = np.asarray(
        jax.jit(partial(counts.sample, sample_shape=(100_000,)))(jax.random.key(1)), float
    )
    for gene, (mean, spread) in enumerate([(100, 1e4), (1000, 1e3)]):
        assert abs(draws[:, gene].mean() - mean) < 5 * spread / 100_000**0.5


def test_mask_samples_are_exact_and_frequent_as_stated(precision):
    logits = jnp.linspace(-6, 6, 9, dtype=precision)
    mask = StraightThroughBernoulli(logits)
    draws = np.asarray(jax.jit(partial(mask.sample, sample_shape=(20_000,)))(jax.random.key(2)))
    assert draws.dtype == precision and set(np.unique(draws)) == {0.0, 1.0}
    p = np.asarray(mask.mean, float)
    assert (abs(draws.mean(0) - p) < 5 * (p * (1 - p) / 20_000) ** 0.5 + 1e-9).all()


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_mask_gradients_are_the_soft_samples(precision, close, temperature):
    logits = jnp.linspace(-3, 3, 11, dtype=precision)
    u = jnp.asarray(np.random.default_rng(3).uniform(0.02, 0.98, 11), precision)

    def sample(logits):
        return StraightThroughBernoulli(logits, temperature).from_noise(u)

    value, slope = jax.jit(lambda logits: jax.jvp(sample, (logits,), (jnp.ones_like(logits),)))(
        logits
    )
    soft = jax.nn.sigmoid((jnp.log(u) - jnp.log1p(-u) + logits) / temperature)
    np.testing.assert_array_equal(value, jnp.round(soft))
    close(slope, soft * (1 - soft) / temperature)

    def log_q(logits):
        # The gradient meets the logit directly and through the sample.
        return StraightThroughBernoulli(logits, temperature).log_prob(sample(logits)).sum()

    close(jax.jit(jax.grad(log_q))(logits), slope * logits + value - jax.nn.sigmoid(logits))


def test_mask_noise_of_zero_and_one_stays_finite(precision):
    mask = StraightThroughBernoulli(jnp.zeros(2, precision))
    u = jnp.array([0, 1], precision)
    np.testing.assert_array_equal(mask.from_noise(u), [0, 1])
    gradient = jax.grad(lambda logits: StraightThroughBernoulli(logits).from_noise(u).sum())(
        jnp.zeros(2, precision)
    )
    assert np.isfinite(gradient).all()


def test_mask_log_mass_is_bernoullis(close, precision):
    logits = jnp.linspace(-30, 30, 13, dtype=precision)
    value = jnp.asarray(np.arange(13) % 2, precision)
    close(
        StraightThroughBernoulli(logits).log_prob(value),
        dist.Bernoulli(logits=logits).log_prob(value),
    )


def cell_normal(slot):
    loc = np.outer(np.arange(6.0), np.ones(4)).astype(np.float32)[slot]
    return CellNormal(jnp.asarray(loc), jnp.asarray(1 + loc), jnp.asarray(slot))


@pytest.mark.parametrize("sample_shape", [(), (3,)])
def test_a_cells_noise_goes_with_its_slot(sample_shape):
    key, slot = jax.random.key(4), np.arange(6)
    whole = cell_normal(slot).sample(key, sample_shape)
    assert whole.shape == (*sample_shape, 6, 4)
    order = np.array([3, 1, 5, 0, 2, 4])
    np.testing.assert_array_equal(
        cell_normal(slot[order]).sample(key, sample_shape), whole[..., order, :]
    )
    halves = [cell_normal(half).sample(key, sample_shape) for half in (slot[:3], slot[3:])]
    np.testing.assert_array_equal(jnp.concatenate(halves, -2), whole)
    assert not np.array_equal(cell_normal(slot).sample(jax.random.key(5), sample_shape), whole)


def test_a_cells_noise_is_standard_normal_and_its_own():
    draws = CellNormal(jnp.zeros((4000, 2)), 1.0, jnp.arange(4000)).sample(jax.random.key(6))
    assert abs(draws.mean()) < 5 / 8000**0.5 and abs(draws.std() - 1) < 5 / 16000**0.5
    assert len(np.unique(draws)) > 0.999 * draws.size


def test_a_cells_density_is_the_normals(close, precision):
    loc = jnp.asarray(np.random.default_rng(7).normal(size=(6, 4)), precision)
    own = CellNormal(loc, jnp.exp(loc), jnp.arange(6)).to_event(1)
    close(own.log_prob(loc * 2), dist.Normal(loc, jnp.exp(loc)).to_event(1).log_prob(loc * 2))
