"""Train a model on feeds and keep its best parameters; the same for every task and family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxpert.core import optim, readable, train
from jaxpert.core.config import TrainKeys
from jaxpert.core.streams import Stream
from jaxpert.core.types import Batch, Dataset, Feed, Model, PyTree, TrainState


class Fitted(NamedTuple):
    """A model with the parameters of its lowest validation loss."""

    model: Model
    params: PyTree
    state: PyTree
    train: TrainState | None = None
    """The whole training state, to go on from; None where it was not kept."""
    outcome: train.Outcome | None = None

    def __repr__(self) -> str:
        return readable.of_fitted(self)


@dataclass(frozen=True)
class Loop:
    """What a run adds to training: where to save, what to report, when to stop (`train.fit`)."""

    restore: Callable[[TrainState], TrainState] | None = None
    """Takes the fresh training state and returns the one to go on from, whose memory the steps take
    over."""
    hooks: train.Hooks = train.NO_HOOKS


def fit(
    model: Model,
    dataset: Dataset,
    feeds: tuple[Feed, Feed | None],
    settings: TrainKeys,
    *,
    seed: int = 0,
    seeds: int | None = None,
    loop: Loop = Loop(),
) -> Fitted:
    """Train a model on the batches of a feed, keep the parameters of the lowest validation loss.

    Args:
        model: from `build` of a model's module.
        dataset: behind the feeds, for what the model computes after training.
        feeds: of training and validation.
        settings: the section `train` of a config.
        seed: of parameters, noise and the order of cells.
        seeds: train so many seeds at once by vmap; every leaf of the result then has a leading seed
            axis, and seed i is the single run of `seed` + i.
        loop: hooks of a run.
    """
    optimizer = make_optimizer(settings, feeds[0].steps)
    # Made in any case: its shapes and types are what a checkpoint is held against.
    state = train.init(model, optimizer, feeds[0], root_key(seed, seeds))
    if loop.restore is not None:
        state = loop.restore(state)
    schedule = train.Schedule(
        epochs=settings.epochs,
        # A config holds numbers only, where 0 stands for no bound.
        max_steps=settings.max_steps or None,
        patience=settings.patience or None,
        validate_every=settings.validate_every,
        log_every=settings.log_every,
        save_seconds=settings.save_seconds,
    )
    state, outcome = train.fit(model, optimizer, state, feeds, schedule, loop.hooks, keep=False)
    fitted = Fitted(model, state.best.params, state.best.state, state, outcome)
    # An interrupted run goes on later, so what follows training waits for its end.
    if outcome.reason == "interrupted":
        return fitted
    return after_training(fitted, dataset)


def root_key(seed: int, seeds: int | None = None) -> jax.Array:
    """The key that everything random of a run comes from; one for each of several seeds."""
    if seeds is None:
        return jax.random.key(seed)
    # Consecutive seeds, so that each equals the single run of its own number.
    return jax.vmap(jax.random.key)(seed + jnp.arange(seeds))


def make_optimizer(settings: TrainKeys, steps: int) -> Any:
    """The optimiser of a section `train`, for epochs of so many steps."""
    # A tenth of the epochs, as in docs/models/cycseq.md, "Optimiser and schedule".
    every = settings.decay_every or max(1, round(settings.epochs / 10))
    return optim.build(
        settings.optimizer,
        # optax counts steps where a config counts epochs.
        optim.decayed(settings.learning_rate, settings.decay, every * steps),
        betas=(settings.b1, settings.b2),
        weight_decay=settings.weight_decay,
        clip=settings.clip or None,
        clip_kind=settings.clip_kind,
        clip_parts=settings.clip_parts,
        freeze=settings.freeze,
    )


def check_names(model: Model, settings: TrainKeys, batch: Batch) -> None:
    """Refuse parts and paths of `train` that the model has not, which would else be met only where
    training begins; `batch` holds any rows."""
    if settings.clip_parts or settings.freeze:
        # The names are known once the data are, since they give the sizes; nothing is computed.
        params, _ = jax.eval_shape(model.init, jax.random.key(0), batch)
        optim.check_names(params, clip_parts=settings.clip_parts, freeze=settings.freeze)


def after_training(fitted: Fitted, dataset: Dataset) -> Fitted:
    """With what the model computes once from the training cells (`Model.after_training`), for each
    of vmapped seeds; the same whenever it is called, since its randomness comes from the run's
    key."""
    compute = fitted.model.after_training
    if compute is None or fitted.train is None:
        return fitted
    keys = fitted.train.key
    # The keys of several seeds have an axis, a single one has none.
    if not keys.ndim:
        key = jax.random.fold_in(keys, Stream.AFTER_TRAINING)
        return fitted._replace(state=compute(fitted.params, fitted.state, key, dataset))
    states = []
    # One after the other: this code runs on the host and cannot be vmapped.
    for index, root in enumerate(keys):
        single = pick_seed(fitted, index)
        key = jax.random.fold_in(root, Stream.AFTER_TRAINING)
        states.append(compute(single.params, single.state, key, dataset))
    return fitted._replace(state=jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))


def pick_seed(fitted: Fitted, index: int) -> Fitted:
    """One of several vmapped seeds."""
    params, state = jax.tree.map(lambda leaf: leaf[index], (fitted.params, fitted.state))
    return fitted._replace(params=params, state=state)
