"""Fine-tuning a trained CycSeq on other data (docs/models/cycseq.md, Fine-tuning): new lines take
placeholder columns, new perturbations get columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jaxpert.core.types import InputError, PyTree, Spec
from jaxpert.models.cycseq.setup import CycSeq, changed, initial


def grow(
    net: CycSeq, params: PyTree, state: PyTree, spec: Spec, key: PRNGKeyArray
) -> tuple[CycSeq, PyTree, PyTree, tuple[str, ...]]:
    """Trained networks made ready for other data of the same genes: (networks, params, state,
    notes).

    Every line that the networks have no batch column for takes a placeholder, whose entries start
    at the mean of the columns in use (without training this is the zero-shot model of that line).
    Perturbations that have no column get one at initial values. Critics and batch moments are kept;
    the optimiser starts anew. Build the model from the networks with `model_of`, or later from
    `make(spec, **asdict(networks.settings))`.

    Args:
        net: the trained networks.
        params: their parameters.
        state: their batch moments.
        spec: the other data.
        key: for new perturbation columns.

    Raises:
        InputError: for another gene set, and for more new lines than placeholders.
    """
    # Expression goes by position, so other genes would be read as these.
    _same_genes(net.spec, spec)
    notes = []
    # Each line in turn, since every one uses up a placeholder.
    for line in spec.strata:
        if line not in net.lines:
            net, params = with_placeholder(net, params, line)
            notes.append(
                f"line {line} takes batch column {len(net.lines)}, which starts at the mean of the "
                "trained ones"
            )
    notes += _untrained_notes(net.spec, spec)
    new = [name for name in spec.treatments if name not in net.targets]
    # Targets are appended, so that trained columns keep their numbers.
    grown = changed(net, spec, targets=(*net.targets, *new), lines=net.lines)
    if new:
        params = _with_columns(grown, params, len(net.targets), key)
    return grown, params, state, tuple(notes)


def _untrained_notes(old: Spec, new: Spec) -> list[str]:
    """A note on treatments of the new data that the old ones had no training cells of."""
    cells = dict(zip(old.treatments, np.asarray(old.treatment_cells), strict=True))
    untrained = [name for name in new.treatments if not cells.get(name, 0)]
    if not untrained:
        return []
    more = " ..." if len(untrained) > 6 else ""
    return [
        f"{len(untrained)} of {len(new.treatments)} perturbations had no training rows before, so "
        f"their columns start at initial values: {', '.join(untrained[:6])}{more}"
    ]


def with_placeholder(net: CycSeq, params: PyTree, line: str) -> tuple[CycSeq, PyTree]:
    """Give a line the first free placeholder column, whose entries start at the mean of the columns
    in use."""
    used = len(net.lines)
    if line in net.lines:
        raise InputError(
            f"line {line!r} has a batch column already, expected the name of a new line: choose "
            "another name"
        )
    if not net.settings.placeholders:
        raise InputError(
            f"line {line!r} needs a placeholder batch column, but all are used up by "
            f"{', '.join(net.lines[-3:])} and others, expected a free one: pre-train with a higher "
            "model.kwargs.placeholders"
        )

    # The columns in use stand in front, the free ones behind them.
    def mean(axis: int, leaf: Array) -> Array:
        # Column `used` is the first free one.
        rows = jnp.moveaxis(leaf, axis, 0)
        return jnp.moveaxis(rows.at[used].set(rows[:used].mean(0)), 0, axis)

    # One place fewer is free, so the width of the networks stays as it was.
    free = net.settings.placeholders - 1
    settings = {"lines": (*net.lines, line), "targets": net.targets, "placeholders": free}
    return changed(net, net.spec, **settings), _columns("stratum", mean, params)


def _same_genes(old: Spec, new: Spec) -> None:
    if old.genes == new.genes:
        return
    known = set(new.genes)
    absent = [name for name in old.genes if name not in known]
    difference = "others, or in another order"
    if absent:
        difference = f"{len(absent)} of them are missing ({', '.join(absent[:4])})"
    raise InputError(
        f"the data have {len(new.genes)} genes and the trained model {len(old.genes)}, of which "
        f"{difference}; expected the same genes in the same order: choose the trained run's genes "
        "when reading the data"
    )


def _columns(which: str, change: Callable[..., Array], params: PyTree, *others: PyTree) -> PyTree:
    """Change every array with an axis of perturbation ("target") or batch ("stratum") columns by
    `change(axis, leaf, *other leaves)`."""
    # By the last parts of a parameter's path; critics read columns without an embedding.
    axes = {
        ("conditions", which, "kernel"): 0,
        ("decoder", which, "kernel"): 1,
        ("decoder", which, "bias"): 0,
    }

    def changed_leaf(path: Any, leaf: Array, *more: Array) -> Array:
        names = tuple(entry.key for entry in path)
        # Critics read conditions in their first layer, without an embedding.
        in_critic = names[0] == "critics" and names[-2:] == ("first", which)
        # Paths are told by their end, since both generators have the same parts.
        axis = 0 if in_critic else axes.get(names[-3:])
        if axis is None:
            return leaf
        return change(axis, leaf, *more)

    return jax.tree_util.tree_map_with_path(changed_leaf, params, *others)


def _with_columns(net: CycSeq, params: PyTree, had: int, key: PRNGKeyArray) -> PyTree:
    """More perturbation columns, at the initial values of the larger networks."""

    def join(axis: int, old: Array, new: Array) -> Array:
        # Only the added columns are taken from the fresh networks; trained ones stay.
        added = jax.lax.slice_in_dim(new, had, None, axis=axis)
        return jnp.concatenate([old, added.astype(old.dtype)], axis)

    # Initial values of the grown networks, from the same function as any others.
    return _columns("target", join, params, initial(net, key)[0])
