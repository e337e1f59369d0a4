"""Predict perturbations of a screen: means, effects and their errors over generated cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxpert import data
from jaxpert.core.fit import Fitted
from jaxpert.core.streams import Stream
from jaxpert.core.types import SPLITS, Dataset, InputError, Model, Request
from jaxpert.evaluation import generate, pseudobulk

if TYPE_CHECKING:
    from anndata import AnnData


class Prediction(NamedTuple):
    """Predicted expression of conditions, the control first, on the log2(1 + 1e4 x / sum x)
    scale."""

    names: tuple[str, ...]
    treatment: Float[np.ndarray, "R T"]
    effects: generate.Effects
    support: tuple[str, ...] = ()
    """What stands behind each row (`Model.support`); empty where the model does not say."""
    uncertainty: Float[np.ndarray, "R"] | None = None
    """`Model.uncertainty`: higher is less sure; None where the model does not say."""

    def effects_of(self, dataset: Dataset) -> Float[np.ndarray, "C G"]:
        """Effects in the data set's order of conditions, all of which were predicted."""
        return self.effects.effect[self.rows_of(dataset)]

    def rows_of(self, dataset: Dataset) -> list[int]:
        """The row of each condition of the data set."""
        row = {name: i for i, name in enumerate(self.names)}
        return [row[name] for name in dataset.conditions]


def listed(names: str | Sequence[str]) -> tuple[str, ...]:
    """Names of perturbations; one text is one name, not its letters."""
    return (names,) if isinstance(names, str) else tuple(names)


def treatments_of(
    dataset: Dataset, names: Sequence[str], separator: str = "+"
) -> Float[np.ndarray, "R T"]:
    """Multi-hot rows for condition names of the data set, or for treatments joined by `separator`
    in any order.

    Raises InputError for a treatment that no cell received.
    """
    known = dict(zip(dataset.conditions, dataset.condition_treatments, strict=True))
    column = {name: t for t, name in enumerate(dataset.treatments)}
    control = dataset.conditions[dataset.control]
    rows = np.zeros((len(names), len(column)), np.float32)
    for row, name in zip(rows, names, strict=True):
        if name in known:
            row[:] = known[name]
            continue
        # The label of control adds nothing, so that "A+ctrl" is "A".
        parts = [part for part in name.split(separator) if part != control]
        unknown = [part for part in parts if part not in column]
        if unknown:
            raise InputError(
                f"{name!r} asks for {', '.join(map(repr, unknown))}, which no cell of "
                f"{dataset.name!r} received: expected treatments such as "
                f"{', '.join(dataset.treatments[:5])}"
            )
        row[[column[part] for part in parts]] = 1
    return rows


def make_request(
    treatment: Float[np.ndarray, "R T"], *, library: float = 1e4, failed: float = 0.0
) -> Request:
    """Cells of the first stratum with one library size and artifact flag."""
    rows = len(treatment)
    return Request(
        treatment=jnp.asarray(treatment, jnp.float32),
        library=jnp.full(rows, library, jnp.float32),
        stratum=jnp.zeros(rows, jnp.int32),
        failed=jnp.full(rows, failed, jnp.float32),
    )


def predict_effects(
    fitted: Fitted,
    dataset: Dataset,
    names: str | Sequence[str],
    *,
    particles: int = 2500,
    library: float = 1e4,
    seed: int = 0,
) -> Prediction:
    """Predicted artifact-free expression and effect of each named condition, the control in
    front."""
    control = dataset.conditions[dataset.control]
    # The control goes in front, since effects are minus the control that the model predicts.
    names = (control, *(name for name in listed(names) if name != control))
    treatment = treatments_of(dataset, names)
    model, request = fitted.model, make_request(treatment, library=library)
    support = () if model.support is None else model.support(treatment)
    uncertainty = None
    if model.uncertainty is not None:
        values = jax.jit(model.uncertainty)(fitted.params, fitted.state, request)
        uncertainty = np.asarray(values)
    effects = generate.effect_intervals(
        fitted.model,
        fitted.params,
        fitted.state,
        jax.random.fold_in(jax.random.key(seed), Stream.PREDICT),
        request,
        particles=particles,
        # Groups give the Monte-Carlo error, which needs two particles in each.
        groups=min(20, particles // 2),
        controls=_control_cells(fitted.model, dataset, particles),
    )
    return Prediction(names, treatment, effects, support, uncertainty)


def _control_cells(model: Model, dataset: Dataset, most: int) -> Float[Array, "K G"] | None:
    """Training control cells for models that shift a given cell; the others need none."""
    if not model.needs_control:
        return None
    rows = pseudobulk.passed_rows(dataset, "train")
    # As many as there are particles at most, since each particle shifts one of them.
    rows = rows[dataset.condition[rows] == dataset.control][:most]
    return jnp.asarray(dataset.counts[rows].toarray(), jnp.float32)


def predict(
    fitted: Fitted, dataset: Dataset, perturbations: str | Sequence[str], **options: Any
) -> AnnData:
    """Predict perturbations, seen or not, alone or combined ("A+B"), as an AnnData of one row each.

    `X` is the mean of log2(1 + 1e4 x / sum x) over generated artifact-free cells; layers hold
    `effect` (minus the predicted control), `effect_error` (its Monte-Carlo standard error) and `sd`
    (spread over cells). `obs` says the condition, the splits that hold cells of it ("unseen" for
    none), `support` ("trained", or which treatments had no training cells) and, where the model has
    it, `uncertainty` (higher is less sure). Options as in `predict_effects`: particles, library,
    seed.

    Example:
        predicted = jaxpert.predict(fitted, cells, ["KLF1", "KLF1+FAR2"])
        predicted.to_df(layer="effect").loc["KLF1+FAR2"].nlargest(10)
    """
    return to_anndata(predict_effects(fitted, dataset, perturbations, **options), dataset)


def to_anndata(prediction: Prediction, dataset: Dataset) -> AnnData:
    """The AnnData of `predict`."""
    import anndata
    import pandas

    effects = prediction.effects
    columns: dict[str, Any] = {
        "condition": list(prediction.names),
        "split": [_splits_of(dataset, row) for row in prediction.treatment],
        "generated_cells": effects.moments.cells,
    }
    if prediction.support:
        columns["support"] = list(prediction.support)
    if prediction.uncertainty is not None:
        columns["uncertainty"] = prediction.uncertainty
    layers = {"effect": effects.effect, "effect_error": effects.error, "sd": effects.moments.sd}
    return anndata.AnnData(
        X=effects.moments.mean.astype(np.float32),
        obs=pandas.DataFrame(columns, index=pandas.Index(prediction.names)),
        var=pandas.DataFrame(index=pandas.Index(dataset.genes)),
        layers={name: values.astype(np.float32) for name, values in layers.items()},
        uns={"scale": "mean of log2(1 + 1e4 x / sum x)", "data": dataset.name},
    )


def _splits_of(dataset: Dataset, treatment: Float[np.ndarray, "T"]) -> str:
    """Splits with cells of the condition, joined by "+"; "dropped" where all of its cells are in
    none."""
    # Multi-hot rows are compared, so the order of names in a label does not matter.
    same = np.flatnonzero((dataset.condition_treatments == treatment).all(1))
    cells = np.isin(dataset.condition, same)
    if dataset.split is None or not cells.any():
        return "unseen"
    splits = [SPLITS[code] for code in np.unique(dataset.split[cells])]
    # "dropped" is told only where no other part holds the condition.
    return "+".join(split for split in splits if split != "dropped") or "dropped"


def embed_cells(
    fitted: Fitted, dataset: Dataset, rows: np.ndarray, *, batch_size: int = 512, seed: int = 0
) -> dict[str, np.ndarray]:
    """Named posterior-mean latents of the given cells, in their order."""
    if fitted.model.embed is None:
        raise InputError("this model has no latent space to embed cells in")
    embed = jax.jit(fitted.model.embed)
    key = jax.random.key(seed)
    return data.in_blocks(
        dataset, rows, batch_size, lambda _, batch: embed(fitted.params, fitted.state, key, batch)
    )
