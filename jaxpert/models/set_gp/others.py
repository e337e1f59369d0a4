"""Finished runs of other models, stacked on the blend by the training conditions that they had no
part in (docs/models/set_gp.md, "Blend").

A run predicts the conditions of its data and no others here, since a model may be no function of a
few arrays: other sets keep the blend without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxpert.core import files
from jaxpert.core.paths import path_of
from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import shown
from jaxpert.models.set_gp import blend
from jaxpert.models.set_gp.evidence import FEWEST_LEFT, Evidence, Refit
from jaxpert.models.set_gp.sets import groups_of, known_of
from jaxpert.tasks.screen.entries import EFFECTS

FEWEST_HELD_OUT = 3
"""Training conditions that no run was trained on, below which nothing is weighed."""
PREDICTIONS = "predictions.h5ad"


class Others(NamedTuple):
    """What finished runs predict of the conditions of the data."""

    effects: Float[np.ndarray, "M C G"]
    trained: Bool[np.ndarray, "C"]
    """Conditions that any run was trained on."""


class Stacked(NamedTuple):
    """Runs on top of the blend; arrays of NumPy or JAX."""

    sets: Float[Any, "C T"]
    effects: Float[Any, "M C G"]
    weights: Float[Any, "K N"]
    """Of the blend and then of every run, by group."""


def read_runs(folders: Sequence[str], dataset: Dataset, trained: Sequence[int]) -> Others:
    """Predictions of finished runs on the same conditions and genes.

    Args:
        folders: their work directories.
        dataset: of this run.
        trained: conditions that this run is trained on.

    Raises:
        InputError: for a folder that holds no run, other genes or conditions, a run that was
            trained on what is held out here, or runs that hold too little out themselves.
    """
    effects, seen = [], np.zeros(len(dataset.conditions), bool)
    for folder in folders:
        predicted, of_run = _read(path_of(folder), dataset)
        effects.append(predicted)
        seen |= of_run
    here = np.zeros(len(seen), bool)
    here[[*trained, dataset.control]] = True
    leaked = [dataset.conditions[c] for c in np.flatnonzero(seen & ~here)]
    if leaked:
        raise InputError(
            f"model.kwargs.runs holds runs trained on {len(leaked)} conditions that are held out "
            f"here ({shown(leaked)}), expected runs of the same split.seed and split.kind: their "
            "scores would be those of memory"
        )
    left = int((here & ~seen).sum())
    if left < FEWEST_HELD_OUT:
        raise InputError(
            f"model.kwargs.runs leaves {left} training conditions that no run was trained on, "
            f"expected {FEWEST_HELD_OUT} at least to weigh them by: train the runs with "
            "split.validation=True of a split that holds perturbations out, and this one with "
            "split.validation=False"
        )
    known = int((here & seen).sum()) - int(seen[dataset.control])
    if known < FEWEST_LEFT:
        raise InputError(
            f"model.kwargs.runs holds runs trained on {known} of the training conditions here, "
            f"expected {FEWEST_LEFT} at least: train them on more, or leave them out"
        )
    return Others(np.stack(effects), seen)


def _read(folder: Path, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Effects of the conditions in the order of the data, and which the run was trained on."""
    import anndata

    expected = "what a finished run of a screen leaves"
    stored = files.read_arrays(folder / EFFECTS, ("effect", "conditions", "genes"), expected)
    genes, conditions = stored["genes"].tolist(), stored["conditions"].tolist()
    if genes != list(dataset.genes) or sorted(conditions) != sorted(dataset.conditions):
        raise InputError(
            f"{folder} predicts {len(conditions)} conditions of {len(genes)} genes, which are not "
            f"the {len(dataset.conditions)} of {len(dataset.genes)} here in the same order, "
            "expected a run on the same cells: give it the same keys of data and "
            "graphs.unannotated=keep"
        )
    if not (folder / PREDICTIONS).exists():
        raise InputError(
            f"{folder} holds no {PREDICTIONS}, expected {expected}: run its command again"
        )
    obs = anndata.read_h5ad(folder / PREDICTIONS, backed="r").obs
    parts = dict(zip(obs["condition"].astype(str), obs["split"].astype(str), strict=True))
    place = {name: row for row, name in enumerate(conditions)}
    rows = [place[name] for name in dataset.conditions]
    unsaid = [name for name in dataset.conditions if name not in parts]
    # Whoever is not named there may have been trained on.
    if unsaid:
        raise InputError(
            f"{folder / PREDICTIONS} says of {len(unsaid)} conditions ({shown(unsaid)}) not what "
            f"they were to the run, expected {expected}: run its command again"
        )
    trained = ["train" in parts[name].split("+") for name in dataset.conditions]
    # Several seeds are one predictor: their mean.
    return stored["effect"].mean(0)[rows].astype(np.float64), np.array(trained)


def stack(
    others: Others,
    seen: np.ndarray,
    effects: Float[np.ndarray, "C G"],
    sets: Float[np.ndarray, "C T"],
    weights: Float[np.ndarray, "K B"],
    names: Sequence[str],
    refit: Refit,
) -> Float[np.ndarray, "K N"]:
    """Weights of the blend and of every run, by what no run was trained on; everything is fitted
    again without it, so that the blend knows as little of it as the runs do.

    Args:
        others: what the runs predict.
        seen: numbers of the training conditions.
        effects: measured, of these.
        sets: multi-hot, of these.
        weights: of the blend, by group.
        names: of its predictors.
        refit: `evidence.Refit`.
    """
    used = others.trained[seen]
    out = np.flatnonzero(~used)
    predictors, _ = refit(used)
    group = np.asarray(groups_of(sets[out], known_of(sets[used])))
    blended = np.zeros((len(out), effects.shape[1]))
    for b, name in enumerate(names):
        # What the fewer conditions do not allow leaves its weight to the process.
        predictor = predictors.get(name, predictors[names[0]])
        blended += weights[group, b, None] * predictor(sets[out])
    predicted = np.concatenate([blended[None], others.effects[:, seen[out]]])
    evidence = Evidence(
        names=("blend", *(f"run {m + 1}" for m in range(len(others.effects)))),
        group=group,
        condition=out,
        predicted=predicted,
        deviation=np.zeros_like(blended),
        variance=np.zeros_like(blended),
    )
    return blend.stacked(evidence, effects, len(predicted))
