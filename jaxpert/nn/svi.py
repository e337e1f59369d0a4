"""NumPyro programs as pure losses: (model, guide) -> (init, loss); the only file that knows how an
ELBO is put together.

A program works on one particle; particles are a vmap around it, so whatever does not depend on a
latent draw (the encoder's product with the counts, the data's share of the likelihood) is computed
once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro import handlers

from jaxpert.core import parallel
from jaxpert.core.types import Batch, PyTree

Program = Callable[..., Any]
Net = TypeVar("Net", bound=nn.Module)
Seeded = Callable[[Program, Any], Program]
"""How a program gets its randomness from one particle's draw: `handlers.seed` for keys; tests give
noise arrays."""


def network(name: str, module: Net, *widths: int) -> Net:
    """The Linen `module` bound to the NumPyro parameter `name`; `widths` are those of its
    inputs."""

    def init(key: PRNGKeyArray) -> PyTree:
        inputs = [jnp.zeros((1, width)) for width in widths]
        return module.init(key, *inputs)["params"]

    params: Any = numpyro.param(name, init)
    return module.bind({"params": params})


def weighted(program: Program, weight: Float[Array, "*b"]) -> Program:
    """Multiply the log densities of `program`'s sites by `weight`, of which zeros are allowed
    (NumPyro refuses a scale of 0)."""
    positive = weight > 0
    scaled = handlers.scale(program, scale=jnp.where(positive, weight, 1))
    return handlers.mask(scaled, mask=positive)


def real_cells(batch: Batch) -> Float[Array, ""]:
    """Number of cells in the whole batch, padding excluded, over all devices."""
    return parallel.psum(batch.mask.sum().astype(batch.x.dtype))


def traces(
    model: Program,
    guide: Program,
    params: PyTree,
    draw: Any,
    batch: Batch,
    seeded: Seeded = handlers.seed,
) -> tuple[dict, dict]:
    """Sites of one particle: (model trace at the guide's sample, guide trace)."""
    # The order of NumPyro's `Trace_ELBO`: the first half of the key is the model's.
    draws = (draw, draw)
    if seeded is handlers.seed:
        draws = jax.random.split(draw)
    guide = handlers.substitute(seeded(guide, draws[1]), params)
    guide_trace = handlers.trace(guide).get_trace(batch)
    # Replay gives the model's latent sites the values that the guide drew.
    model = handlers.replay(handlers.substitute(seeded(model, draws[0]), params), guide_trace)
    return handlers.trace(model).get_trace(batch), guide_trace


def _log_prob_sum(site: dict) -> Float[Array, ""]:
    log_prob = site["fn"].log_prob(site["value"])
    # The scale that `weighted` put around the site.
    if site["scale"] is not None:
        log_prob = site["scale"] * log_prob
    return log_prob.sum()


def contributions(*args, **kwargs) -> dict[str, Float[Array, ""]]:
    """One particle's log p - log q, site by site; arguments as for `traces`."""
    # A site that both programs have, such as a latent, appears once: as log p - log q.
    model_trace, guide_trace = traces(*args, **kwargs)
    terms: dict[str, Array] = {}
    for trace, sign in ((model_trace, 1), (guide_trace, -1)):
        for name, site in trace.items():
            if site["type"] == "sample":
                terms[name] = terms.get(name, jnp.zeros(())) + sign * _log_prob_sum(site)
    return terms


def negative_elbo(
    model: Program,
    guide: Program,
    params: PyTree,
    draws: Any,
    batch: Batch,
    seeded: Seeded = handlers.seed,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Minus the ELBO per cell of the whole batch, averaged over the leading particle axis of
    `draws`, and its parts by site (docs/models/cradle.md, "ELBO").

    Programs give sums over their cells (this device's); the sum over devices is divided by the
    number of real cells.
    """

    def particle(draw):
        return contributions(model, guide, params, draw, batch, seeded)

    # What no draw enters is not batched by this vmap, so it is computed once for all particles.
    terms = jax.tree.map(lambda t: -t.mean(0), jax.vmap(particle)(draws))
    cells = real_cells(batch)
    terms = jax.tree.map(lambda t: t / cells, parallel.psum(terms))
    return sum(terms.values(), jnp.zeros(())), terms


def make_init(
    model: Program, guide: Program
) -> Callable[[PRNGKeyArray, Batch], tuple[PyTree, PyTree]]:
    """`init(key, batch) -> (params, {})` with every parameter that either program declares."""

    def init(key: PRNGKeyArray, batch: Batch) -> tuple[PyTree, PyTree]:
        key_model, key_guide = jax.random.split(key)
        guide_trace = handlers.trace(handlers.seed(guide, key_guide)).get_trace(batch)
        # Replayed, so that the model meets latents in the shapes that the guide gives them.
        replayed = handlers.replay(handlers.seed(model, key_model), guide_trace)
        model_trace = handlers.trace(replayed).get_trace(batch)
        sites = {**model_trace, **guide_trace}
        params = {name: site["value"] for name, site in sites.items() if site["type"] == "param"}
        return params, {}

    return init


def make_loss(model: Program, guide: Program, particles: int) -> Callable:
    """`loss(params, state, key, batch) -> (minus ELBO per cell, (state, terms))` with `particles`
    Monte-Carlo samples."""

    def loss(params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch):
        value, terms = negative_elbo(model, guide, params, jax.random.split(key, particles), batch)
        return value, (state, terms)

    return loss


def _cell_log_prob(site: dict) -> Float[Array, "B"]:
    """Log density of the site's distribution without the masks and scales around it."""
    fn = site["fn"]
    # Weights are left out (docs/models/cradle.md, "Predictive IWELBO").
    while isinstance(fn, dist.MaskedDistribution):
        fn = fn.base_dist
    return jnp.asarray(fn.log_prob(site["value"]))


def cell_bound(
    model: Program,
    guide: Program,
    params: PyTree,
    draws: Any,
    batch: Batch,
    *,
    local_sites: Sequence[str],
    seeded: Seeded = handlers.seed,
    chunk: int = 5,
) -> Float[Array, "B"]:
    """Predictive IWELBO of each cell: logsumexp_s [log p(x, local latents) - log q(local latents)]
    - ln P (docs/models/cradle.md, "Predictive IWELBO").

    Global latents are drawn from the guide and carry no weight; likelihood weights are left out.
    `chunk` particles are held in memory at a time.
    """

    def particle(draw):
        model_trace, guide_trace = traces(model, guide, params, draw, batch, seeded)
        observed: list[str] = []
        for name, site in model_trace.items():
            if site["type"] == "sample" and site["is_observed"]:
                observed.append(name)
        log_p = sum(_cell_log_prob(model_trace[name]) for name in (*observed, *local_sites))
        return log_p - sum(_cell_log_prob(guide_trace[name]) for name in local_sites)

    log_weights = jax.lax.map(particle, draws, batch_size=chunk)
    return logsumexp(log_weights, axis=0) - jnp.log(log_weights.shape[0])
