"""Fitted predictors as bases, over whose predictions a model learns what is left
(docs/models/residual.md).

A base fitted to a training perturbation tells it back, noise included, and would leave a model
nothing to learn. So a model sees each training perturbation as a fit without it predicts it: as
far off as the base is on new ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxpert.core import log
from jaxpert.core.types import SPLITS, Base, Dataset, InputError, Model, PyTree, Spec
from jaxpert.data.mapped import totals
from jaxpert.tasks.screen.asking import make_request

NONE = "none"
"""Stands for no base."""
FOLDS = 10
"""Parts in which training perturbations are left out, of singles and of combinations; as many as
there are where these are fewer."""
UNIT = {"log2": float(np.log(2)), "lognorm": 1.0}
"""By what changes on a predictor's scale are multiplied to be of natural logarithms."""


class Fold(NamedTuple):
    """Training perturbations, by rows."""

    asked: Bool[np.ndarray, "K"]
    """Those that are predicted."""
    used: Bool[np.ndarray, "K"]
    """Those that the predictor learns from."""


def folds_of(sets: Float[np.ndarray, "K T"], rng: np.random.Generator) -> Iterator[Fold]:
    """Parts such that every set is asked for once, of a fit that is to it what one to all sets is
    to a new set of its kind.

    A single is predicted without anything that has its gene, as a gene that no cell had; a
    combination without itself alone.
    """
    single = sets.sum(1) == 1
    genes = np.flatnonzero(sets[single].any(0))
    for part in _parts(genes, rng):
        without = sets[:, part].sum(1) == 0
        yield Fold(single & ~without, without)
    for part in _parts(np.flatnonzero(~single), rng):
        asked = np.isin(np.arange(len(sets)), part)
        yield Fold(asked, ~asked)


def _parts(members: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Random parts of even size; none of nothing."""
    if not len(members):
        return []
    return np.array_split(rng.permutation(members), min(FOLDS, len(members)))


def fit_base(name: str, model: Model, dataset: Dataset) -> Base:
    """Fit a predictor to the training cells of a split data set, and to parts of them.

    Args:
        name: of the predictor.
        model: one that is computed after training, without parameters.
        dataset: nothing but its training cells is looked at.

    Raises:
        InputError: where the predictor cannot be made of all training cells, or of a part.
    """
    if model.after_training is None or model.stochastic or model.scale not in UNIT:
        raise InputError(
            f"model.kwargs.base is {name!r}, which is trained by steps or generates cells, "
            "expected a predictor that is computed from means: take a baseline"
        )
    rows = dataset.rows("train")
    trained = np.bincount(dataset.condition[rows], minlength=len(dataset.conditions)) > 0
    trained[dataset.control] = False
    numbers = np.flatnonzero(trained)
    predict = partial(changes_with, model)
    state = _fitted(model, dataset, f"model.kwargs.base={name}")
    left_out = np.zeros((len(trained), len(dataset.genes)), np.float32)
    sets = dataset.condition_treatments[numbers]
    folds = list(folds_of(sets, np.random.default_rng(0)))
    log.say(f"fitting the base {name} again to each of {len(folds)} parts of training")
    for fold in folds:
        asked = numbers[fold.asked]
        fewer = _without(dataset, numbers[~fold.used])
        what = f"model.kwargs.base={name} without {_named(dataset, asked)}"
        left_out[asked] = predict(_fitted(model, fewer, what), jnp.asarray(sets[fold.asked]))
    library = float(np.median(totals(dataset.counts, rows)))
    return Base(name, state, predict, trained, left_out, library)


def base_of(spec: Spec, name: str) -> Base | None:
    """The base that a model's settings name; None for "none".

    Raises InputError where the spec holds another one.
    """
    held = NONE if spec.base is None else spec.base.name
    if held != name:
        raise InputError(
            f"model.kwargs.base is {name!r} and the spec holds the base {held!r}, expected the "
            "same: make the spec by jaxpert.make_spec(cells, base=...) with the base of the model"
        )
    return spec.base


def changes_of(base: Base, spec: Spec, treatment: Float[Array, "R T"]) -> Float[Array, "R G"]:
    """Changes that a model adds to, of any sets: those of training perturbations are the left-out
    ones that it learned on."""
    sets = jnp.asarray(spec.condition_treatments[base.trained], treatment.dtype)
    full = base.predict(base.state, treatment)
    shared = treatment @ sets.T
    # Equal sets share as many treatments as each of them has.
    same = (shared == treatment.sum(1)[:, None]) & (shared == sets.sum(1))
    left_out = jnp.asarray(base.left_out[base.trained], full.dtype)
    return jnp.where(same.any(1)[:, None], left_out[same.argmax(1)], full)


def table_of(base: Base, spec: Spec) -> Float[np.ndarray, "C G"]:
    """`changes_of` every condition of the data."""
    asked = jnp.asarray(spec.condition_treatments, jnp.float32)
    return np.asarray(jax.jit(partial(changes_of, base, spec))(asked), np.float32)


def changes_with(
    model: Model, state: PyTree, treatment: Float[Array, "R T"]
) -> Float[Array, "R G"]:
    """Predicted minus predicted control, on the natural logarithm."""
    treatment = jnp.concatenate([jnp.zeros((1, treatment.shape[1])), treatment])
    means = model.predict({}, state, jax.random.key(0), make_request(treatment))
    return UNIT[model.scale] * (means[1:] - means[:1])


def _fitted(model: Model, dataset: Dataset, what: str) -> PyTree:
    """State of a predictor of a data set."""
    assert model.after_training is not None
    try:
        if model.check is not None:
            model.check(dataset)
        return model.after_training({}, {}, jax.random.key(0), dataset)
    except InputError as error:
        # What the predictor advises is for runs of its own.
        why = str(error).partition(", expected ")[0]
        raise InputError(
            f"{what} cannot be made ({why}), expected more training perturbations or another "
            "base: set model.kwargs.base=none or name a simpler one, such as mean_perturbation"
        ) from error


def _without(dataset: Dataset, conditions: np.ndarray) -> Dataset:
    """A data set whose training part lacks some conditions."""
    assert dataset.split is not None
    rows = dataset.rows("train")
    out = rows[np.isin(dataset.condition[rows], conditions)]
    split = dataset.split.copy()
    split[out] = SPLITS.index("dropped")
    return replace(dataset, split=split)


def _named(dataset: Dataset, conditions: np.ndarray) -> str:
    names = [dataset.conditions[c] for c in conditions[:3]]
    more = f" and {len(conditions) - 3} more" if len(conditions) > 3 else ""
    return ", ".join(names) + more
