"""Measured pairs of genes, predicted ones, and how the interactions of the two agree
(docs/models/gears.md, Genetic interactions)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import Dataset, InputError
from jaxpert.evaluation import pseudobulk
from jaxpert.evaluation.interactions import subtypes
from jaxpert.evaluation.interactions.scores import score_pairs

Effects = Float[np.ndarray, "N G"]


class Parts(NamedTuple):
    """Effects of pairs and of their single genes, a row for each pair."""

    first: Effects
    second: Effects
    both: Effects


class PredictedPairs(NamedTuple):
    """Predicted effects of held-out pairs; a pair may have several rows."""

    pairs: list[str]
    origins: list[str]
    """What the model of each row was trained without."""
    parts: Parts
    uncertainty: Float[np.ndarray, "N"] | None
    """Higher is less certain."""


def measured_pairs(dataset: Dataset) -> dict[str, tuple[str, str]]:
    """Conditions of two genes, both of which have cells alone too, by name, with their genes."""
    sizes, table = dataset.condition_treatments.sum(1), dataset.condition_treatments != 0
    # Conditions without cells are in the table but were not measured.
    present = np.isin(np.arange(len(sizes)), dataset.condition)
    # A row with a single treatment is True at its column alone.
    alone = set(table[present & (sizes == 1)].argmax(1).tolist())
    pairs = {}
    for c in np.flatnonzero(present & (sizes == 2)).tolist():
        first, second = np.flatnonzero(table[c]).tolist()
        if {first, second} <= alone:
            pairs[dataset.conditions[c]] = dataset.treatments[first], dataset.treatments[second]
    return pairs


def singles_of(dataset: Dataset) -> dict[str, str]:
    """Condition of every gene that is perturbed alone."""
    singles = {}
    for name, row in zip(dataset.conditions, dataset.condition_treatments, strict=True):
        if row.sum() == 1:
            singles[dataset.treatments[int(row.argmax())]] = name
    return singles


def parts_of(
    dataset: Dataset, names: Sequence[str], effects: Float[np.ndarray, "C n"]
) -> tuple[Float[np.ndarray, "N n"], Float[np.ndarray, "N n"], Float[np.ndarray, "N n"]]:
    """Of effects of all conditions those of the named pairs: of the first genes, of the second
    ones, and of the pairs."""
    place = {name: c for c, name in enumerate(dataset.conditions)}
    pairs, singles = measured_pairs(dataset), singles_of(dataset)
    first, second, both = [], [], []
    for name in names:
        first_gene, second_gene = pairs[name]
        first.append(place[singles[first_gene]])
        second.append(place[singles[second_gene]])
        both.append(place[name])
    return effects[first], effects[second], effects[both]


def measured_effects(dataset: Dataset) -> Float[np.ndarray, "C G"]:
    """Mean minus control mean of ln(1 + 1e4 x / sum x), over all QC-passed cells whatever their
    split."""
    return pseudobulk.effects(pseudobulk.observed_means(dataset, "all", "ln"), dataset.control)


def measured_scores(
    dataset: Dataset, names: Sequence[str], columns: Int[np.ndarray, "n"], **options: Any
) -> dict[str, np.ndarray]:
    """Interaction scores of measured pairs from the means of all QC-passed cells."""
    effects = measured_effects(dataset)[:, columns]
    return score_pairs(*parts_of(dataset, names, effects), **options)._asdict()


def compare(
    dataset: Dataset,
    predicted: PredictedPairs,
    columns: Int[np.ndarray, "n"],
    *,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, Any]]:
    """How the predicted interactions find the measured ones: a row for each sub-type, with random
    sets beside.

    Scores are taken on the genes `columns`; the measured ones from the means of all QC-passed
    cells. A pair that is predicted twice counts twice. `options` go to `score_pairs`. With fewer
    than 10 predictions the top is all of them.
    """
    # Both sides are scored by the same fit on the same genes.
    true = measured_scores(dataset, predicted.pairs, columns, **options)
    effects = [part[:, columns] for part in predicted.parts]
    scores = score_pairs(*effects, **options)._asdict()
    # With fewer predictions than a top of 10 the top is all of them.
    k = min(subtypes.TOP, len(predicted.pairs))
    rows = []
    for name in subtypes.RULES:
        agreement = subtypes.agreement(true, scores, name, k)
        # Chance depends on how many pairs are truly of the sub-type, so it stands beside.
        chance = subtypes.by_chance(true, name, k=k, seed=seed)
        rows.append({"subtype": name, "k": k, **agreement._asdict(), "chance": chance._asdict()})
    return rows


def more_certain_half(predicted: PredictedPairs) -> PredictedPairs:
    """The half of the predictions (rounded up) with the lower uncertainty, in their order."""
    if predicted.uncertainty is None:
        raise InputError(
            "the folds' model gives no uncertainty, expected one to keep the more certain half "
            "by: train one with model.kwargs.uncertainty, or keep all"
        )
    half = (len(predicted.pairs) + 1) // 2
    # Sorted back, so that the half keeps the order of the whole.
    kept = np.sort(np.argsort(predicted.uncertainty, kind="stable")[:half])
    first, second, both = predicted.parts
    return PredictedPairs(
        pairs=np.array(predicted.pairs, object)[kept].tolist(),
        origins=np.array(predicted.origins, object)[kept].tolist(),
        parts=Parts(first[kept], second[kept], both[kept]),
        uncertainty=predicted.uncertainty[kept],
    )
