"""Log densities that only tests look at."""

import jax.numpy as jnp

from jaxpert.nn.distributions import LibraryGammaPoisson, log_coefficient


def gene_log_prob(counts: LibraryGammaPoisson, x):
    """Log mass of each gene's count, whose sum over genes is `counts.log_prob(x)`."""
    r = jnp.exp(counts.log_concentration)
    mean_over_r = 1 / counts.rate
    return log_coefficient(r, x) + x * jnp.log(mean_over_r) - (r + x) * jnp.log1p(mean_over_r)
