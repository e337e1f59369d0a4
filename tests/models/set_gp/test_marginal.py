"""The marginal likelihood, its gradient and the posterior against plain NumPy, term by term."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert.models.set_gp import marginal, process
from jaxpert.models.set_gp.components import components_of
from jaxpert.models.set_gp.marginal import Data, Design, Hyper
from jaxpert.models.set_gp.posterior import posterior
from jaxpert.models.set_gp.sets import known_of

SETS = np.array(
    [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 0]], float
)
ASKED = np.array([[0, 0, 0, 1], [1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 0]], float)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(4, 3))
    kernel = vectors @ vectors.T
    scale = np.sqrt(np.diag(kernel))
    kernels = np.stack([np.eye(4), kernel / np.outer(scale, scale)])
    known = rng.uniform(0.05, 0.3, len(SETS))
    return kernels, rng.normal(size=(len(SETS), 2)), known, hyper(rng)


def hyper(rng):
    return Hyper(
        mean=jnp.asarray(rng.uniform(-2, 0, 2)),
        genes=jnp.asarray(rng.uniform(-2, 0, 2)),
        pair=jnp.asarray(rng.uniform(-2, 0)),
        noise=jnp.asarray(rng.uniform(-2, 0, 2)),
        rho=jnp.asarray(0.7),
    )


def plain_covariance(kernels, one, other, h):
    """Entry by entry, from the definition of the prior."""
    out = np.zeros((len(one), len(other)))
    for a, s in enumerate(one):
        for b, t in enumerate(other):
            alike = (s.sum() == 1) == (t.sum() == 1)
            out[a, b] = alike * float(h.mean[0 if s.sum() == 1 else 1])
            weight = (1 if s.sum() == 1 else float(h.rho)) * (1 if t.sum() == 1 else float(h.rho))
            for i in np.flatnonzero(s):
                for j in np.flatnonzero(t):
                    for variance, kernel in zip(h.genes, kernels, strict=True):
                        out[a, b] += weight * float(variance) * kernel[i, j]
            if s.sum() > 1 and (s == t).all():
                out[a, b] += float(h.pair)
    return out


def plain_noise(sets, known, h):
    return known + np.where(sets.sum(1) == 1, float(h.noise[0]), float(h.noise[1]))


def design(kernels, used=None):
    used = np.ones(len(SETS), bool) if used is None else used
    training = process.Training(np.zeros((len(SETS), 1)), SETS, kernels)
    return process.design_of(training, used)


def test_the_likelihood_is_that_of_the_definition(problem):
    kernels, z, known, h = problem
    n = marginal.natural(h)
    covariance = plain_covariance(kernels, SETS, SETS, n) + np.diag(plain_noise(SETS, known, n))
    sign, logdet = np.linalg.slogdet(covariance)
    expected = 0.5 * np.trace(z.T @ np.linalg.solve(covariance, z)) + z.shape[1] / 2 * logdet
    data = Data(jnp.asarray(z), jnp.asarray(known))
    got = marginal.gaussian(marginal.covariance(n, design(kernels), data), data.scores)
    assert sign == 1 and abs(float(got) - expected) < 1e-8


def test_the_gradient_is_that_of_finite_differences(problem):
    kernels, z, known, h = problem
    made, data = design(kernels), Data(jnp.asarray(z), jnp.asarray(known))
    flat, back = jax.flatten_util.ravel_pytree(h)
    goal = jax.jit(lambda values: marginal.objective(back(values), made, data))
    slope = jax.jit(jax.grad(goal))(flat)
    for k in range(len(flat)):
        step = np.zeros(len(flat))
        step[k] = 1e-3
        # Of fourth order, so that 1e-8 is met.
        near, far = (
            goal(flat + step) - goal(flat - step),
            goal(flat + 2 * step) - goal(flat - 2 * step),
        )
        expected = float(8 * near - far) / (12 * 1e-3)
        assert abs(float(slope[k]) - expected) < 1e-8


def test_the_posterior_is_that_of_the_definition(problem):
    kernels, z, known, h = problem
    n = marginal.natural(h)
    covariance = plain_covariance(kernels, SETS, SETS, n) + np.diag(plain_noise(SETS, known, n))
    cross = plain_covariance(kernels, ASKED, SETS, n)
    mean = cross @ np.linalg.solve(covariance, z)
    variance = np.diag(plain_covariance(kernels, ASKED, ASKED, n)) - (
        cross * np.linalg.solve(covariance, cross.T).T
    ).sum(1)
    parts = components_of(np.random.default_rng(1).normal(size=(6, 5)), np.ones(6, bool), 2)
    parts = parts._replace(
        scores=z, known=np.stack([known, known, known]), rest=np.tile(z[:, :1], (1, 5))
    )
    three = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), n)
    of = posterior(parts, three, design(kernels), kernels, SETS)
    whole = process.Process(
        mean=parts.mean,
        directions=parts.directions,
        scale=parts.scale,
        rest_scale=parts.rest_scale,
        typical=np.zeros((2, 5)),
        known=known_of(SETS),
        posterior=of,
    )
    each, rest = process.scores(whole, jnp.asarray(ASKED))
    np.testing.assert_allclose(each, mean, atol=1e-8)
    np.testing.assert_allclose(rest, np.tile(mean[:, :1], (1, 5)), atol=1e-8)
    left, noise = process.variances(whole, jnp.asarray(ASKED))
    np.testing.assert_allclose(left, np.tile(variance[:, None], (1, 3)), atol=1e-8)
    assert noise.shape == (len(ASKED), 3)


def test_a_condition_left_out_tells_nothing(problem):
    """The same likelihood but for a constant, whatever its scores would be."""
    kernels, z, known, h = problem
    used = np.array([1, 1, 0, 1, 1, 1], bool)
    z = np.where(used[:, None], z, 0)
    made = design(kernels, used)
    n = marginal.natural(h)
    whole = marginal.covariance(n, made, Data(jnp.asarray(z), jnp.asarray(known)))
    kept = np.ix_(used, used)
    expected = marginal.gaussian(whole[kept], jnp.asarray(z[used]))
    assert abs(float(marginal.gaussian(whole, jnp.asarray(z)) - expected)) < 1e-12


def test_bounds_are_smooth_and_kept():
    far = Hyper(*(jnp.full(shape, 50.0) for shape in ((2,), (1,), (), (2,), ())))
    n = marginal.natural(far)
    assert float(n.mean.max()) <= marginal.HIGHEST * 1.0001 and float(n.rho) <= 2
    start = marginal.natural(marginal.start(2))
    assert float(start.rho) == pytest.approx(marginal.RHO)
    assert Design._fields == ("similar", "single", "used")
