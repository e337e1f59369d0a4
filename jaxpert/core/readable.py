"""What notebooks show of data and models: a few plain lines, in place of arrays and functions."""

from __future__ import annotations

from typing import Any

import numpy as np


def of_dataset(dataset: Any) -> str:
    """Size, perturbations, split and what else a data set has."""
    sizes = (dataset.condition_treatments != 0).sum(1)
    perturbations = int((sizes > 0).sum())
    cells, unit = np.asarray(dataset.condition), "cells"
    if dataset.scale == "effects":
        unit = "rows of effects"
    lines = [
        f"Dataset {dataset.name!r}: {len(dataset.cells):,} {unit} x {len(dataset.genes):,} genes",
        f"  perturbations: {perturbations:,}, of them {int((sizes > 1).sum()):,} combinations",
        f"  control: {dataset.conditions[dataset.control]!r}, "
        f"{int((cells == dataset.control).sum()):,} {unit}",
    ]
    if len(dataset.strata) > 1:
        lines.append(f"  strata: {len(dataset.strata)}")
    lines.append(f"  split: {_split(dataset)}")
    if dataset.quality is not None:
        failed = int(dataset.quality.failed.sum())
        lines.append(f"  quality: {failed:,} cells fail at {dataset.quality.multiplier} MAD")
    if dataset.graphs:
        lines.append(f"  graphs: {', '.join(dataset.graphs)}")
    lines.append(f"  notes: {len(dataset.notes)} (.notes)")
    return "\n".join(lines)


def _split(dataset: Any) -> str:
    if dataset.split is None:
        return "none yet (jaxpert.add_split)"
    return _sizes(dataset.split)


def _sizes(split: np.ndarray) -> str:
    # Imported here, since the module of types shows its own by this one.
    from jaxpert.core.types import SPLITS

    counts = np.bincount(split, minlength=len(SPLITS))
    return ", ".join(f"{n:,} {name}" for n, name in zip(counts, SPLITS, strict=True) if n)


def of_rows(prepared: Any) -> str:
    """Paired rows of several lines, in numbers."""
    dataset, pairs = prepared.dataset, prepared.pairs
    return "\n".join(
        [
            f"Rows of {dataset.name!r}: {len(pairs.part):,} pairs x {len(dataset.genes):,} genes",
            f"  lines: {', '.join(prepared.pseudobulk.lines)}",
            f"  perturbations: {len(dataset.conditions) - 1:,}",
            f"  split: {_sizes(pairs.part)}",
            f"  notes: {len(prepared.notes)} (.notes)",
        ]
    )


def of_spec(spec: Any) -> str:
    """What a model must know of the data, in numbers."""
    return (
        f"Spec of {len(spec.genes):,} genes, {len(spec.treatments):,} perturbed ones, "
        f"{len(spec.conditions):,} conditions, {len(spec.strata)} strata"
    )


def of_model(model: Any) -> str:
    """Name and settings of a model."""
    settings = str(model.settings)
    # "Settings(a=1, b=2)" without the name of its class.
    inside = settings[settings.find("(") + 1 : -1] if settings.endswith(")") else settings
    return f"{model.name or 'a model without a name'}({inside})"


def of_fitted(fitted: Any) -> str:
    """A trained model: its size, and how training ended."""
    lines = [f"Fitted {of_model(fitted.model)}", f"  parameters: {_numbers(fitted.params):,}"]
    if fitted.outcome is not None:
        outcome = fitted.outcome
        lines.append(f"  epochs: {outcome.epochs}, steps: {outcome.step:,}")
    return "\n".join(lines)


def _numbers(params: Any) -> int:
    """How many numbers a tree of arrays holds."""
    import jax

    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(params))
