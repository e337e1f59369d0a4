"""A model of a known inside with an artifact, and cells that failed quality."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from jaxpert.core.fit import Fitted
from jaxpert.core.types import Dataset, Latent, Model, Quality
from support import toy

GENES = 12
BASE = np.linspace(-1, 1, GENES).astype(np.float32)
EFFECT = np.random.default_rng(1).normal(0, 1, (3, GENES)).astype(np.float32)
ARTIFACT = np.where(np.arange(GENES) < 3, 2.0, -0.3).astype(np.float32)
PARAMS = {"base": BASE, "effect": EFFECT, "artifact": ARTIFACT}


def labelled(failed=None) -> Dataset:
    """The toy screen; without a choice every fourth cell failed."""
    dataset = toy.dataset()
    failed = np.arange(len(dataset.cells)) % 4 == 1 if failed is None else failed
    return replace(dataset, quality=Quality({}, {}, 5, failed))


def planted(noise: float) -> Model:
    """Log-rates are base + noise per cell, effect, and an artifact that differs from draw to
    draw."""

    def cells(params, key, batch):
        draw = jax.vmap(lambda slot: jax.random.normal(jax.random.fold_in(key, slot), (GENES,)))(
            batch.slot
        )
        shift = params["artifact"] * (1 + 0.5 * jax.random.normal(key))
        return {
            "basal": params["base"] + noise * draw,
            "perturbation": batch.treatment @ params["effect"],
            "artifact": batch.extras["failed"][:, None] * shift,
        }

    def decode(params, blocks, library):
        return library[:, None] * jax.nn.softmax(sum(blocks.values()))

    def predict(params, state, key, request):
        key_shared, key_cell = jax.random.split(key)
        effect = params["effect"] * (1 + 0.2 * jax.random.normal(key_shared))
        states = noise * jax.random.normal(key_cell, (len(request.library), GENES))
        shift = request.failed[:, None] * params["artifact"]
        rate = jax.nn.softmax(params["base"] + states + request.treatment @ effect + shift)
        return jnp.floor(request.library[:, None] * rate)

    no = {"init": None, "loss": None}
    return Model(**no, predict=predict, latent=Latent(lambda *_: {}, cells, decode))  # pyright: ignore


def fitted(model: Model) -> Fitted:
    return Fitted(model, PARAMS, {})
