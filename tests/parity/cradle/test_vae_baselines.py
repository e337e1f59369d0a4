"""SAMS-VAE, CPA-VAE, sVAE+ and the conditional VAE against the published code's arrays: float64 at
1e-9, float32 at 1e-5 on losses."""

import importlib
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import MaskedDistribution

from jaxpert.core.types import Batch, Spec
from jaxpert.models.cradle.settings import MODELS
from jaxpert.nn import svi
from support.densities import gene_log_prob
from support.published import given_noise, nested

pytestmark = pytest.mark.parity


class Case(NamedTuple):
    """Names: ours of the published weights, and published of our noise, sites and loss terms."""

    weights: dict[str, str]
    noise: dict[str, str]
    sites: dict[str, str]
    terms: dict[str, str]
    latent: str
    settings: dict = {}


EMBEDDING = {"embedding_layers": 3, "embedding_hidden_dim": 16}
BASAL = {"z_basal": "z_basal"}
CASES = {
    "sams_vae": Case(
        weights={"q_mask_logits": "mask_logits"},
        noise={"mask": "mask_u", "effect": "E_eps", "z_basal": "z_basal_eps"},
        sites={"mask": "mask", "effect": "E", **BASAL},
        terms={"x": "reconstruction", "mask": "mask", "effect": "E", **BASAL},
        latent="z_basal",
        settings=EMBEDDING,
    ),
    "cpa_vae": Case(
        weights={"q_E_loc": "effect_loc", "q_E_log_scale": "effect_log_scale"},
        noise={"effect": "E_eps", "z_basal": "z_basal_eps"},
        sites={"effect": "E", **BASAL},
        terms={"x": "reconstruction", "effect": "E", **BASAL},
        latent="z_basal",
    ),
    "svae_plus": Case(
        weights={"q_mask_logits": "mask_logits", "action_prior_mean": "prior_mean"},
        noise={"mask": "mask_u", "z": "z_eps"},
        sites={"mask": "mask", "mask_prob": "mask_prob", "z": "z"},
        terms={"x": "reconstruction", "mask": "mask", "mask_prob": "mask_prob", "z": "z"},
        latent="z",
    ),
    "conditional_vae": Case(
        weights={"z_encoder": "z_basal_encoder"},
        noise={"z_basal": "z_eps"},
        sites={"z_basal": "z"},
        terms={"x": "reconstruction", "z_basal": "z"},
        latent="z",
    ),
}


@pytest.fixture(params=CASES)
def name(request):
    return request.param


@pytest.fixture
def arrays(cradle_arrays, precision, name):
    return {k: jnp.asarray(v, precision) for k, v in cradle_arrays(name).items()}


def make_spec(a) -> Spec:
    """The distinct dosage rows are the conditions, the control first, single treatments in their
    order."""
    genes, treatments = a["in/X"].shape[1], a["in/D"].shape[1]
    table = conditions(a)
    return Spec(
        genes=tuple(map(str, range(genes))),
        treatments=tuple(map(str, range(treatments))),
        conditions=tuple(map(str, range(len(table)))),
        strata=("all",),
        control=0,
        condition_treatments=table,
        log_mean=np.asarray(a["in/log_mean"]),
        log_std=np.asarray(a["in/log_std"]),
        control_mean=np.zeros(genes),
        treatment_cells=np.asarray(a["in/D_obs_counts"]).astype(int),
        condition_cells=np.ones(len(table), int),
    )


def conditions(a) -> np.ndarray:
    treatments = a["in/D"].shape[1]
    pairs = [row for row in np.unique(np.asarray(a["in/D"]), axis=0) if row.sum() > 1]
    return np.concatenate(
        [np.zeros((1, treatments)), np.eye(treatments), np.array(pairs).reshape(-1, treatments)]
    )


def make_batch(a) -> Batch:
    cells, table = jnp.arange(len(a["in/X"])), conditions(a)
    condition = (np.asarray(a["in/D"])[:, None] == table).all(-1).argmax(1)
    singles = np.concatenate([[0], np.asarray(a["in/D_obs_counts"]), np.zeros(len(table) - 7)])
    extras = {
        "treatment_cells": a["in/D_obs_counts"],
        "condition_cells": jnp.asarray(singles, a["in/X"].dtype),
    }
    return Batch(
        a["in/X"],
        a["in/X"],
        a["in/D"],
        jnp.asarray(condition),
        cells * 0,
        cells >= 0,
        cells,
        extras,
    )


def module(name):
    return importlib.import_module(MODELS[name].module)


SIZES = {"latent_dim": 8, "hidden_dim": 16, "encoder_layers": 2, "decoder_layers": 2}


def programs(name, a):
    return module(name).programs(make_spec(a), **SIZES, **CASES[name].settings)


def make_noise(name, a):
    return {site: a[f"noise/{key}"] for site, key in CASES[name].noise.items()}


def test_loss_terms_and_gradients(arrays, name, close, precision):
    case, batch = CASES[name], make_batch(arrays)
    model, guide = programs(name, arrays)

    @partial(jax.value_and_grad, has_aux=True)
    def loss(params):
        return svi.negative_elbo(
            model, guide, params, make_noise(name, arrays), batch, seeded=given_noise
        )

    params = nested(arrays, "param/", case.weights)
    (value, terms), gradient = jax.jit(loss)(params)
    np.testing.assert_allclose(
        value, arrays["expect/loss"], rtol={"float64": 1e-9, "float32": 1e-5}[precision]
    )
    assert set(terms) == set(case.terms)
    for site, term in case.terms.items():
        close(terms[site], arrays[f"expect/loss_term_{term}"])
    expected = nested(arrays, "grad/", case.weights)
    assert jax.tree.structure(gradient) == jax.tree.structure(expected)
    jax.tree.map(close, gradient, expected)


def densities(name, a):
    """Values, log densities and moments of every site of both traces, with a leading particle
    axis."""
    model, guide = programs(name, a)
    batch, params = make_batch(a), nested(a, "param/", CASES[name].weights)

    def particle(noise):
        found = {}
        for side, t in zip(
            "pq", svi.traces(model, guide, params, noise, batch, given_noise), strict=True
        ):
            for site, s in ((n, s) for n, s in t.items() if s["type"] == "sample"):
                fn = s["fn"]
                while isinstance(fn, (MaskedDistribution, dist.Independent)):
                    fn = fn.base_dist
                found[f"{side}/{site}"] = s["value"]
                if site == "x":
                    found["rate"], found["log_p_x"] = fn.rate, gene_log_prob(fn, s["value"])
                    continue
                found[f"log_{side}/{site}"] = jnp.broadcast_to(
                    fn.log_prob(s["value"]), s["value"].shape
                )
                moments = {
                    "mean": fn.mean,
                    "std": jnp.sqrt(fn.variance) if isinstance(fn, dist.Normal) else None,
                }
                found |= {
                    f"{side}/{site}/{moment}": jnp.broadcast_to(value, s["value"].shape)
                    for moment, value in moments.items()
                    if value is not None
                }
        return found

    return jax.jit(jax.vmap(particle))(make_noise(name, a))


def test_samples_densities_and_moments(arrays, name, close):
    got, checked = densities(name, arrays), set()

    def same(key, ours):
        checked.add(key)
        close(ours, jnp.broadcast_to(arrays[key], ours.shape))

    for site, key in CASES[name].sites.items():
        same(f"sample/{key}", got[f"q/{site}"])
        for side in "pq":
            same(f"expect/log_{side}_{key}", got[f"log_{side}/{site}"])
            for moment in ("mean", "std", "probs"):
                if f"expect/{side}_{key}/{moment}" in arrays:
                    ours = got[f"{side}/{site}/{'mean' if moment == 'probs' else moment}"]
                    expected = arrays[f"expect/{side}_{key}/{moment}"]
                    if expected.ndim == 2:
                        expected = expected[None]
                    checked.add(f"expect/{side}_{key}/{moment}")
                    close(ours, jnp.broadcast_to(expected, ours.shape))
    same("expect/p_x/rate", got["rate"])
    same("expect/log_p_x", got["log_p_x"])
    same(
        "expect/p_x/concentration",
        jnp.broadcast_to(jnp.exp(arrays["param/decoder/log_concentration"]), got["rate"].shape),
    )
    left = {k for k in arrays if k.startswith(("sample/", "expect/")) and "loss" not in k} - checked
    assert not left, "arrays of the fixture that nothing was compared with"


def test_the_functions_outside_the_programs_agree_with_them(arrays, name, close, precision):
    """`Latent` at the posterior's draw of the globals gives the programs' encoder and decoder."""
    a, case = arrays, CASES[name]
    model = module(name).build(make_spec(a), **SIZES, **case.settings)
    params = nested(a, "param/", case.weights)
    batch = make_batch(a)
    batch = batch._replace(
        extras=batch.extras | {"failed": jnp.zeros(len(batch.x), a["in/X"].dtype)}
    )
    key = jax.random.key(0)

    @jax.jit
    def outside(params, key, batch):
        blocks = model.latent.cells(params, key, batch)
        expected = model.latent.decode(params, blocks, batch.x.sum(1))
        key_shared = jax.random.split(key)[0]
        embedded = model.embed(params, {}, key_shared, batch)
        return blocks, model.latent.shared(params, key_shared), expected, embedded

    blocks, shared, expected, embedded = outside(params, key, batch)
    z_p = batch.treatment @ shared["effect"]
    if name != "svae_plus":  # there pairs would be conditions of their own; the fixture has none
        close(blocks["perturbation"], z_p)
    else:
        close(blocks["perturbation"], shared["shift"][batch.condition])
        close(shared["shift"][1:7], shared["effect"])
    close(expected.sum(1), batch.x.sum(1) + 40 * 1e-4)
    assert np.abs(embedded["z_basal"] - blocks["basal"]).mean() < 3
