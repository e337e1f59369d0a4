"""CRADLE-VAE of the published size: a batch of a simulated screen, and the steps of both sides."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks import plain_cradle, training
from benchmarks.sides import Work
from jaxpert import data
from jaxpert.core import optim
from jaxpert.core.types import Batch, Dataset, Model, Spec
from jaxpert.models.cradle import model as cradle_vae

BATCH, CELLS, GENES, SINGLES, PAIRS = 512, 4 * 512, 5_000, 105, 131
LATENT, HIDDEN, LAYERS = 200, 400, 4


def dataset() -> Dataset:
    """A simulated screen of whole batches, with artifact labels; all cells are for training."""
    screen, _ = data.simulate("norman", cells=CELLS, genes=GENES, singles=SINGLES, pairs=PAIRS)
    labelled = data.add_quality(data.read(screen, perturbation="perturbation"), doublets="none")
    return data.add_split(labelled, kind="none")


def ingredients() -> tuple[Spec, Batch]:
    """On the host, to be sent to other processes."""
    screen = dataset()
    feed = data.make_feed(
        screen, "train", batch_size=BATCH, tables=data.split_tables(screen, "train")
    )
    zero, key = jnp.zeros((), jnp.int32), jax.random.key(0)
    draw = jax.jit(lambda cells: feed.batch(cells, key, feed.order(cells, key, zero), zero))
    return data.make_spec(screen), jax.device_get(draw(feed.data))


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


def ours_work(spec: Spec, batch: Batch, particles: int, steps: int) -> Work:
    return training.ours(ours(spec, particles), our_optimizer(), batch, steps, BATCH)


def plain_work(spec: Spec, batch: Batch, particles: int) -> Work:
    svi = plain_svi(spec, particles)
    return training.plain(svi.update, jax.jit(svi.init)(jax.random.key(0), batch), batch)


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
