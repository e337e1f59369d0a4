"""NumPyro distributions of the count models: library-scaled Gamma-Poisson, straight-through
Bernoulli, per-cell normal.

The first two are described in docs/models/cradle.md (sections "Count head" and "Straight-through
Bernoulli").
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpyro.distributions import constraints

from jaxpert.nn import sampling

MEAN_OFFSET = 1e-4
"""Added to every mean, so that a gene of share 0 keeps a finite log mass."""
MAX_INVERSE_RATE = 1e6
"""The published code clamps the gamma rate at 1e-6."""
_SHIFT = 8
"""Arguments are raised by it, since Stirling's series is short only far from 0; the recursion
Gamma(z + 1) = z Gamma(z) leads back."""
# Stirling's series of ln Gamma(z) and digamma(z) in powers of 1/z^2; the remainder is below 1e-14
# at z >= 8.
_LOG_GAMMA = (
    1 / 12,
    -1 / 360,
    1 / 1260,
    -1 / 1680,
    1 / 1188,
    -691 / 360360,
    1 / 156,
    -3617 / 122400,
)
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12, -3617 / 8160)


def _series(coefficients: tuple[float, ...], z: Array) -> Array:
    square = 1 / (z * z)
    total = jnp.zeros_like(z)
    # float32 cannot see the later terms, so it does not pay for them.
    if z.dtype != jnp.float64:
        coefficients = coefficients[:3]
    # Horner's rule in 1 / z^2, from the last coefficient on.
    for coefficient in reversed(coefficients):
        total = total * square + coefficient
    return total


def log_rising(r: Float[Array, "*r"], x: Float[Array, "*x"]) -> Array:
    """ln Gamma(r + x) - ln Gamma(r) for r > 0, x >= 0, without the cancellation that ruins float32
    at large r.

    Stirling's series at r + 8 in difference form, carried back to r by a product of eight factors.
    """
    big, end = r + _SHIFT, r + _SHIFT + x
    # Gamma(r + x) / Gamma(r) = Gamma(end) / Gamma(big) / prod_j (r + x + j) / (r + j), where each
    # factor is 1 + x / (r + j).
    products = [jnp.ones_like(r * x)] * 2
    for j in range(_SHIFT):
        # Two products of four: one of eight overflows float32 at x = 1e5, r = 1e-3.
        products[j % 2] = products[j % 2] * (1 + x * (1 / (r + j)))
    # ln Gamma(z) = (z - 1/2) ln z - z + ln(2 pi) / 2 + series(z) / z, taken at `end` minus at
    # `big`; writing ln(end / big) as log1p(x / big) is what saves the digits.
    tails = _series(_LOG_GAMMA, end) / end - _series(_LOG_GAMMA, big) / big
    stirling = (end - 0.5) * jnp.log1p(x * (1 / big)) + x * (jnp.log(big) - 1) + tails
    return stirling - jnp.log(products[0]) - jnp.log(products[1])


def log_coefficient(r: Float[Array, "*r"], x: Float[Array, "*x"]) -> Array:
    """ln Gamma(r + x) - ln Gamma(r) - ln x!."""
    # x! = Gamma(1 + x) / Gamma(1), so the same function serves.
    return log_rising(r, x) - log_rising(jnp.ones((), x.dtype), x)


def digamma_rising(r: Float[Array, "*r"], x: Float[Array, "*x"]) -> Array:
    """digamma(r + x) - digamma(r): the derivative of `log_rising` in r, each term free of
    cancellation."""
    big, end = r + _SHIFT, r + _SHIFT + x
    # digamma(z) = ln z - 1 / (2 z) - series(z) / z^2 at `end` minus at `big`; the step back to r is
    # 1 / (r + j) - 1 / (r + j + x) = x / ((r + j) (r + j + x)) for every j.
    steps = sum(1 / ((r + j) * (r + j + x)) for j in range(_SHIFT)) + 0.5 / (big * end)
    tails = _series(_DIGAMMA, end) / end**2 - _series(_DIGAMMA, big) / big**2
    return jnp.log1p(x * (1 / big)) + x * steps - tails


def _dot(a: Float[Array, "*b G"], b: Float[Array, "G"]) -> Float[Array, "*b"]:
    # As a dot product, not a reduction: XLA's CPU backend does not vectorise arithmetic that it
    # fuses into a reduction (four to ten times slower here). Full precision, since an accelerator's
    # default would round the summands.
    return jnp.matmul(a, b, precision="highest")


def _total(a: Float[Array, "*b G"]) -> Float[Array, "*b"]:
    return _dot(a, jnp.ones(a.shape[-1], a.dtype))


# The two halves of the log mass carry hand-written derivatives: automatic ones make XLA store every
# intermediate of the [B, G] arithmetic, which tripled the time of the likelihood. x is data, so it
# has none.
@jax.custom_jvp
def _count_terms(r: Float[Array, "G"], x: Float[Array, "*b G"]) -> Float[Array, "*b"]:
    """Sum over genes of ln Gamma(r + x) - ln Gamma(r) - ln x!: no latent enters, so particles share
    it."""
    return _total(log_coefficient(r, x))


_count_terms.defjvps(lambda dr, _, r, x: _dot(digamma_rising(r, x), dr), None)


def _share_mean(
    logits: Float[Array, "*#b G"], library: Float[Array, "*#b"]
) -> tuple[Float[Array, "*b G"], Float[Array, "*b G"]]:
    """Softmax of the logits over genes, and library x softmax + 1e-4."""
    powers = jnp.exp(logits - logits.max(-1, keepdims=True))
    # One division per cell and a product per gene, in place of a division per gene.
    share = powers * (1 / _total(powers))[..., None]
    return share, jnp.asarray(library)[..., None] * share + MEAN_OFFSET


@jax.custom_jvp
def _rate_terms(
    logits: Float[Array, "*#b G"],
    log_r: Float[Array, "G"],
    library: Float[Array, "*#b"],
    x: Float[Array, "*#b G"],
) -> Float[Array, "*b"]:
    """Sum over genes of x ln t - (r + x) ln(1 + t), t = min(mean / r, 1e6), mean = library
    softmax(logits) + 1e-4."""
    _, mean = _share_mean(logits, library)
    t = jnp.minimum(mean * jnp.exp(-log_r), MAX_INVERSE_RATE)
    return _total(x * jnp.log(t) - (jnp.exp(log_r) + x) * jnp.log1p(t))


@_rate_terms.defjvp
def _rate_terms_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    """With e = d / d ln(mean): d / d logits = library share (e / mean - sum(e share / mean)),
    without a detour over the mean; d / d log_r = -(e + r ln(1 + t))."""
    logits, log_r, library, x = primals
    share, mean = _share_mean(logits, library)
    r = jnp.exp(log_r)
    t = jnp.minimum(mean * jnp.exp(-log_r), MAX_INVERSE_RATE)
    # e = x - (r + x) t / (1 + t) with t = mean / r; where the clamp holds, no mean moves the mass.
    elasticity = jnp.where(mean < MAX_INVERSE_RATE * r, r * (x - mean) / (r + mean), 0)
    pull = elasticity / mean * share
    d_library = _total(pull)
    d_logits = jnp.asarray(library)[..., None] * (pull - d_library[..., None] * share)
    change = (
        (d_logits * tangents[0]).sum(-1)
        - _dot(elasticity, tangents[1])
        - _dot(jnp.log1p(t), r * tangents[1])
    )
    return _rate_terms(*primals), change + d_library * tangents[2]


class LibraryGammaPoisson(dist.Distribution):
    """Counts of one cell over G genes: lam ~ Gamma(r, r / m), x ~ Poisson(lam), m = library *
    softmax(logits) + 1e-4.

    `r = exp(log_concentration)` is one inverse dispersion per gene; E[x] = m and Var[x] = m + m^2 /
    r. The rate r / m is clamped at 1e-6 as in the published code (docs/models/cradle.md, "Count
    head").
    """

    arg_constraints = {
        "logits": constraints.real_vector,
        "log_concentration": constraints.real_vector,
        "library": constraints.positive,
    }
    support: Any = constraints.independent(constraints.nonnegative_integer, 1)

    def __init__(
        self,
        logits: Float[Array, "*b G"],
        log_concentration: Float[Array, "G"],
        library: Float[Array, "*b"],
        *,
        validate_args: bool | None = None,
    ):
        self.logits, self.log_concentration, self.library = logits, log_concentration, library
        batch_shape = jnp.broadcast_shapes(logits.shape[:-1], jnp.shape(library))
        super().__init__(batch_shape, logits.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Float[Array, "*b G"]:
        return _share_mean(self.logits, self.library)[1]

    @property
    def rate(self) -> Float[Array, "*b G"]:
        """Rate of the gamma, r / m, clamped."""
        return jnp.maximum(jnp.exp(self.log_concentration) / self.mean, 1 / MAX_INVERSE_RATE)

    @property
    def variance(self) -> Float[Array, "*b G"]:
        return self.mean + self.mean**2 * jnp.exp(-self.log_concentration)

    def log_prob(self, value: Float[Array, "*b G"]) -> Float[Array, "*b"]:
        """Log mass of a cell, the sum over its genes: two terms of which only the second depends on
        `logits`."""
        counts = _count_terms(jnp.exp(self.log_concentration), value)
        return counts + _rate_terms(self.logits, self.log_concentration, self.library, value)

    def sample(self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*b G"]:
        # x ~ Poisson(lam) with lam ~ Gamma(r, rate): a standard gamma divided by the rate.
        key_gamma, key_poisson = jax.random.split(key)
        shape = sample_shape + self.batch_shape + self.event_shape
        r = jnp.broadcast_to(jnp.exp(self.log_concentration), shape)
        return sampling.poisson(key_poisson, sampling.gamma(key_gamma, r) / self.rate)


class StraightThroughBernoulli(dist.Distribution):
    """Exact zeros and ones forward, the gradient of sigmoid((logistic noise + logits) /
    temperature) backward.

    The log mass is the plain Bernoulli's at the sample as a real number, so gradients flow through
    the sample too (docs/models/cradle.md, "Straight-through Bernoulli").
    """

    arg_constraints = {"logits": constraints.real}
    support: Any = constraints.unit_interval
    reparametrized_params = ["logits"]

    def __init__(
        self,
        logits: Float[Array, "*b"],
        temperature: float = 1.0,
        *,
        validate_args: bool | None = None,
    ):
        self.logits, self.temperature = logits, temperature
        super().__init__(jnp.shape(logits), validate_args=validate_args)

    @property
    def mean(self) -> Float[Array, "*b"]:
        return jax.nn.sigmoid(self.logits)

    def from_noise(self, u: Float[Array, "*b"]) -> Float[Array, "*b"]:
        """The sample that uniform noise `u` gives."""
        # Uniforms of exactly 0 or 1 would be infinite noise.
        eps = jnp.finfo(u.dtype).eps
        u = jnp.clip(u, eps, 1 - eps)
        soft = jax.nn.sigmoid((jnp.log(u) - jnp.log1p(-u) + self.logits) / self.temperature)
        # Forward round(soft), backward soft: the difference is a constant to the gradient.
        return soft + jax.lax.stop_gradient(jnp.round(soft) - soft)

    def sample(self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*b"]:
        shape = sample_shape + self.batch_shape
        return self.from_noise(jax.random.uniform(key, shape, jnp.result_type(self.logits, float)))

    def log_prob(self, value: Float[Array, "*b"]) -> Float[Array, "*b"]:
        # m l - ln(1 + e^l), also for a value between 0 and 1.
        return value * self.logits - jax.nn.softplus(self.logits)


class CellNormal(dist.Normal):
    """Normal whose row i draws its noise from fold_in(key, slot[i]): a cell's noise goes with its
    place in the whole batch, so that splitting the batch over devices changes no draw."""

    pytree_data_fields = ("slot",)

    def __init__(
        self,
        loc: Float[Array, "B Z"],
        scale: Float[Array, "B Z"] | float,
        slot: Int[Array, "B"],
        *,
        validate_args: bool | None = None,
    ):
        self.slot = slot
        super().__init__(loc, scale, validate_args=validate_args)

    def from_noise(self, eps: Float[Array, "*s B Z"]) -> Float[Array, "*s B Z"]:
        return jnp.asarray(self.loc) + jnp.asarray(self.scale) * eps

    def sample(
        self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()
    ) -> Float[Array, "*s B Z"]:
        # A key per cell: one key for the whole array would give each device noise by position.
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, self.slot)
        width, dtype = self.batch_shape[-1], jnp.result_type(self.loc, float)
        noise = jax.vmap(
            lambda k: jax.random.normal(k, (*sample_shape, width), dtype), out_axes=-2
        )(keys)
        return self.from_noise(noise)
