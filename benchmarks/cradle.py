"""The screen and the two trainers that `step` and `epoch` compare: jaxpert's, and plain NumPyro's
on the same batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import plain_cradle
from jaxpert import data
from jaxpert.core import optim
from jaxpert.core.types import Batch, Dataset, Model, Spec, step_key
from jaxpert.models.cradle import model as cradle_vae

BATCH, CELLS, GENES, SINGLES, PAIRS = 512, 20 * 512, 5_000, 105, 131
LATENT, HIDDEN, LAYERS = 200, 400, 4
SIZES = (
    f"batch {BATCH}, {GENES:,} genes, latent {LATENT}, hidden {HIDDEN}, {LAYERS} encoder and "
    "embedding layers"
)


def dataset() -> Dataset:
    """A simulated screen of whole batches, with artifact labels; all cells are for training."""
    screen, _ = data.simulate("norman", cells=CELLS, genes=GENES, singles=SINGLES, pairs=PAIRS)
    labelled = data.add_quality(data.read(screen, perturbation="perturbation"), doublets="none")
    return data.add_split(labelled, kind="none")


def feed_of(screen: Dataset) -> Any:
    return data.make_feed(
        screen, "train", batch_size=BATCH, tables=data.split_tables(screen, "train")
    )


def first_batch(feed: Any) -> Batch:
    zero, key = jnp.zeros((), jnp.int32), jax.random.key(0)
    return jax.jit(lambda cells: feed.batch(cells, key, feed.order(cells, key, zero), zero))(
        feed.data
    )


def ours(spec: Spec, particles: int) -> Model:
    return cradle_vae.build(
        spec,
        particles=particles,
        latent_dim=LATENT,
        hidden_dim=HIDDEN,
        encoder_layers=LAYERS,
        embedding_layers=LAYERS,
        embedding_hidden_dim=HIDDEN,
    )


def our_optimizer() -> optax.GradientTransformation:
    return optim.adam(3e-4, weight_decay=1e-6, clip=100.0)


def our_update(model: Model, optimizer: optax.GradientTransformation) -> Callable:
    """`(state, batch) -> (state, loss)`: what `train.fit` does in a step, without drawing the
    batch."""

    def update(state: tuple, batch: Batch) -> tuple[tuple, jax.Array]:
        params, opt_state, key, step = state
        (loss, _), gradient = jax.value_and_grad(model.loss, has_aux=True)(
            params, {}, step_key(key, step), batch
        )
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, key, step + 1), loss

    return update


def our_state(model: Model, optimizer: optax.GradientTransformation, batch: Batch) -> tuple:
    params, _ = jax.jit(model.init)(jax.random.key(0), batch)
    return params, optimizer.init(params), jax.random.key(1), jnp.zeros((), jnp.int32)


def plain_svi(spec: Spec, particles: int) -> Any:
    """The yardstick with the same optimiser, built as one would."""
    optimizer = optax.chain(
        optax.clip_by_global_norm(100.0), optax.add_decayed_weights(1e-6), optax.adam(3e-4)
    )
    return plain_cradle.make_svi(
        spec,
        optimizer,
        particles=particles,
        latent=LATENT,
        hidden=HIDDEN,
        encoder_layers=LAYERS,
        embedding_layers=LAYERS,
    )


def plain_params(params: dict) -> dict:
    """Parameters of `jaxpert.models.cradle_vae` under the names of `plain_cradle`."""

    def network(part: dict, *heads: str) -> dict:
        trunk = part["trunk"]
        return {
            "layers": [trunk[f"layer{k}"] for k in range(len(trunk))],
            "heads": [part[head] for head in heads],
        }

    gaussian = ("mean", "log_var")
    return {
        "decoder": network(params["decoder"], "out"),
        "log_concentration": params["decoder"]["log_concentration"],
        "mask_logits": params["mask_logits"],
        "embedding": network(params["embedding_encoder"], *gaussian),
        "artifact_encoder": network(params["artifact_encoder"], *gaussian),
        "encoder": network(params["z_basal_encoder"], *gaussian),
    }


def host_batch(screen: Dataset, rows: np.ndarray, tables: dict) -> Batch:
    """A batch as a Python loop makes it: rows of the host's CSR matrix, densified and sent to the
    device."""
    x = screen.counts[rows].toarray().astype(np.float32)
    condition = screen.condition[rows].astype(np.int32)
    quality = screen.quality
    assert quality is not None
    failed = quality.failed[rows].astype(np.float32)
    fields: dict[str, Any] = {
        "x": x,
        "control": x,
        "treatment": screen.condition_treatments[condition].astype(np.float32),
        "condition": condition,
        "stratum": screen.stratum[rows].astype(np.int32),
        "mask": np.ones(len(rows), bool),
        "slot": np.arange(len(rows), dtype=np.int32),
        "extras": {"failed": failed, **tables},
    }
    return Batch(**fields)
