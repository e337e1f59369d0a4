"""Several seeds of one training as one model: their mean, as unsure as they differ."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from jaxpert.core.errors import InputError
from jaxpert.core.fit import Fitted, pick_seed
from jaxpert.core.types import Model


class Ensemble(NamedTuple):
    """Fitted models that differ by their seed alone; at least two."""

    members: tuple[Fitted, ...]

    @property
    def model(self) -> Model:
        """What all members share."""
        return self.members[0].model


def ensemble_of(fitted: Fitted) -> Ensemble:
    """The vmapped seeds of a training (`core.fit.fit` with `seeds`) as one model.

    Example:
        fitted = jaxpert.fit(model, cells, epochs=20, seeds=5)
        jaxpert.predict(jaxpert.ensemble_of(fitted), cells, ["KLF1+FAR2"]).layers["effect_seed_sd"]

    Raises InputError for a training of one seed.
    """
    if fitted.train is not None and not fitted.train.key.ndim:
        raise InputError(
            "the model was fitted with one seed, expected several: fit it with seeds=5"
        )
    # Baselines have no parameters, but what they are computed from.
    seeds = len(jax.tree.leaves((fitted.params, fitted.state))[0])
    return Ensemble(tuple(pick_seed(fitted, index) for index in range(seeds)))


def members_of(fitted: Fitted | Ensemble) -> tuple[Fitted, ...]:
    """The single models, of which a fitted one is its own."""
    return fitted.members if isinstance(fitted, Ensemble) else (fitted,)


def between(values: np.ndarray) -> np.ndarray | None:
    """Standard deviation (ddof 1) along the first axis, the members; None of a single one."""
    return values.std(axis=0, ddof=1) if len(values) > 1 else None
