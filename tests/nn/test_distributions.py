"""Count and mask distributions against NumPyro's, exact sums, automatic derivatives and their own
samples."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats
from scipy.special import expit, softmax

from jaxpert.nn.distributions import (
    MAX_INVERSE_RATE,
    CellNormal,
    LibraryGammaPoisson,
    StraightThroughBernoulli,
    digamma_rising,
    log_rising,
)
from support.densities import gene_log_prob

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
    return tuple(a.astype(precision) for a in (logits, log_r, counts.sum(-1), counts))


def cell_log_prob(logits, log_r, library, x):
    logits, log_r, library, x = map(jnp.asarray, (logits, log_r, library, x))
    return LibraryGammaPoisson(logits, log_r, library).log_prob(x)


def gene_log_probs(logits, log_r, library, x):
    logits, log_r, library, x = map(jnp.asarray, (logits, log_r, library, x))
    return gene_log_prob(LibraryGammaPoisson(logits, log_r, library), x)


def slow_log_prob(*arguments):
    return gene_log_probs(*arguments).sum(-1)


def expected_rate(logits, log_r, library):
    return np.maximum(
        np.exp(log_r)[:, None] / (library[..., None] * softmax(logits, -1) + 1e-4), 1e-6
    )


def test_log_mass_is_the_negative_binomials(precision):
    """Against SciPy's mass, gene by gene and summed, and NumPyro's (whose log beta function is good
    to 1e-6)."""
    arguments = numbers(precision)
    logits, log_r, library, x = (np.asarray(a, float) for a in arguments)
    rate, r = expected_rate(logits, log_r, library), np.exp(log_r)[:, None]

    @jax.jit
    def run(arguments, r, rate):
        def both(*arguments):
            counts = LibraryGammaPoisson(*arguments[:3])
            return cell_log_prob(*arguments), gene_log_probs(*arguments), counts.rate

        theirs = dist.GammaPoisson(r, rate).log_prob(arguments[3])
        return *jax.vmap(both)(*arguments), theirs

    by_cell, by_gene, rates, theirs = run(arguments, r.astype(precision), rate.astype(precision))
    assert by_cell.dtype == by_gene.dtype == precision
    expected = stats.nbinom.logpmf(x, r, rate / (1 + rate))
    # The terms that cancel have the size of x ln x.
    rtol = {"float64": 1e-12, "float32": 5e-6}[precision]
    tolerance = rtol * (abs(expected) + x * np.log1p(x) + 1)
    assert (abs(np.asarray(by_gene) - expected) < tolerance).all()
    assert (abs(np.asarray(by_cell) - expected.sum(-1)) < tolerance.sum(-1)).all()
    rtol = {"float64": 1e-6, "float32": 2e-5}[precision]
    np.testing.assert_allclose(by_cell, expected.sum(-1), rtol=rtol)
    if precision == "float64":  # NumPyro's own float32 is no reference
        np.testing.assert_allclose(by_cell, np.asarray(theirs).sum(-1), rtol=1e-6)
        np.testing.assert_allclose(rates, rate, rtol=1e-12)
    # Guards the other tests: their second set of numbers lies on both sides of the published bound.
    hit = np.isclose(rates, 1 / MAX_INVERSE_RATE, rtol=1e-9 if precision == "float64" else 1e-6)
    assert 0 < hit.sum(1)[1, -2] < CELLS and hit.sum() == hit.sum(1)[1, -2]


def test_hand_written_derivatives_in_both_modes_under_vmap(precision):
    """Over both sets of numbers, and over three particles that share all but the logits."""
    logits, log_r, library, x = numbers(precision)
    shifts = np.array([0, 0.5, -1], precision)[:, None, None] * np.arange(GENES)
    logits = (logits[:, None] + shifts).astype(precision)

    @jax.jit
    def run(*arguments):
        def jacobian(mode, function):
            particles = jax.vmap(mode(function, argnums=(0, 1, 2)), in_axes=(0, None, None, None))
            return jax.vmap(particles)(*arguments)

        return (
            jacobian(jax.jacrev, cell_log_prob),
            jacobian(jax.jacfwd, cell_log_prob),
            jacobian(jax.jacrev, slow_log_prob),
        )

    backward, forward, automatic = run(logits, log_r, library, x)
    rtol, atol = {"float64": (1e-9, 1e-9), "float32": (1e-4, 1e-3)}[precision]
    for by_hand in (backward, forward):
        for got, expected in zip(by_hand, automatic, strict=True):
            assert got.dtype == precision and np.isfinite(got).all()
            np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)


def test_derivatives_are_finite_differences():
    *point, x = numbers("float64")
    rng, step = np.random.default_rng(1), 1e-5
    with jax.enable_x64(True):
        mass = jax.jit(
            jax.value_and_grad(lambda *point: jax.vmap(cell_log_prob)(*point, x).sum(), (0, 1, 2))
        )
        _, gradients = mass(*point)
        for _ in range(5):
            direction = [rng.normal(size=a.shape) for a in point]
            ahead = [a + step * d for a, d in zip(point, direction, strict=True)]
            behind = [a - step * d for a, d in zip(point, direction, strict=True)]
            difference = (float(mass(*ahead)[0]) - float(mass(*behind)[0])) / (2 * step)
            slope = sum(np.vdot(g, d) for g, d in zip(gradients, direction, strict=True))
            np.testing.assert_allclose(difference, slope, rtol=1e-6)


def test_genes_without_share_or_counts_stay_finite():
    """A logit of -200 underflows to a share of 0: the offset keeps mass and slopes finite."""
    logits, x = np.float32([[0, -200, -200]]), np.float32([[10, 0, 3]])
    mass = jax.value_and_grad(lambda *a: cell_log_prob(*a, x).sum(), (0, 1, 2))
    value, slopes = jax.jit(mass)(logits, np.float32([-8, 0, 8]), np.float32([13]))
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
    r, x = r[:, None], RISES.astype(precision)
    rtol = {"float64": 1e-11, "float32": 1e-5}[precision]

    @jax.jit
    def run(r, x):
        by_factor = jax.jacfwd(lambda s: log_rising(r * s, x))(jnp.ones((), precision))
        return log_rising(r, x), digamma_rising(r, x), by_factor

    value, slope, by_factor = run(r, x)
    assert value.dtype == slope.dtype == precision
    value, slope = np.asarray(value, float), np.asarray(slope, float)
    # Logarithms of both signs cancel below r = 1 and vanish at 1, so errors are measured against
    # their sizes.
    assert (abs(value - logs) <= rtol * np.maximum(scale, 1)).all()
    np.testing.assert_allclose(slope, inverses, rtol=rtol)
    np.testing.assert_array_equal(value[:, 0], 0)
    if precision == "float64":
        np.testing.assert_allclose(by_factor[:, 1:], (r * slope)[:, 1:], rtol=1e-8)


def test_the_sign_of_the_slope_in_the_dispersion_survives_float32():
    """At r = 1e4 the slope is near (x - (x - m)^2) / (2 r), 1e-4 of the terms that it is made
    of."""
    count = np.array([0, 2, 3, 5, 6, 9, 16])

    def slopes(dtype):
        share = np.log(np.array([[4e-3, 1 - 4e-3]])).astype(dtype)

        def mass(log_r, count):
            x = jnp.stack([count, 1000 - count])[None]
            log_r = jnp.stack([log_r, jnp.zeros((), dtype)])
            return cell_log_prob(share, log_r, np.array([1000], dtype), x)[0]

        slope = jax.jit(jax.vmap(jax.grad(mass), (None, 0)))
        return np.asarray(slope(np.log(1e4).astype(dtype), count.astype(dtype)), float)

    with jax.enable_x64(True):
        exact = slopes("float64")
    np.testing.assert_allclose(exact, (count - (count - 4) ** 2) / 2e4, rtol=0.01)
    got = slopes("float32")
    np.testing.assert_allclose(got, exact, rtol=0.05)
    np.testing.assert_array_equal(np.sign(got), np.sign(exact))


@partial(jax.jit, static_argnames="draws")
def count_draws(seed, logits, log_r, library, draws):
    """Draws and moments of the counts of one cell."""
    counts = LibraryGammaPoisson(logits, log_r, library)
    sample = counts.sample(jax.random.key(seed), (draws,))
    return sample, counts.mean, counts.variance, counts.rate


def test_sampled_counts_have_the_stated_moments():
    logits = np.float32([0, 1, 2, -1, 0.5, -6])
    log_r = np.log(np.float32([0.3, 1, 5, 0.8, 200, 2]))
    arrays = count_draws(0, logits, log_r, np.float32(400), 100_000)
    draws, mean, variance, _ = (np.asarray(a, float) for a in arrays)
    assert draws.shape == (100_000, 6) and (draws >= 0).all() and (draws == np.round(draws)).all()
    np.testing.assert_allclose(mean.sum(), 400 + 6e-4, rtol=1e-6)
    np.testing.assert_array_less(abs(draws.mean(0) - mean), 5 * (variance / 100_000) ** 0.5)
    fourth = ((draws - mean) ** 4).mean(0)
    error = ((fourth - variance**2) / 100_000) ** 0.5
    assert (abs(draws.var(0) - variance) < 6 * error).all()


def test_clamped_rates_are_sampled_as_scored():
    """Beyond the bound the sampled mean is r * 1e6, not the library's share; the other four genes
    keep the shape of the test before, whose program is compiled."""
    logits = np.float32([0, 0, *[-100] * 4])
    log_r = np.log(np.float32([1e-4, 1, *[1] * 4]))
    draws, _, _, rate = count_draws(1, logits, log_r, np.float32(2000), 100_000)
    np.testing.assert_allclose(1 / rate[:2], [1e6, 1000], rtol=1e-4)
    draws = np.asarray(draws, float)
    for gene, (mean, spread) in enumerate([(100, 1e4), (1000, 1e3)]):
        assert abs(draws[:, gene].mean() - mean) < 5 * spread / 100_000**0.5


def test_mask_samples_are_exact_and_frequent_as_stated(precision):
    logits = np.linspace(-6, 6, 9).astype(precision)

    @jax.jit
    def run(logits):
        mask = StraightThroughBernoulli(logits)
        return mask.sample(jax.random.key(2), (20_000,)), mask.mean

    draws, mean = run(logits)
    assert draws.dtype == precision and set(np.unique(draws)) == {0.0, 1.0}
    p = np.asarray(mean, float)
    frequency = np.asarray(draws).mean(0)
    assert (abs(frequency - p) < 5 * (p * (1 - p) / 20_000) ** 0.5 + 1e-9).all()


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_mask_gradients_are_the_soft_samples(precision, close, temperature):
    logits = np.linspace(-3, 3, 11).astype(precision)
    u = np.random.default_rng(3).uniform(0.02, 0.98, 11).astype(precision)

    def sample(logits):
        return StraightThroughBernoulli(logits, temperature).from_noise(jnp.asarray(u))

    def log_q(logits):
        # The gradient meets the logit directly and through the sample.
        return StraightThroughBernoulli(logits, temperature).log_prob(sample(logits)).sum()

    @jax.jit
    def run(logits):
        return *jax.jvp(sample, (logits,), (jnp.ones_like(logits),)), jax.grad(log_q)(logits)

    value, slope, both_ways = (np.asarray(a) for a in run(logits))
    soft = expit((np.log(u) - np.log1p(-u) + logits) / temperature)
    np.testing.assert_array_equal(value, np.round(soft))
    close(slope, soft * (1 - soft) / temperature)
    close(both_ways, slope * logits + value - expit(logits))


def test_mask_noise_of_zero_and_one_stays_finite(precision):
    u = np.array([0, 1], precision)

    def total(logits):
        sample = StraightThroughBernoulli(logits).from_noise(jnp.asarray(u))
        return sample.sum(), sample

    gradient, sample = jax.jit(jax.grad(total, has_aux=True))(np.zeros(2, precision))
    np.testing.assert_array_equal(sample, [0, 1])
    assert np.isfinite(gradient).all()


def test_densities_are_those_of_numpyro(close, precision):
    """The mask's log mass is the Bernoulli's, a cell's density the normal's."""
    logits = np.linspace(-30, 30, 13).astype(precision)
    value = (np.arange(13) % 2).astype(precision)
    loc = np.random.default_rng(7).normal(size=(6, 4)).astype(precision)

    @jax.jit
    def run(logits, value, loc, scale):
        cells = CellNormal(loc, scale, jnp.arange(6)).to_event(1)
        ours = StraightThroughBernoulli(logits).log_prob(value), cells.log_prob(loc * 2)
        theirs = (
            dist.Bernoulli(logits=logits).log_prob(value),
            dist.Normal(loc, scale).to_event(1).log_prob(loc * 2),
        )
        return ours, theirs

    for ours, theirs in zip(*run(logits, value, loc, np.exp(loc)), strict=True):
        close(ours, theirs)


@partial(jax.jit, static_argnames="sample_shape")
def cell_draws(seed, slot, sample_shape):
    loc = slot[:, None] * jnp.ones(4)
    return CellNormal(loc, 1 + loc, slot).sample(jax.random.key(seed), sample_shape)


@pytest.mark.parametrize("sample_shape", [(), (3,)])
def test_a_cells_noise_goes_with_its_slot(sample_shape):
    slot = np.arange(6)
    whole = np.asarray(cell_draws(4, slot, sample_shape))
    assert whole.shape == (*sample_shape, 6, 4)
    order = np.array([3, 1, 5, 0, 2, 4])
    reordered = cell_draws(4, slot[order], sample_shape)
    np.testing.assert_array_equal(reordered, whole[..., order, :])
    halves = [cell_draws(4, half, sample_shape) for half in (slot[:3], slot[3:])]
    np.testing.assert_array_equal(np.concatenate(halves, -2), whole)
    assert not np.array_equal(cell_draws(5, slot, sample_shape), whole)


def test_a_cells_noise_is_standard_normal_and_its_own():
    @jax.jit
    def run():
        cells = CellNormal(jnp.zeros((4000, 2)), 1.0, jnp.arange(4000))
        return cells.sample(jax.random.key(6))

    draws = np.asarray(run())
    assert abs(draws.mean()) < 5 / 8000**0.5 and abs(draws.std() - 1) < 5 / 16000**0.5
    assert len(np.unique(draws)) > 0.999 * draws.size
