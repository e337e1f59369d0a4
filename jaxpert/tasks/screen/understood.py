"""What was understood of a screen before anything is trained: the part `audit` of metrics.json, and
what `jaxpert check` shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from jaxpert.core.types import SPLITS, Dataset, InputError
from jaxpert.data.files import shown
from jaxpert.data.gene_classes import WORDS, of_dataset
from jaxpert.data.identifiers import identify
from jaxpert.data.mapped import totals
from jaxpert.tasks.screen import audit
from jaxpert.tasks.screen.keys import SPLIT_KINDS, ScreenConfig

NAMED = 8
"""Conditions and strata that are listed by name."""
MOST_NAMED = 40
"""Treatments that are."""
ASKED = ("auto", "column", "custom")
"""Kinds of split that need more than the data to be tried, or stand for another kind."""


def facts_of(dataset: Dataset) -> dict[str, Any]:
    """The data in words and numbers: cells, controls, perturbations, strata, genes and quality."""
    facts: dict[str, Any] = {
        "cells": len(dataset.cells),
        "control": _control(dataset),
        "perturbations": _perturbations(dataset),
        "cells of each perturbation": _sizes(dataset),
        "treatments": f"{len(dataset.treatments)}: {shown(dataset.treatments, MOST_NAMED)}",
        "genes": _genes(dataset),
        "gene names": _gene_names(dataset),
        "counts of a cell": _range(totals(dataset.counts)),
        "genes of a cell": _range(np.diff(dataset.counts.indptr)),
        "quality genes": _quality_genes(dataset),
    }
    if len(dataset.strata) > 1:
        facts["strata"] = _strata(dataset)
    if dataset.quality is not None:
        facts["cells that fail quality"] = _failed(dataset)
    if dataset.split is not None:
        facts["split"] = parts_of(dataset)
    return facts


def parts_of(dataset: Dataset) -> str:
    """Perturbations and cells of each part of a split."""
    parts = []
    for name in SPLITS[:3]:
        rows = dataset.rows(name)
        conditions = np.unique(dataset.condition[rows])
        perturbed = int((conditions != dataset.control).sum())
        parts.append(f"{name} {perturbed} perturbations in {len(rows)} cells")
    return ", ".join(parts)


def splits_of(config: ScreenConfig, dataset: Dataset, split: Any) -> dict[str, str]:
    """What each kind of split makes of the data, or why it cannot be scored.

    Args:
        config: what is asked of the run beside its split.
        dataset: labelled, not split.
        split: (section `split`, data set) -> data set with that split.
    """
    outcomes = {}
    for kind in SPLIT_KINDS:
        if kind in ASKED:
            continue
        asked = replace(config, split=replace(config.split, kind=kind))
        # A kind that does not suit the data is an answer and no error.
        try:
            divided = split(asked.split, dataset)
            audit.check_split(asked, divided)
            outcomes[kind] = parts_of(divided)
        except InputError as error:
            outcomes[kind] = f"not possible: {error}"
    return outcomes


def _control(dataset: Dataset) -> str:
    cells = int((dataset.condition == dataset.control).sum())
    return f"{dataset.conditions[dataset.control]!r}, {cells} cells"


def _perturbations(dataset: Dataset) -> str:
    sizes = dataset.condition_treatments.sum(1).astype(int)
    sizes = sizes[np.arange(len(sizes)) != dataset.control]
    kinds = []
    for size, number in zip(*np.unique(sizes, return_counts=True), strict=True):
        kinds.append(f"{number} of {size} treatment" + ("" if size == 1 else "s"))
    return f"{len(sizes)} ({', '.join(kinds)})" if kinds else "0"


def _sizes(dataset: Dataset) -> str:
    cells = np.bincount(dataset.condition, minlength=len(dataset.conditions))
    order = np.argsort(-cells, kind="stable")
    order = order[order != dataset.control]
    if not len(order):
        return "none"
    # The largest and the smallest are what a mistake in the labels shows in.
    listed = [f"{dataset.conditions[c]} {cells[c]}" for c in order]
    if len(listed) > 2 * NAMED:
        listed = [*listed[:NAMED], "...", *listed[-NAMED:]]
    return f"{_range(cells[order])}: {', '.join(listed)}"


def _genes(dataset: Dataset) -> str:
    others = sorted(set(dataset.treatments) - set(dataset.genes))
    measured = len(dataset.treatments) - len(others)
    text = (
        f"{len(dataset.genes)} ({shown(dataset.genes, 4)}); {measured} of the "
        f"{len(dataset.treatments)} treatments are measured genes"
    )
    # Where none is, as in screens of drugs, they are the treatments that are listed anyway.
    return f"{text}, not {shown(others, MOST_NAMED)}" if measured and others else text


def _gene_names(dataset: Dataset) -> str:
    """Their kind and species, and what names more of the perturbed genes."""
    told = identify(dataset.genes, dataset.var, dataset.treatments)
    parts = [told.kind, f"species {told.species}"]
    if told.versions:
        parts.append(f"{told.versions} with a version")
    if told.symbols:
        parts.append(f"symbols in column {told.symbols!r}")
    text, best = ", ".join(parts), told.best
    if best == told.perturbed:
        return text
    return f"{text}; {best.where()} would name {best.hits} of {best.wanted}: set {best.settings()}"


def _quality_genes(dataset: Dataset) -> str:
    counts = []
    for criterion, flags in of_dataset(dataset).items():
        here = np.flatnonzero(flags)
        some = f" ({shown([dataset.genes[g] for g in here], 3)})" if len(here) else ""
        counts.append(f"{len(here)} {WORDS[criterion][0]}{some}")
    return ", ".join(counts)


def _strata(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Cells, control cells and perturbations of each stratum; the largest ones of many."""
    number = dataset.stratum
    cells = np.bincount(number, minlength=len(dataset.strata))
    table = {}
    for s in np.argsort(-cells, kind="stable")[: 2 * NAMED]:
        conditions = dataset.condition[number == s]
        table[dataset.strata[s]] = {
            "cells": int(cells[s]),
            "control cells": int((conditions == dataset.control).sum()),
            "perturbations": int((np.unique(conditions) != dataset.control).sum()),
        }
    return table


def _failed(dataset: Dataset) -> str:
    assert dataset.quality is not None
    failed = int(dataset.quality.failed.sum())
    share = failed / max(len(dataset.cells), 1)
    return f"{failed} ({share:.0%}) at {dataset.quality.multiplier} MAD"


def _range(values: np.ndarray) -> str:
    low, middle, high = np.min(values), np.median(values), np.max(values)
    return f"{low:,.0f} to {high:,.0f}, median {middle:,.0f}"
