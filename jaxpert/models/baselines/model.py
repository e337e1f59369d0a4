"""Every baseline of the evaluation as a model of its own name (docs/models/baselines.md).

Nothing is learned by gradients: `after_training` computes the baseline from the training cells, and
the state carries the arrays that predict any set of treatments (`evaluation.baselines.rule`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpert.core import settings as core_settings
from jaxpert.core.types import Dataset, InputError, Model, PyTree, Request, Spec
from jaxpert.evaluation.baselines import BASELINES, Baseline, Inapplicable
from jaxpert.evaluation.baselines.rule import Rule, predicted
from jaxpert.evaluation.baselines.seen import training_of
from jaxpert.models.baselines.settings import Settings
from jaxpert.tasks.screen import computed


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
        init=computed.init,
        loss=partial(computed.loss, spec),
        predict=predict,
        check=partial(check, name),
        after_training=partial(after_training, name),
        support=partial(computed.support, spec),
        scale="log2",
        stochastic=False,
        name=name,
        settings=chosen,
    )


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
