"""Fit and predict on a `Dataset`, for notebooks and for `run`: plain Python arguments, no
config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpert import data
from jaxpert.core import optim, train
from jaxpert.core.types import (
    SPLITS,
    Batch,
    Dataset,
    Feed,
    InputError,
    Model,
    PyTree,
    Request,
    TrainState,
)
from jaxpert.data.pairing import pair_controls
from jaxpert.evaluation import differential, generate, pseudobulk

if TYPE_CHECKING:
    from anndata import AnnData

PREDICT = 1
"""Stream folded into the seed's key, apart from training's."""
SETTLE = 2**32 - 4
"""Stream folded into the run's root key, apart from those of `train`."""


class Fitted(NamedTuple):
    """A model with the parameters of its lowest validation loss."""

    model: Model
    params: PyTree
    state: PyTree
    train: TrainState
    """The whole training state, to go on from."""
    outcome: train.Outcome


class Prediction(NamedTuple):
    """Predicted expression of conditions, the control first, on the log2(1 + 1e4 x / sum x)
    scale."""

    names: tuple[str, ...]
    treatment: Float[np.ndarray, "R T"]
    effects: generate.Effects
    support: tuple[str, ...] = ()
    """What stands behind each row (`Model.support`); empty where the model does not say."""
    uncertainty: Float[np.ndarray, "R"] | None = None
    """`Model.uncertainty`: higher is less sure; None where the model does not say."""


def make_feeds(
    dataset: Dataset,
    *,
    batch_size: int,
    devices: int | None = None,
    pair_seed: int | None = None,
    drop_last: bool = False,
    ranked: bool = False,
    **options: Any,
) -> tuple[Feed, Feed | None]:
    """The training and validation cells on the device(s); no validation feed where there are no
    such cells.

    Args:
        pair_seed: pair every cell with one training control cell of its stratum for good, drawn
            with this seed; None draws one anew in every step.
        drop_last: leave out the incomplete last batch of training.
        ranked: whether batches hold the table `ranked` of `ranked_genes`.
        batch_size, devices, **options: of `data.make_feed`.
    """
    count = devices or jax.device_count()
    pairs = None if pair_seed is None else _pairs(dataset, pair_seed)

    def feed(split: str) -> Feed:
        tables = data.split_tables(dataset, split)
        if ranked:
            tables["ranked"] = ranked_genes(dataset, split)
        training = split == "train"
        own = {
            "shuffle": training,
            "drop_last": training and drop_last,
            "tables": tables,
            "pairs": pairs,
        }
        return data.make_feed(
            dataset, split, batch_size=batch_size, devices=count, **own, **options
        )

    return feed("train"), feed("val") if len(dataset.rows("val")) else None


def _pairs(dataset: Dataset, seed: int) -> Int[np.ndarray, "N"]:
    training = np.zeros(len(dataset.cells), bool)
    training[dataset.rows("train")] = True
    strata = None if len(dataset.strata) == 1 else dataset.stratum
    return pair_controls(
        dataset.condition, dataset.control, seed=seed, stratum=strata, pool=training
    )


def ranked_genes(dataset: Dataset, split: str) -> Int[np.ndarray, "C 20"]:
    """The 20 genes by which each condition's cells in `split` differ most from training control
    cells (Welch's t); -1 where a condition has fewer than two cells there."""
    rows = dataset.rows("train")
    control = rows[dataset.condition[rows] == dataset.control]
    rows = np.union1d(dataset.rows(split), control)
    cells = dataset.counts[rows], dataset.condition[rows]
    found = differential.rank(
        pseudobulk.condition_means(*cells, len(dataset.conditions), "ln", variance=True),
        dataset.control,
    )
    return np.where(found.ranked[:, None], differential.top(found.order), -1).astype(np.int32)


def fit(
    model: Model,
    dataset: Dataset,
    *,
    epochs: int,
    batch_size: int = 512,
    learning_rate: float = 3e-4,
    weight_decay: float = 1e-6,
    clip: float | None = 100.0,
    optimizer: Mapping[str, Any] | None = None,
    decay: float = 1.0,
    decay_every: int = 1,
    patience: int | None = None,
    seed: int = 0,
    seeds: int | None = None,
    devices: int | None = None,
    feed_options: dict[str, Any] | None = None,
    feeds: tuple[Feed, Feed | None] | None = None,
    restore: Callable[[TrainState], TrainState] | None = None,
    **loop: Any,
) -> Fitted:
    """Train a model on the training cells, keep the parameters of the lowest validation loss.

    Args:
        model: from `jaxpert.models.<name>.build`.
        dataset: with a split, and with quality labels if the model needs them.
        epochs: at most so many passes over the training cells.
        batch_size: cells per step, over all devices.
        learning_rate: of the optimiser, at the start.
        weight_decay: L2 added to the gradient after clipping, as the published code does.
        clip: bound on the gradient, on its global norm if not said otherwise; None for none.
        optimizer: further arguments of `optim.build` (`kind`, by default "adam", `b1`, `clip_kind`
            ...).
        decay, decay_every: the learning rate is multiplied by `decay` after every so many epochs.
        patience: epochs without a lower validation loss before training stops; None for no early
            stopping.
        seed: of parameters, noise and the order of cells.
        seeds: train so many seeds at once by vmap; every leaf of the result then has a leading seed
            axis.
        devices: how many; None for all that JAX sees.
        feed_options: further arguments of `make_feeds`.
        feeds: of training and validation, in place of those that `make_feeds` makes of the data
            set.
        restore: takes the fresh training state and returns the one to go on from.
        **loop: further arguments of `train.fit` (`log_every`, `save`, `report`, `should_stop` ...).
    """
    if model.check is not None:
        model.check(dataset)
    if feeds is None:
        ranked = model.validate is not None
        feeds = make_feeds(
            dataset, batch_size=batch_size, devices=devices, ranked=ranked, **(feed_options or {})
        )
    rate = optim.decayed(learning_rate, decay, decay_every * feeds[0].steps)
    chosen = {"kind": "adam", "weight_decay": weight_decay, "clip": clip, **(optimizer or {})}
    transformation = optim.build(learning_rate=rate, **chosen)
    # Seed i of several is the single run of seed + i.
    key = (
        jax.random.key(seed)
        if seeds is None
        else jax.vmap(jax.random.key)(seed + jnp.arange(seeds))
    )
    state = train.init(model, transformation, feeds[0], key)
    if restore is not None:
        state = restore(state)
    state, outcome = train.fit(
        model, transformation, state, *feeds, epochs=epochs, patience=patience, **loop
    )
    fitted = Fitted(model, state.best.params, state.best.state, state, outcome)
    return fitted if outcome.reason == "interrupted" else settle(fitted, dataset)


def settle(fitted: Fitted, dataset: Dataset) -> Fitted:
    """With what the model computes once from the training cells (`Model.settle`), for each of
    vmapped seeds; the same whenever it is called, since its randomness comes from the run's key."""
    settle, key = fitted.model.settle, fitted.train.key
    if settle is None:
        return fitted
    if not key.ndim:
        return fitted._replace(
            state=settle(fitted.params, fitted.state, jax.random.fold_in(key, SETTLE), dataset)
        )
    each = []
    for i, one in enumerate(key):
        params, state = jax.tree.map(lambda leaf, i=i: leaf[i], (fitted.params, fitted.state))
        each.append(settle(params, state, jax.random.fold_in(one, SETTLE), dataset))
    return fitted._replace(state=jax.tree.map(lambda *leaves: jnp.stack(leaves), *each))


def pick_seed(fitted: Fitted, index: int) -> Fitted:
    """One of several vmapped seeds."""
    params, state = jax.tree.map(lambda leaf: leaf[index], (fitted.params, fitted.state))
    return fitted._replace(params=params, state=state)


def treatments_of(
    dataset: Dataset, names: Sequence[str], separator: str = "+"
) -> Float[np.ndarray, "R T"]:
    """Multi-hot rows for condition names of the data set, or for treatments joined by `separator`
    in any order."""
    known = {
        name: row
        for name, row in zip(dataset.conditions, dataset.condition_treatments, strict=True)
    }
    column = {name: t for t, name in enumerate(dataset.treatments)}
    control = dataset.conditions[dataset.control]
    rows = np.zeros((len(names), len(column)), np.float32)
    for i, name in enumerate(names):
        if name in known:
            rows[i] = known[name]
            continue
        parts = [part for part in name.split(separator) if part != control]
        unknown = [part for part in parts if part not in column]
        if unknown:
            raise InputError(
                f"{name!r} asks for {', '.join(map(repr, unknown))}, which no cell of "
                f"{dataset.name!r} received: "
                f"expected treatments such as {', '.join(dataset.treatments[:5])}"
            )
        rows[i, [column[part] for part in parts]] = 1
    return rows


def make_request(
    treatment: Float[np.ndarray, "R T"], *, library: float = 1e4, failed: float = 0.0
) -> Request:
    """Cells of the first stratum with one library size and artifact flag."""
    rows = len(treatment)
    return Request(
        treatment=jnp.asarray(treatment, jnp.float32),
        library=jnp.full(rows, library, jnp.float32),
        stratum=jnp.zeros(rows, jnp.int32),
        failed=jnp.full(rows, failed, jnp.float32),
    )


def predict_effects(
    fitted: Fitted,
    dataset: Dataset,
    names: Sequence[str],
    *,
    particles: int = 2500,
    library: float = 1e4,
    seed: int = 0,
) -> Prediction:
    """Predicted artifact-free expression and effect of each named condition, the control in
    front."""
    control = dataset.conditions[dataset.control]
    names = (control, *(name for name in names if name != control))
    treatment = treatments_of(dataset, names)
    model, request = fitted.model, make_request(treatment, library=library)
    support = () if model.support is None else model.support(treatment)
    unsure = None
    if model.uncertainty is not None:
        unsure = np.asarray(jax.jit(model.uncertainty)(fitted.params, fitted.state, request))
    effects = generate.effect_intervals(
        fitted.model,
        fitted.params,
        fitted.state,
        jax.random.fold_in(jax.random.key(seed), PREDICT),
        request,
        control=0,
        particles=particles,
        groups=min(20, particles // 2),
        controls=_control_cells(fitted.model, dataset, particles),
    )
    return Prediction(names, treatment, effects, support, unsure)


def _control_cells(model: Model, dataset: Dataset, most: int) -> Float[Array, "K G"] | None:
    """Training control cells for models that shift a given cell; the others need none."""
    if not model.needs_control:
        return None
    rows = pseudobulk.passed_rows(dataset, "train")
    rows = rows[dataset.condition[rows] == dataset.control][:most]
    return jnp.asarray(dataset.counts[rows].toarray(), jnp.float32)


def predict(
    fitted: Fitted, dataset: Dataset, perturbations: Sequence[str], **options: Any
) -> AnnData:
    """Predict perturbations, seen or not, alone or combined ("A+B"), as an AnnData of one row each.

    `X` is the mean of log2(1 + 1e4 x / sum x) over generated artifact-free cells; layers hold
    `effect` (minus the predicted control), `effect_error` (its Monte-Carlo standard error) and `sd`
    (spread over cells). `obs` says the condition, the splits that hold cells of it ("unseen" for
    none), `support` ("trained", or which treatments had no training cells) and, where the model has
    it, `uncertainty` (higher is less sure). Options as in `predict_effects`: particles, library,
    seed.
    """
    return to_anndata(predict_effects(fitted, dataset, perturbations, **options), dataset)


def to_anndata(prediction: Prediction, dataset: Dataset) -> AnnData:
    """The AnnData of `predict`."""
    import anndata
    import pandas

    moments, effects = prediction.effects.moments, prediction.effects
    obs = pandas.DataFrame(
        {
            "condition": list(prediction.names),
            "split": [_splits_of(dataset, row) for row in prediction.treatment],
            "generated_cells": moments.cells,
            **({"support": list(prediction.support)} if prediction.support else {}),
            **({} if prediction.uncertainty is None else {"uncertainty": prediction.uncertainty}),
        },
        index=pandas.Index(prediction.names),
    )
    layers = {"effect": effects.effect, "effect_error": effects.error, "sd": moments.sd}
    return anndata.AnnData(
        X=moments.mean.astype(np.float32),
        obs=obs,
        var=pandas.DataFrame(index=pandas.Index(dataset.genes)),
        layers={name: values.astype(np.float32) for name, values in layers.items()},
        uns={"scale": "mean of log2(1 + 1e4 x / sum x)", "data": dataset.name},
    )


def _splits_of(dataset: Dataset, treatment: Float[np.ndarray, "T"]) -> str:
    """Splits with cells of the condition, joined by "+"; "dropped" where all of its cells are in
    none."""
    same = np.flatnonzero((dataset.condition_treatments == treatment).all(1))
    cells = np.isin(dataset.condition, same)
    if dataset.split is None or not cells.any():
        return "unseen"
    codes = np.unique(dataset.split[cells])
    used = [SPLITS[code] for code in codes if SPLITS[code] != "dropped"]
    return "+".join(used) or "dropped"


def in_blocks(
    dataset: Dataset, rows: np.ndarray, batch_size: int, function: Callable[[int, Batch], PyTree]
) -> PyTree:
    """`function(number, batch)` on blocks of cells, joined in the order of `rows`; the last block
    is filled up with cells that are then cut off, so that all blocks run one compiled program."""
    found = []
    for number, start in enumerate(range(0, len(rows), batch_size)):
        block = np.resize(rows[start : start + batch_size], batch_size)
        values = function(number, make_batch(dataset, block))
        found.append(jax.tree.map(np.asarray, values))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(rows)], *found)


def embed_cells(
    fitted: Fitted, dataset: Dataset, rows: np.ndarray, *, batch_size: int = 512, seed: int = 0
) -> dict[str, np.ndarray]:
    """Named posterior-mean latents of the given cells, in their order."""
    if fitted.model.embed is None:
        raise InputError("this model has no latent space to embed cells in")
    embed = jax.jit(fitted.model.embed)
    key = jax.random.key(seed)
    return in_blocks(
        dataset, rows, batch_size, lambda _, batch: embed(fitted.params, fitted.state, key, batch)
    )


def make_batch(dataset: Dataset, rows: np.ndarray) -> Batch:
    """The given cells as one batch, with themselves in place of matched controls and no tables."""
    x = jnp.asarray(dataset.counts[rows].toarray(), jnp.float32)
    failed = np.zeros(len(rows)) if dataset.quality is None else dataset.quality.failed[rows]
    return Batch(
        x=x,
        control=x,
        treatment=jnp.asarray(dataset.condition_treatments[dataset.condition[rows]], jnp.float32),
        condition=jnp.asarray(dataset.condition[rows], jnp.int32),
        stratum=jnp.asarray(dataset.stratum[rows], jnp.int32),
        mask=jnp.ones(len(rows), bool),
        slot=jnp.arange(len(rows), dtype=jnp.int32),
        extras={"failed": jnp.asarray(failed, jnp.float32)},
    )
