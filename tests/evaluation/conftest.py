"""Small models that keep the contract, with known moments."""

import types

import jax
import jax.numpy as jnp
import pytest

from jaxpert.core.types import Model, Request

GENES, TREATMENTS = 6, 3


def rounding(shared: float = 0.5) -> Model:
    """Rates rounded up or down at random: base rates, an effect per treatment, and a draw per key
    for all rows."""

    def predict(params, state, key, request):
        key_shared, key_counts = jax.random.split(key)
        shift = shared * jax.random.normal(key_shared, (GENES,))
        logits = params["base"] + request.treatment @ params["effect"] + shift
        rate = request.library[:, None] * jax.nn.softmax(logits)
        return jnp.floor(rate + jax.random.uniform(key_counts, rate.shape))

    def score(params, state, key, batch):
        noise = jax.vmap(lambda slot: jax.random.normal(jax.random.fold_in(key, slot)))(batch.slot)
        return -batch.x.sum(-1) + params["noise"] * noise

    return Model(init=None, loss=None, predict=predict, score=score)


def shifting() -> Model:
    """Deterministic: a given control cell, log-normalised, plus an effect."""

    def predict(params, state, key, request):
        y = jnp.log1p(1e4 * request.control / request.control.sum(-1, keepdims=True))
        return y + request.treatment @ params["effect"]

    return Model(init=None, loss=None, predict=predict, scale="lognorm", stochastic=False)


def params():
    effect = jnp.array([[1.0, 0, 0, 0, 0, -1], [0, 0, 2, 0, 0, 0], [0, -0.5, 0, 0, 0.5, 0]])
    return {"base": jnp.arange(GENES) / 3.0, "effect": effect, "noise": 0.0}


def request(rows: int, library: float = 40.0) -> Request:
    """Control first, then rows that run through the treatments."""
    treatment = jnp.concatenate([jnp.zeros((1, TREATMENTS)), jnp.eye(TREATMENTS)])[
        jnp.arange(rows) % (TREATMENTS + 1)
    ]
    return Request(treatment, jnp.full(rows, library), jnp.zeros(rows, jnp.int32), jnp.zeros(rows))


@pytest.fixture(scope="session")
def toys() -> types.SimpleNamespace:
    """The two models (made once, so that compiled programs are shared), their parameters and a
    request."""
    return types.SimpleNamespace(
        GENES=GENES, counts=rounding(), shifting=shifting(), params=params(), request=request
    )
