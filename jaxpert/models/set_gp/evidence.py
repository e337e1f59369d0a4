"""What the training conditions say of predictions that they had no part in
(docs/models/set_gp.md, "Blend").

Parts of the training conditions are left out in the manner in which new conditions differ from
training: some genes with everything that has one of them, and as large a share of the other
combinations. Everything is fitted again without them. The share is small, since a fit to much less
than everything is less sure of itself than the one that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.models.set_gp.sets import groups_of, known_of

SHARE = 0.15
FEWEST = 8
"""Of fewer training conditions none are left out."""
FEWEST_LEFT = 4
"""Conditions that a fold must leave to learn from."""
MOST = 150
"""Left-out conditions of a fold that are predicted: more would say no more, and those of thousands
do not fit into memory."""


class Evidence(NamedTuple):
    """Left-out conditions of all folds, one under the other."""

    names: tuple[str, ...]
    """Of the predictors, the process first."""
    group: Int[np.ndarray, "L"]
    condition: Int[np.ndarray, "L"]
    predicted: Float[np.ndarray, "B L G"]
    deviation: Float[np.ndarray, "L G"]
    """Standard deviation of a new measurement, by the process."""
    variance: Float[np.ndarray, "L G"]
    """Of the effect, by the process."""


Refit = Callable[
    [Bool[np.ndarray, "C"]],
    tuple[
        Mapping[str, Callable[[np.ndarray], np.ndarray]],
        Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    ],
]
"""used -> predictors of effects by name, and what gives `Evidence.deviation` and `variance`."""


def left_out(
    sets: Float[np.ndarray, "C T"], folds: int, rng: np.random.Generator
) -> Iterator[Bool[np.ndarray, "C"]]:
    """The conditions that each fold learns from."""
    genes = np.flatnonzero(sets.any(0))
    if len(sets) < FEWEST or len(genes) < 4:
        return
    # Genes are dealt out, so that seven folds leave out every gene once, and further ones again.
    order: list[int] = []
    several = sets.sum(1) > 1
    for _ in range(folds):
        number = max(1, round(SHARE * len(genes)))
        if len(order) < number:
            order += rng.permutation(genes).tolist()
        drawn, order = order[:number], order[number:]
        used: np.ndarray = (sets[:, drawn] == 0).all(1)
        pairs = rng.permutation(np.flatnonzero(used & several))
        used[pairs[: round(SHARE * len(pairs))]] = False
        if used.sum() >= FEWEST_LEFT and not used.all():
            yield used


def gather(
    effects: Float[np.ndarray, "C G"],
    sets: Float[np.ndarray, "C T"],
    folds: int,
    refit: Refit,
    seed: int = 0,
) -> Evidence | None:
    """Predictions of left-out training conditions; None where there are too few to leave out."""
    group, condition, predicted = [], [], []
    deviation, variance = [], []
    for used in left_out(sets, folds, np.random.default_rng(seed)):
        out = np.flatnonzero(~used)
        if len(out) > MOST:
            out = np.sort(np.random.default_rng(seed).choice(out, MOST, replace=False))
        predictors, spread = refit(used)
        group.append(np.asarray(groups_of(sets[out], known_of(sets[used]))))
        condition.append(out)
        predicted.append({name: predict(sets[out]) for name, predict in predictors.items()})
        measured, effect = spread(sets[out])
        deviation.append(measured)
        variance.append(effect)
    if not group:
        return None
    # A baseline that one fold does not allow has no place in the blend.
    names = [name for name in predicted[0] if all(name in fold for fold in predicted)]
    return Evidence(
        tuple(names),
        np.concatenate(group),
        np.concatenate(condition),
        np.stack([np.concatenate([fold[name] for fold in predicted]) for name in names]),
        np.concatenate(deviation),
        np.concatenate(variance),
    )
