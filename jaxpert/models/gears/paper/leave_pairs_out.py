"""Leave pairs out, one at a time or all of a gene, predict them, and see whether their interactions
are found.

The published evaluation of interactions (spec section 10): for every measured pair whose singles
are measured too, a training without it. What is trained is the caller's: a function from a split
data set to predicted effects.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core import log
from jaxpert.core import workdir as folder
from jaxpert.core.types import SPLITS, Dataset, InputError
from jaxpert.evaluation import pseudobulk
from jaxpert.evaluation.interactions import subtypes
from jaxpert.evaluation.interactions.scores import score_pairs

KINDS = ("pair", "gene")
VAL_SHARE = 0.1
TRAIN, VAL, TEST, DROPPED = (SPLITS.index(name) for name in ("train", "val", "test", "dropped"))


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


class Found(NamedTuple):
    """Predicted effects of held-out pairs and of their singles, one row per fold and pair."""

    pairs: list[str]
    folds: list[str]
    first: Float[np.ndarray, "N G"]
    second: Float[np.ndarray, "N G"]
    both: Float[np.ndarray, "N G"]
    uncertainty: Float[np.ndarray, "N"] | None


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
            f"the folds are to leave out a {kind!r}, expected one of {', '.join(KINDS)}"
        )
    pairs = measured_pairs(dataset)
    if not pairs:
        raise InputError(
            f"{dataset.name!r} has no pair with both singles measured, expected at least one"
        )
    if kind == "pair":
        return [Fold(name, (name,), (name,)) for name in pairs]
    folds = []
    for gene in sorted({gene for genes in pairs.values() for gene in genes}):
        column = dataset.condition_treatments[:, dataset.treatments.index(gene)] != 0
        held = tuple(name for name, used in zip(dataset.conditions, column, strict=True) if used)
        folds.append(
            Fold(gene, held, tuple(name for name, genes in pairs.items() if gene in genes))
        )
    return folds


def measured_pairs(dataset: Dataset) -> dict[str, tuple[str, str]]:
    """Conditions of two genes, both of which have cells alone too, by name, with their genes."""
    sizes, table = dataset.condition_treatments.sum(1), dataset.condition_treatments != 0
    present = np.isin(np.arange(len(sizes)), dataset.condition)
    alone = {int(row.argmax()) for row in table[present & (sizes == 1)]}
    found = {}
    for c in np.flatnonzero(present & (sizes == 2)).tolist():
        first, second = np.flatnonzero(table[c]).tolist()
        if {first, second} <= alone:
            found[dataset.conditions[c]] = dataset.treatments[first], dataset.treatments[second]
    return found


def split_of(
    dataset: Dataset, fold: Fold, *, seed: int = 0, val_share: float = VAL_SHARE
) -> Dataset:
    """The data set split for a fold: scored pairs are test, other held-out conditions dropped, all
    others train but for a random share of the other combinations (rounded down), which choose the
    model."""
    sizes = dataset.condition_treatments.sum(1)
    place = np.full(len(dataset.conditions), TRAIN, np.int8)
    for c, name in enumerate(dataset.conditions):
        place[c] = TEST if name in fold.pairs else DROPPED if name in fold.held else TRAIN
    others = np.flatnonzero(
        (place == TRAIN) & (sizes > 1) & np.isin(np.arange(len(sizes)), dataset.condition)
    )
    rng = np.random.default_rng([seed, zlib.crc32(fold.name.encode())])
    place[rng.choice(others, int(val_share * len(others)), replace=False)] = VAL
    return replace(dataset, split=place[dataset.condition], subgroups={})


def run(
    dataset: Dataset,
    folds: Sequence[Fold],
    fit_fold: FitFold,
    results: Path,
    *,
    seed: int = 0,
    val_share: float = VAL_SHARE,
    settings: dict[str, Any] | None = None,
) -> Found:
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
            f"the share of validation pairs is {val_share}, expected 0 or more and less than 1"
        )
    known = {
        "data": dataset.name,
        "cells": len(dataset.cells),
        "genes": len(dataset.genes),
        "seed": seed,
    }
    _claim(
        results,
        known
        | {"val_share": val_share, "folds": [fold.name for fold in folds], **(settings or {})},
    )
    for number, fold in enumerate(folds, 1):
        path = results / _file(fold)
        if path.exists():
            continue
        log.say(f"fold {number} of {len(folds)}: without {fold.name}")
        names = _asked(dataset, fold)
        found = fit_fold(split_of(dataset, fold, seed=seed, val_share=val_share), names, seed)
        _check(found, fold, names, dataset)
        unsure = {} if found.uncertainty is None else {"uncertainty": np.asarray(found.uncertainty)}
        arrays = {"names": np.array(names), "effects": np.asarray(found.effects, np.float32)}
        folder.write_arrays(path, arrays | unsure)
    return gather(dataset, folds, results)


def gather(dataset: Dataset, folds: Sequence[Fold], results: Path) -> Found:
    """Read the files of all folds."""
    pairs, singles = measured_pairs(dataset), singles_of(dataset)
    rows, unsure = [], []
    for fold in folds:
        try:
            with np.load(results / _file(fold)) as file:
                stored = {name: file[name] for name in file.files}
            at = {str(name): i for i, name in enumerate(stored["names"])}
            for pair in fold.pairs:
                wanted = [at[singles[gene]] for gene in pairs[pair]] + [at[pair]]
                rows.append((pair, fold.name, stored["effects"][wanted]))
                unsure.append(
                    stored["uncertainty"][at[pair]] if "uncertainty" in stored else np.nan
                )
        except (OSError, ValueError, KeyError) as error:
            path = results / _file(fold)
            raise InputError(
                f"{path} cannot be read ({error}), expected that of a fold: delete it and go on"
            ) from error
    names, origin, effects = zip(*rows, strict=True)
    first, second, both = np.stack(effects).astype(float).transpose(1, 0, 2)
    missing = np.isnan(unsure).any()
    return Found(
        list(names), list(origin), first, second, both, None if missing else np.array(unsure)
    )


def more_certain_half(found: Found) -> Found:
    """The half of the predictions (rounded up) with the lower uncertainty, in their order."""
    if found.uncertainty is None:
        raise InputError(
            "the folds' model gives no uncertainty, expected one to keep the more certain half "
            "by: train one with "
            "model.kwargs.uncertainty, or keep all"
        )
    kept = np.sort(np.argsort(found.uncertainty, kind="stable")[: -(-len(found.pairs) // 2)])
    return Found(
        [found.pairs[k] for k in kept],
        [found.folds[k] for k in kept],
        *(values[kept] for values in (found.first, found.second, found.both, found.uncertainty)),
    )


def compare(
    dataset: Dataset, found: Found, columns: Int[np.ndarray, "n"], *, seed: int = 0, **options: Any
) -> list[dict[str, Any]]:
    """How the predicted interactions find the measured ones: a row for each sub-type, with random
    sets beside.

    Scores are taken on the genes `columns`; the measured ones from the means of all QC-passed
    cells. A pair that is predicted twice counts twice. `options` go to `score_pairs`. With fewer
    than 10 predictions the top is all of them.
    """
    true = measured_scores(dataset, found.pairs, columns, **options)
    predicted = score_pairs(
        *(part[:, columns] for part in (found.first, found.second, found.both)), **options
    )
    k = min(subtypes.TOP, len(found.pairs))
    rows = []
    for name in subtypes.RULES:
        fit = subtypes.agreement(true, predicted._asdict(), name, k)
        chance = subtypes.by_chance(true, name, k=k, seed=seed)
        rows.append({"subtype": name, "k": k, **fit._asdict(), "chance": chance._asdict()})
    return rows


def measured_scores(
    dataset: Dataset, names: Sequence[str], columns: Int[np.ndarray, "n"], **options: Any
) -> dict[str, np.ndarray]:
    """Interaction scores of measured pairs from the means of all QC-passed cells."""
    effects = measured_effects(dataset)[:, columns]
    place = {name: c for c, name in enumerate(dataset.conditions)}
    pairs, singles = measured_pairs(dataset), singles_of(dataset)
    sides = [[place[singles[pairs[name][side]]] for name in names] for side in (0, 1)]
    both = [place[name] for name in names]
    return score_pairs(effects[sides[0]], effects[sides[1]], effects[both], **options)._asdict()


def measured_effects(dataset: Dataset) -> Float[np.ndarray, "C G"]:
    """Mean minus control mean of ln(1 + 1e4 x / sum x), over all QC-passed cells whatever their
    split."""
    return pseudobulk.effects(pseudobulk.observed_means(dataset, "all", "ln"), dataset.control)


def singles_of(dataset: Dataset) -> dict[str, str]:
    """Condition of every gene that is perturbed alone."""
    rows = zip(dataset.conditions, dataset.condition_treatments, strict=True)
    return {dataset.treatments[int(row.argmax())]: name for name, row in rows if row.sum() == 1}


def _asked(dataset: Dataset, fold: Fold) -> list[str]:
    """The fold's pairs and the singles of their genes."""
    pairs, singles = measured_pairs(dataset), singles_of(dataset)
    genes = dict.fromkeys(gene for pair in fold.pairs for gene in pairs[pair])
    return [*fold.pairs, *(singles[gene] for gene in genes)]


def _file(fold: Fold) -> str:
    """A name that no other fold has, whatever signs the genes' names hold."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', fold.name)}-{zlib.crc32(fold.name.encode()):08x}.npz"


def _claim(results: Path, settings: dict[str, Any]) -> None:
    path = results / "settings.json"
    settings = json.loads(json.dumps(settings))
    with folder.readable_errors(results, "--output"):
        results.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            folder.write_json(path, settings)
            return
    try:
        before = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(
            f"{path} is not valid JSON ({error}), expected that of the folds: delete it"
        ) from error
    before, now = folder.flatten(before), folder.flatten(settings)
    wrong = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    if wrong:
        key = wrong[0]
        raise InputError(
            f"{results} holds folds with other settings ({', '.join(wrong)}; {key} was "
            f"{before.get(key)!r} and is now "
            f"{now.get(key)!r}): choose another folder"
        )


def _check(found: Predicted, fold: Fold, names: Sequence[str], dataset: Dataset) -> None:
    expected = (len(names), len(dataset.genes))
    if np.shape(found.effects) != expected or not np.isfinite(found.effects).all():
        raise InputError(
            f"the fold {fold.name} gave effects of shape {np.shape(found.effects)}, expected "
            f"{expected} finite numbers"
        )
