"""Every baseline of the evaluation as a model of its own name (docs/models/baselines.md).

Nothing is learned by gradients: `after_training` computes the baseline from the training cells, and
the state carries the arrays that predict any set of treatments (`evaluation.baselines.rule`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpert.core import settings as core_settings
from jaxpert.core.parallel import psum
from jaxpert.core.types import Batch, Dataset, InputError, Model, PyTree, Request, Spec
from jaxpert.evaluation.baselines import BASELINES, Baseline, Inapplicable
from jaxpert.evaluation.baselines.rule import Rule, predicted
from jaxpert.evaluation.baselines.seen import training_of
from jaxpert.models.baselines.settings import Settings
from jaxpert.nn.transforms import log1p_normalize


def build(name: str, spec: Spec, **settings: Any) -> Model:
    """The baseline `name`; predicts mean log2(1 + 1e4 x / sum x).

    Args:
        name: one of `evaluation.baselines.BASELINES`.
        spec: of the data.
        **settings: fields of `settings.Settings`; another one is a TypeError.

    Example:
        model = jaxpert.shrunken_additive.build(jaxpert.make_spec(cells))
        fitted = jaxpert.fit(model, cells, epochs=1)
    """
    chosen = Settings(**settings)
    core_settings.check(chosen, "model.kwargs")
    return Model(
        init=init,
        loss=partial(loss, jnp.asarray(spec.control_mean, jnp.float32)),
        predict=predict,
        check=partial(check, name),
        after_training=partial(after_training, name),
        support=partial(support, spec),
        scale="log2",
        stochastic=False,
        name=name,
        settings=chosen,
    )


def init(key: PRNGKeyArray, batch: Batch) -> tuple[PyTree, PyTree]:
    """`Model.init`: no parameters, and no state before the training cells were seen."""
    del key, batch
    return {}, {}


def loss(
    control: Float[Array, "G"], params: PyTree, state: PyTree, key: PRNGKeyArray, batch: Batch
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    """Mean squared distance of the cells from the training control, which no parameter lowers."""
    del params, key
    # Padding may be empty, whose normalisation would be 0 / 0.
    filled = batch.mask & (batch.x.sum(1) > 0)
    y = log1p_normalize(jnp.where(filled[:, None], batch.x, 1))
    error = jnp.where(filled, ((y - control) ** 2).mean(1), 0).sum()
    return psum(error) / jnp.maximum(psum(filled.sum()), 1), (state, {})


def predict(
    params: PyTree, state: PyTree, key: PRNGKeyArray, request: Request
) -> Float[Array, "R G"]:
    """`Model.predict`: what the baseline says of each set of treatments."""
    del params, key
    return predicted(Rule(**state), request.treatment)


def check(name: str, dataset: Dataset) -> tuple[str, ...]:
    """`Model.check`: refuse data that do not allow the baseline. What it falls back on is told with
    the scores, where it stands beside every model."""
    of_cells(name, dataset)
    return ()


def after_training(
    name: str, params: PyTree, state: PyTree, key: PRNGKeyArray, dataset: Dataset
) -> PyTree:
    """`Model.after_training`: the arrays of the baseline, from the training cells."""
    del params, state, key
    rule = of_cells(name, dataset).rule
    return {part: jnp.asarray(array, jnp.float32) for part, array in rule._asdict().items()}


def of_cells(name: str, dataset: Dataset) -> Baseline:
    """The baseline of a split data set."""
    made = BASELINES[name](training_of(dataset))
    if isinstance(made, Inapplicable):
        raise InputError(
            f"the baseline {name} cannot be made of {dataset.name!r} ({made.why}), expected data "
            "that allow it: choose another model.name, or give what it needs"
        )
    return made


def support(spec: Spec, treatment: Float[np.ndarray, "R T"]) -> tuple[str, ...]:
    """`Model.support`: whether a row has training cells of its own, or which of its treatments
    training never gave alone."""
    table = np.asarray(spec.condition_treatments) != 0
    has_cells = np.asarray(spec.condition_cells) > 0
    trained = set(map(tuple, table[has_cells]))
    alone = table[has_cells & (table.sum(1) == 1)].any(0)
    words = []
    for row in np.asarray(treatment) != 0:
        new = np.asarray(spec.treatments, object)[row & ~alone].tolist()
        if tuple(row) in trained:
            words.append("trained")
        elif new:
            words.append(f"never given alone in training: {', '.join(new)}")
        else:
            words.append("treatments trained alone")
    return tuple(words)
