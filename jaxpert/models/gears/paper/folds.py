"""Leave pairs out, one at a time or all of a gene, train without them and predict them.

The published evaluation of interactions (docs/models/gears.md, Genetic interactions): for every
measured pair whose singles are measured too, a training without it. What is trained is the
caller's: a function from a split data set to predicted effects.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.core import config, files, log, workdir
from jaxpert.core.texts import read_json
from jaxpert.core.types import SPLITS, Dataset, InputError
from jaxpert.models.gears.paper.pairs import Parts, PredictedPairs, measured_pairs, singles_of

KINDS = ("pair", "gene")
VAL_SHARE = 0.1
TRAIN, VAL, TEST, DROPPED = map(SPLITS.index, ("train", "val", "test", "dropped"))


class Fold(NamedTuple):
    """One training."""

    name: str
    """What is left out: the pair "A+B", or the gene "A"."""
    held: tuple[str, ...]
    """Conditions that no cell is trained on."""
    pairs: tuple[str, ...]
    """Held-out pairs whose interaction is scored."""


class Predicted(NamedTuple):
    """Effects (mean minus control, ln(1 + 1e4 x / sum x)) that a fold's model gives for the
    conditions asked of it."""

    effects: Float[np.ndarray, "m G"]
    uncertainty: Float[np.ndarray, "m"] | None = None
    """Higher is less certain."""


FitFold = Callable[[Dataset, Sequence[str], int], Predicted]
"""(data set with the fold's split, conditions to predict, seed of training) -> their effects, in
that order."""


def plan(dataset: Dataset, kind: str = "pair") -> list[Fold]:
    """One fold for every pair with both singles measured, or for every gene of such pairs.

    "pair" leaves one pair out (both genes seen alone). "gene", the Seen-1 variant, leaves out all
    pairs with the gene and its single, so that it is not seen at all: every pair is then predicted
    twice, once for each of its genes.
    """
    if kind not in KINDS:
        raise InputError(
            f"the folds are to leave out a {kind!r}, expected one of {', '.join(KINDS)}: correct it"
        )
    pairs = measured_pairs(dataset)
    if not pairs:
        raise InputError(
            f"{dataset.name!r} has no pair with both singles measured, expected at least one: give "
            "a screen with pairs"
        )
    if kind == "pair":
        return [Fold(name, (name,), (name,)) for name in pairs]
    folds = []
    # Sorted, since the order of a set differs between runs.
    for gene in sorted(set(chain.from_iterable(pairs.values()))):
        used = dataset.condition_treatments[:, dataset.treatments.index(gene)] != 0
        # All conditions with the gene are held out, of which only pairs are scored.
        held = np.asarray(dataset.conditions, object)[used].tolist()
        with_gene = [name for name, members in pairs.items() if gene in members]
        folds.append(Fold(gene, tuple(held), tuple(with_gene)))
    return folds


def split_of(
    dataset: Dataset, fold: Fold, *, seed: int = 0, val_share: float = VAL_SHARE
) -> Dataset:
    """The data set split for a fold: scored pairs are test, other held-out conditions dropped, all
    others train but for a random share of the other combinations (rounded down), which choose the
    model."""
    conditions = np.asarray(dataset.conditions, object)
    part = np.full(len(conditions), TRAIN, np.int8)
    # Scored pairs come last, so that they are test and not dropped.
    part[np.isin(conditions, fold.held)] = DROPPED
    part[np.isin(conditions, fold.pairs)] = TEST
    combined = dataset.condition_treatments.sum(1) > 1
    present = np.isin(np.arange(len(conditions)), dataset.condition)
    # Conditions without cells would validate on nothing.
    others = np.flatnonzero((part == TRAIN) & combined & present)
    # A fold's own stream, whatever folds there are beside it.
    rng = np.random.default_rng([seed, zlib.crc32(fold.name.encode())])
    part[rng.choice(others, int(val_share * len(others)), replace=False)] = VAL
    return replace(dataset, split=part[dataset.condition], subgroups={})


def run(
    dataset: Dataset,
    folds: Sequence[Fold],
    fit_fold: FitFold,
    results: Path,
    *,
    seed: int = 0,
    val_share: float = VAL_SHARE,
    settings: dict[str, Any] | None = None,
) -> PredictedPairs:
    """Do the folds that are missing in `results`, one file each, and gather all of them.

    Args:
        dataset: quality labels as wished; its split is replaced.
        folds: of `plan`.
        fit_fold: trains and predicts.
        results: folder; the same call again goes on where it stopped.
        seed: of the validation pairs, and handed to `fit_fold`.
        val_share: of the combinations left, to choose the model by; 0 for none.
        settings: whatever else decides on the numbers; a folder begun with other settings is
            refused.
    """
    if not 0 <= val_share < 1:
        raise InputError(
            f"the share of validation pairs is {val_share}, expected 0 or more and less than 1: "
            "correct it"
        )
    known = _known(dataset, folds) | {"seed": seed, "val_share": val_share}
    # A folder of other settings would mix numbers that cannot be compared.
    _claim(results, known | (settings or {}))
    for number, fold in enumerate(folds, 1):
        path = results / _file(fold)
        # Each fold is a file, so that an interrupted run loses one training at most.
        if path.exists():
            continue
        log.say(f"fold {number} of {len(folds)}: without {fold.name}")
        names = _asked(dataset, fold)
        split = split_of(dataset, fold, seed=seed, val_share=val_share)
        predicted = fit_fold(split, names, seed)
        # Checked before it is written, since a file counts as done.
        _check(predicted, fold, names, dataset)
        files.write_arrays(path, _arrays(names, predicted))
    return gather(dataset, folds, results)


def _known(dataset: Dataset, folds: Sequence[Fold]) -> dict[str, Any]:
    """What identifies the data and the folds in the folder's settings."""
    return {
        "data": dataset.name,
        "cells": len(dataset.cells),
        "genes": len(dataset.genes),
        "folds": [fold.name for fold in folds],
    }


def gather(dataset: Dataset, folds: Sequence[Fold], results: Path) -> PredictedPairs:
    """Read the files of all folds."""
    members, singles = measured_pairs(dataset), singles_of(dataset)
    pairs, origins, effects, uncertainty = [], [], [], []
    for fold in folds:
        path = results / _file(fold)
        try:
            stored = files.read_arrays(path, ("names", "effects"), "that of a fold")
            row = {str(name): i for i, name in enumerate(stored["names"])}
            for pair in fold.pairs:
                first, second = members[pair]
                # First gene, second gene, pair: the order of `Parts`.
                wanted = [row[singles[first]], row[singles[second]], row[pair]]
                effects.append(stored["effects"][wanted])
                # A model without an uncertainty head has stored none.
                unsure = stored.get("uncertainty", np.full(len(row), np.nan))
                uncertainty.append(unsure[row[pair]])
                pairs.append(pair)
                origins.append(fold.name)
        # Of other pairs, or of arrays that do not belong together.
        except (IndexError, KeyError) as error:
            raise InputError(
                f"{path} is of other pairs ({error}), expected {fold.name}: delete it and go on"
            ) from error
    parts = Parts(*np.stack(effects).astype(float).transpose(1, 0, 2))
    # One fold without it leaves no order by certainty.
    if np.isnan(uncertainty).any():
        return PredictedPairs(pairs, origins, parts, None)
    return PredictedPairs(pairs, origins, parts, np.array(uncertainty))


def _arrays(names: Sequence[str], predicted: Predicted) -> dict[str, np.ndarray]:
    arrays = {"names": np.array(names), "effects": np.asarray(predicted.effects, np.float32)}
    if predicted.uncertainty is not None:
        arrays["uncertainty"] = np.asarray(predicted.uncertainty)
    return arrays


def _asked(dataset: Dataset, fold: Fold) -> list[str]:
    """The fold's pairs and the singles of their genes."""
    pairs, singles = measured_pairs(dataset), singles_of(dataset)
    # The keys of a dict keep the first of equal names, in order.
    asked = dict.fromkeys(fold.pairs)
    for pair in fold.pairs:
        for gene in pairs[pair]:
            asked[singles[gene]] = None
    return list(asked)


def _file(fold: Fold) -> str:
    """A name that no other fold has, whatever signs the genes' names hold."""
    # Signs that files cannot have are replaced, and the checksum keeps names apart.
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', fold.name)}-{zlib.crc32(fold.name.encode()):08x}.npz"


def _claim(results: Path, settings: dict[str, Any]) -> None:
    """Make the folder that of these settings, or refuse one of others."""
    path = results / "settings.json"
    # Through JSON and back, so that tuples compare equal to what is read.
    settings = json.loads(json.dumps(settings))
    with workdir.readable_errors(results, "--output"):
        results.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            files.write_json(path, settings)
            return
    before = read_json(path, "that of the folds")
    if not isinstance(before, Mapping):
        raise InputError(f"{path} holds no settings, expected those of the folds: delete it")
    before, now = config.flatten(before), config.flatten(settings)
    # Keys of either side, since a missing one is a difference too.
    wrong = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    if wrong:
        key = wrong[0]
        raise InputError(
            f"{results} holds folds with other settings ({', '.join(wrong)}; {key} was "
            f"{before.get(key)!r} and is now {now.get(key)!r}), expected the same: choose another "
            "folder"
        )


def _check(predicted: Predicted, fold: Fold, names: Sequence[str], dataset: Dataset) -> None:
    expected = (len(names), len(dataset.genes))
    if np.shape(predicted.effects) != expected or not np.isfinite(predicted.effects).all():
        raise InputError(
            f"the fold {fold.name} gave effects of shape {np.shape(predicted.effects)}, expected "
            f"{expected} finite numbers: train it again with a lower train.learning_rate"
        )
