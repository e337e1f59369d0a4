"""scGen: an autoencoder of cells in whose latent space a perturbation is one vector, the same for
every cell type.

The vector ("delta") of a perturbation is the difference of mean latents between cells with it and
control cells; a prediction decodes a control cell's latent mean plus that vector, so a cell type
that never met the perturbation can be predicted. Deltas are no parameters: `settle` computes them
once, after training, from the training cells, and the state carries them. The default network is
that of 2019 without two of its accidents (the variants "v1" and "v2" are the public versions); in
all of them layers before a normalisation have no bias, which changes no function that can be
learned, and remembered variances are unbiased. Source: Lotfollahi et al., Nature Methods 2019; spec
section 14.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpert.core.parallel import psum
from jaxpert.core.types import Batch, Dataset, InputError, Model, PyTree, Request, Spec, Validation
from jaxpert.models.scgen.deltas import (
    delta,
    delta_weights,
    single_conditions,
    source_rows,
    trained_conditions,
)
from jaxpert.models.scgen.network import VARIANTS, Network, Noise
from jaxpert.nn.transforms import log1p_normalize

SOURCES = ("all", "others")
BLOCK = 2048
"""Cells that `settle` encodes at a time."""


@dataclass(frozen=True)
class Settings:
    """Hyperparameters; the defaults are the published ones (spec section 14)."""

    latent_dim: int = 100
    hidden_dim: int = 800
    hidden_layers: int = 2
    """Of the encoder, and of the decoder but for "v2", whose decoder has one."""
    dropout: float = 0.2
    kl_weight: float = 5e-5
    """Alpha: of the KL term beside half the squared error summed over genes ("v2" takes half of
    it)."""
    variant: str = "default"
    """"default": leaky ReLU 0.01, plain affine output. "v1" (2019): slope 0.2, the decoder's last
    hidden layer not normalised, ReLU on the output, deltas of drawn latents. "v2" (scvi-tools): one
    hidden decoder layer, output normalised, leaky and dropped out, half the KL weight."""
    delta_from: str = "all"
    """Training cells behind the delta for a stratum (cell type, line): of "all" strata, or of the
    "others" only (its own where no other has the perturbation)."""


class ScGen(NamedTuple):
    """What the pure functions close over."""

    spec: Spec
    settings: Settings
    network: Network


def make(spec: Spec, **settings: Any) -> ScGen:
    """The network for the data that `spec` describes; settings as in `build`."""
    s = Settings(**settings)
    _check_settings(s)
    form, sizes = VARIANTS[s.variant], (s.latent_dim, s.hidden_dim, s.hidden_layers)
    return ScGen(spec, s, Network(len(spec.genes), *sizes, form, float(s.dropout)))


def build(spec: Spec, **settings: Any) -> Model:
    """scGen for the data that `spec` describes; predicts mean log-normalised expression of shifted
    control cells.

    Args:
        spec: its strata are the cell types over which deltas are balanced.
        **settings: fields of `Settings`; another one is a TypeError.

    A request's row is its control cell (the mean training control where none is given) shifted by
    the delta of its treatment, with `delta_from="others"` that for its stratum. A combination
    without training cells is shifted by the sum of its treatments' deltas; for a treatment that
    training never gave alone the mean delta stands in (`support` and `check` name these). Until
    `Model.settle` (called by `workflow.fit`) has seen the training cells, deltas are those of the
    batch that `init` saw.

    Raises:
        InputError: for a setting out of range.
    """
    net = make(spec, **settings)
    return Model(
        init=partial(init, net),
        loss=partial(loss, net),
        predict=partial(predict, net),
        embed=partial(embed, net),
        check=partial(check, net),
        settle=partial(settle, net),
        validate=Validation(partial(validation_sums, net), partial(validation_loss, net)),
        support=partial(support, net),
        scale="lognorm",
        stochastic=False,
        needs_control=True,
    )


def _check_settings(s: Settings) -> None:
    for name, allowed in (("variant", tuple(VARIANTS)), ("delta_from", SOURCES)):
        if getattr(s, name) not in allowed:
            raise InputError(
                f"model.kwargs.{name} is {getattr(s, name)!r}, expected one of {', '.join(allowed)}"
            )
    for field in fields(s):
        value = getattr(s, field.name)
        if field.type == "int" and (
            isinstance(value, bool) or not isinstance(value, int) or value < 1
        ):
            raise InputError(
                f"model.kwargs.{field.name} is {value!r}, expected a whole number, at least 1"
            )
    if not 0 <= s.dropout < 1:
        raise InputError(f"model.kwargs.dropout is {s.dropout}, expected a share in [0, 1)")
    if not s.kl_weight >= 0:
        raise InputError(f"model.kwargs.kl_weight is {s.kl_weight}, expected 0 or more")


# training


def expression(batch: Batch) -> Float[Array, "B G"]:
    """Log-normalised expression, finite on padding too."""
    return log1p_normalize(jnp.where(batch.mask[:, None], batch.x, 1))


def init(net: ScGen, key: PRNGKeyArray, batch: Batch) -> tuple[PyTree, PyTree]:
    """`Model.init`: the network, and deltas of the batch's own latent means as a first value."""
    x = expression(batch)
    variables = net.network.init(key, x, None)
    state = {"batch_stats": variables["batch_stats"]}
    mean = latent_means(net, variables["params"], state, x)
    count = len(net.spec.conditions)
    sums = jax.ops.segment_sum(mean * batch.mask[:, None], batch.condition, count)
    cells = jax.ops.segment_sum(batch.mask.astype(mean.dtype), batch.condition, count)[:, None]
    means = sums / jnp.maximum(cells, 1)
    deltas = jnp.where(
        (cells > 0) & (cells[net.spec.control] > 0), means - means[net.spec.control], 0
    )
    return variables["params"], state | {"deltas": jnp.tile(deltas, (_strata(net), 1, 1))}


def _strata(net: ScGen) -> int:
    """Rows of the table of deltas: one for all strata, or one each."""
    return len(net.spec.strata) if net.settings.delta_from == "others" else 1


def cell_losses(
    mean: Float[Array, "B Z"],
    variance: Float[Array, "B Z"],
    predicted: Float[Array, "B G"],
    x: Float[Array, "B G"],
) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """Half the squared error summed over genes, and the KL divergence from N(0, I), of each cell
    (unweighted)."""
    error = 0.5 * jnp.square(x - predicted).sum(1)
    return error, 0.5 * (variance + jnp.square(mean) - 1 - jnp.log(variance)).sum(1)


def total(net: ScGen, error: Array, kl: Array) -> tuple[Array, dict[str, Array]]:
    """The loss from the means of its two terms, and these."""
    weight = net.settings.kl_weight * net.network.form.kl_factor
    return error + weight * kl, {"reconstruction": error, "kl": kl}


def loss(
    net: ScGen, params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    """`Model.loss`: mean over the batch's cells of half the squared error plus the weighted KL
    term."""
    x, mask = expression(batch), batch.mask.astype(batch.x.dtype)
    noise = Noise(mask, jax.vmap(jax.random.fold_in, (None, 0))(key, batch.slot))
    variables = {"params": params, "batch_stats": state["batch_stats"]}
    (mean, variance, predicted), changed = net.network.apply(
        variables, x, noise, mutable=["batch_stats"]
    )
    share = mask / psum(mask.sum())
    error, kl = cell_losses(mean, variance, predicted, x)
    value, terms = total(net, psum((share * error).sum()), psum((share * kl).sum()))
    return value, (state | changed, terms)


def validation_sums(
    net: ScGen, params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch
) -> PyTree:
    """Both terms summed over cells in inference mode (remembered moments, no dropout, z at its
    mean), and the cells."""
    del key
    x = expression(batch)
    mean, variance, predicted = _apply(net, params, state, x, None)
    error, kl = cell_losses(mean, variance, predicted, x)
    mask = batch.mask.astype(x.dtype)
    return psum({"error": (mask * error).sum(), "kl": (mask * kl).sum(), "cells": mask.sum()})


def validation_loss(net: ScGen, sums: PyTree) -> tuple[Array, dict[str, Array]]:
    """The loss and its terms from `validation_sums`."""
    return total(net, sums["error"] / sums["cells"], sums["kl"] / sums["cells"])


def _apply(net: ScGen, params: PyTree, state: PyTree, *args: Any, method: str = "__call__") -> Any:
    return net.network.apply(
        {"params": params, "batch_stats": state["batch_stats"]}, *args, method=method
    )


# prediction


def latent_means(
    net: ScGen, params: PyTree, state: PyTree, x: Float[Array, "B G"]
) -> Float[Array, "B Z"]:
    """Posterior means of cells, `x` log-normalised, in inference mode."""
    return _apply(net, params, state, x, method="encode")[0]


def predict_cells(
    net: ScGen,
    params: PyTree,
    state: PyTree,
    x: Float[Array, "B G"],
    delta: Float[Array, "*B Z"],
    sign: int = 1,
) -> Float[Array, "B G"]:
    """Cells moved along a delta: decode(m(x) + sign delta).

    Args:
        x: cells to move, log-normalised: control cells, or with `sign=-1` perturbed ones that lose
            their perturbation.
        delta: one for all cells or one for each.
        sign: 1 adds the perturbation, -1 takes it away.
    """
    z = latent_means(net, params, state, x) + sign * delta
    return _apply(net, params, state, z, method="decode")


def predict(
    net: ScGen, params: PyTree, state: PyTree, key: PRNGKeyArray, request: Request
) -> Float[Array, "R G"]:
    """`Model.predict`: each row's control cell shifted by the delta of its treatment."""
    rows, genes = len(request.treatment), len(net.spec.genes)
    if request.control is None:
        x = jnp.broadcast_to(jnp.asarray(net.spec.control_mean, jnp.float32), (rows, genes))
    else:
        x = log1p_normalize(request.control)
    return predict_cells(
        net, params, state, x, shifts(net, state, request.treatment, request.stratum)
    )


def shifts(
    net: ScGen, state: PyTree, treatment: Float[Array, "R T"], stratum: Int[Array, "R"]
) -> Float[Array, "R Z"]:
    """Delta of each row: that of its condition where training had it, else the sum over its
    treatments."""
    spec, deltas = net.spec, state["deltas"]
    trained = np.zeros((len(spec.conditions), 1))
    trained[trained_conditions(spec)] = 1
    table = jnp.asarray(spec.condition_treatments * trained, deltas.dtype)
    shared = treatment @ table.T
    own = (shared == table.sum(1)) & (shared == treatment.sum(1, keepdims=True)) & (shared > 0)
    summed = treatment @ jnp.asarray(delta_weights(spec), deltas.dtype)
    weights = jnp.where(own.any(1, keepdims=True), own.astype(deltas.dtype), summed)
    moved = jnp.einsum("rc,scz->rsz", weights, deltas)
    of = stratum if len(deltas) > 1 else jnp.zeros_like(stratum)
    return jnp.take_along_axis(moved, of[:, None, None], axis=1)[:, 0]


def embed(
    net: ScGen, params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch
) -> dict[str, Array]:
    """`Model.embed`: posterior means, perturbation included."""
    return {"z": latent_means(net, params, state, expression(batch))}


# deltas


def settle(
    net: ScGen, params: PyTree, state: PyTree, key: PRNGKeyArray, dataset: Dataset
) -> PyTree:
    """`Model.settle`: the state with the deltas of all trained conditions, from the training cells
    of `dataset`.

    The source of a delta are the strata with training cells of both the perturbation and control
    (all cells, where no stratum has both), with `delta_from="others"` other ones than the stratum
    to be predicted where there are any.
    """
    rows = dataset.rows("train")
    latent = latents_of(net, params, state, key, dataset, rows)
    condition, stratum = dataset.condition[rows], dataset.stratum[rows]
    seed = np.asarray(jax.random.key_data(key)).ravel().tolist()
    deltas = np.zeros(state["deltas"].shape, np.float32)
    for c in trained_conditions(net.spec):
        for s in range(len(deltas)):
            own = s if net.settings.delta_from == "others" else None
            used = source_rows(condition, stratum, int(c), net.spec.control, own)
            rng = np.random.default_rng([*seed, s, int(c)])
            deltas[s, c] = delta(latent[used], condition[used] == c, stratum[used], rng)
    return state | {"deltas": jnp.asarray(deltas)}


def latents_of(
    net: ScGen,
    params: PyTree,
    state: PyTree,
    key: PRNGKeyArray,
    dataset: Dataset,
    rows: Int[np.ndarray, "n"],
) -> Float[np.ndarray, "n Z"]:
    """Latents of cells of a data set: posterior means; drawn ones in the variant "v1"."""

    @jax.jit
    def encode(params: PyTree, state: PyTree, key: PRNGKeyArray, counts: Array) -> Array:
        mean, variance = _apply(net, params, state, log1p_normalize(counts), method="encode")
        if net.settings.variant != "v1":
            return mean
        return mean + jnp.sqrt(variance) * jax.random.normal(key, mean.shape, mean.dtype)

    found = []
    for number, start in enumerate(range(0, len(rows), BLOCK)):
        block = rows[start : start + BLOCK]
        counts = jnp.asarray(
            dataset.counts[np.resize(block, min(BLOCK, len(rows)))].toarray(), jnp.float32
        )
        found.append(
            np.asarray(encode(params, state, jax.random.fold_in(key, number), counts))[: len(block)]
        )
    return np.concatenate(found)


# what users are told


def support(net: ScGen, treatment: Float[np.ndarray, "R T"]) -> tuple[str, ...]:
    """`Model.support`: whether a row has a delta of its own, the sum of its treatments', or the
    mean one."""
    spec = net.spec
    trained = {
        tuple(row)
        for row in (np.asarray(spec.condition_treatments) != 0)[
            [spec.control, *trained_conditions(spec)]
        ]
    }
    return tuple(
        _support_of(spec, row, tuple(row) in trained) for row in np.asarray(treatment) != 0
    )


def _support_of(spec: Spec, row: np.ndarray, trained: bool) -> str:
    if trained:
        return "trained"
    new = [spec.treatments[t] for t in np.flatnonzero(row & ~single_conditions(spec).any(1))]
    return (
        f"never given alone in training: {', '.join(new)}" if new else "sum of trained treatments"
    )


def check(net: ScGen, dataset: Dataset) -> tuple[str, ...]:
    """`Model.check`: refuse cells without counts and training without control or perturbation; note
    stand-ins."""
    used = np.concatenate([dataset.rows(split) for split in ("train", "val", "test")])
    empty = int((np.diff(dataset.counts.indptr)[used] == 0).sum())
    if empty:
        raise InputError(
            f"{empty} cells of {dataset.name!r} have no counts in the chosen genes, expected at "
            "least one in each: "
            "leave these cells out, or choose more genes"
        )
    spec = net.spec
    if not spec.condition_cells[spec.control] or not len(trained_conditions(spec)):
        raise InputError(
            f"training has {int(spec.condition_cells[spec.control])} control cells and "
            f"{len(trained_conditions(spec))} "
            "perturbations, expected some of both, between which a delta is the difference: "
            "change the split"
        )
    missing = [spec.treatments[t] for t in np.flatnonzero(~single_conditions(spec).any(1))]
    return _missing(missing) + _apart(net, dataset)


def _missing(names: list[str]) -> tuple[str, ...]:
    if not names:
        return ()
    return (
        f"{len(names)} treatments were never given alone in training, so the mean delta stands in "
        "where a prediction "
        f"needs theirs: {', '.join(names)}",
    )


def _apart(net: ScGen, dataset: Dataset) -> tuple[str, ...]:
    """Perturbations that no stratum has together with control: their delta holds the strata's
    difference too."""
    rows = dataset.rows("train")
    held = np.zeros((len(dataset.strata), len(dataset.conditions)), bool)
    held[dataset.stratum[rows], dataset.condition[rows]] = True
    apart = [
        dataset.conditions[c]
        for c in trained_conditions(net.spec)
        if not (held[:, c] & held[:, net.spec.control]).any()
    ]
    if not apart:
        return ()
    return (
        f"{len(apart)} perturbations share no stratum of {dataset.name!r} with control cells, so "
        "that their delta "
        f"holds the difference of the strata too: {', '.join(apart)}",
    )
