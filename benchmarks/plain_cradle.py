"""CRADLE-VAE as one would first write it in NumPyro: the yardstick of `make bench`.

The same model and objective as `jaxpert.models.cradle_vae` (defaults), with inputs concatenated
before each network, the reference branch run for every cell, NumPyro's own Gamma-Poisson and
`SVI.update` with particles vectorised by `Trace_ELBO`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.infer import SVI, Trace_ELBO

from jaxpert.nn.distributions import StraightThroughBernoulli


def _linear(key, fan_in, features):
    bound = fan_in**-0.5
    k1, k2 = jax.random.split(key)
    return {
        "kernel": jax.random.uniform(k1, (fan_in, features), minval=-bound, maxval=bound),
        "bias": jax.random.uniform(k2, (features,), minval=-bound, maxval=bound),
    }


def _network(name, widths, heads):
    def init(key):
        keys = iter(jax.random.split(key, len(widths) + len(heads)))
        layers = [_linear(next(keys), a, b) for a, b in zip(widths[:-1], widths[1:], strict=True)]
        return {"layers": layers, "heads": [_linear(next(keys), widths[-1], h) for h in heads]}

    params: Any = numpyro.param(name, init)

    def apply(x):
        for i, layer in enumerate(params["layers"]):
            h = jax.nn.leaky_relu(x @ layer["kernel"] + layer["bias"])
            x = h if i == 0 else x + h
        return [x @ head["kernel"] + head["bias"] for head in params["heads"]]

    return apply


def _gaussian(network, x):
    mean, log_var = network(x)
    return mean, jnp.sqrt(jnp.exp(log_var) + 1e-4)


def programs(
    spec, *, latent, hidden, encoder_layers, embedding_layers, mask_prior=0.01, cf_weight=0.5
):
    genes, treatments, scale = len(spec.genes), len(spec.treatments), handlers.scale
    prior = jnp.full((treatments, latent), jnp.log(mask_prior) - jnp.log1p(-mask_prior))

    def weights(batch):
        share = (batch.treatment != 0).sum(0) / jnp.maximum(batch.extras["treatment_cells"], 1)
        failed = batch.extras["failed"]
        alpha = failed.mean()
        return (
            share,
            failed.sum() / batch.extras["failed_cells"],
            jnp.where(failed == 0, alpha, 1 - alpha),
        )

    def latents(batch, mask_dist, effect_dist, artifact_dist):
        share, failed_share, _ = weights(batch)
        with numpyro.plate("treatments", treatments), scale(scale=share):
            mask = numpyro.sample("mask", mask_dist)
            effect = numpyro.sample("effect", effect_dist(mask))
        with scale(scale=failed_share):
            return mask, effect, numpyro.sample("artifact", artifact_dist)

    def model(batch):
        normal = dist.Normal(jnp.zeros((treatments, latent)), 1).to_event(1)
        zero = dist.Normal(jnp.zeros(latent), 1).to_event(1)
        mask_dist = StraightThroughBernoulli(prior).to_event(1)
        mask, effect, artifact = latents(batch, mask_dist, lambda _: normal, zero)
        decoder = _network("decoder", [3 * latent, hidden, hidden], [genes])
        log_concentration: Any = numpyro.param("log_concentration", jnp.zeros(genes))
        with numpyro.plate("cells", len(batch.x)):
            z = numpyro.sample(
                "z_basal", dist.Normal(jnp.zeros((len(batch.x), latent)), 1).to_event(1)
            )
            z_p, z_a = batch.treatment @ (mask * effect), batch.extras["failed"][:, None] * artifact
            (logits,) = decoder(jnp.concatenate([z, z_p, z_a], -1))
            mean = batch.x.sum(-1, keepdims=True) * jax.nn.softmax(logits) + 1e-4
            r = jnp.exp(log_concentration)
            with scale(scale=weights(batch)[2]):
                numpyro.sample("x", dist.GammaPoisson(r, r / mean).to_event(1), obs=batch.x)

    def guide(batch):
        logits = numpyro.param("mask_logits", jnp.zeros((treatments, latent)))
        embedding = _network(
            "embedding", [latent + treatments] + [hidden] * embedding_layers, [latent] * 2
        )
        artifact_net = _network(
            "artifact_encoder", [latent] + [hidden] * embedding_layers, [latent] * 2
        )

        def effect_dist(mask):
            mean, std = _gaussian(embedding, jnp.concatenate([mask, jnp.eye(treatments)], -1))
            return dist.Normal(mean, std).to_event(1)

        artifact_dist = dist.Normal(*_gaussian(artifact_net, jnp.ones(latent))).to_event(1)
        mask_dist = StraightThroughBernoulli(logits).to_event(1)
        mask, effect, u = latents(batch, mask_dist, effect_dist, artifact_dist)
        encoder = _network(
            "encoder", [genes + 2 * latent] + [hidden] * encoder_layers, [latent] * 2
        )
        z_p, failed = batch.treatment @ (mask * effect), batch.extras["failed"][:, None]

        def posterior(x, flag):
            x = (jnp.log1p(x) - spec.log_mean) / jnp.where(spec.log_std < 1e-6, 1, spec.log_std)
            return _gaussian(encoder, jnp.concatenate([x, z_p, flag * u], -1))

        with numpyro.plate("cells", len(batch.x)):
            numpyro.sample("z_basal", dist.Normal(*posterior(batch.x, failed)).to_event(1))
        own = dist.Normal(*posterior(batch.x, 1 - failed))
        reference = dist.Normal(*posterior(batch.extras["reference"][batch.condition], 1 - failed))
        include = batch.extras["has_reference"][batch.condition] & (batch.extras["failed"] == 0)
        divergence = dist.kl_divergence(own, reference).sum(-1)
        numpyro.factor(
            "counterfactual", cf_weight * len(batch.x) * jnp.where(include, divergence, 0).sum()
        )

    return model, guide


def make_svi(spec, optimizer, *, particles, **settings) -> SVI:
    """`SVI` of the plain programs."""
    return SVI(*programs(spec, **settings), optimizer, Trace_ELBO(num_particles=particles))
