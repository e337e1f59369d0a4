"""Predict perturbations of a screen: means, effects and their errors over generated cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpert import data
from jaxpert.core.fit import Fitted
from jaxpert.core.streams import Stream
from jaxpert.core.types import LEVELS, SPLITS, Dataset, Deviation, InputError, Request
from jaxpert.data.labels_asked import known_names, treatments_asked
from jaxpert.evaluation import generate, pseudobulk, strata

if TYPE_CHECKING:
    from anndata import AnnData


SCALE_WORDS = {
    "counts": "mean of log2(1 + 1e4 x / sum x)",
    "log2": "mean of log2(1 + 1e4 x / sum x)",
    "effects": "effects, in the unit of the table",
}


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
    deviation: Deviation | None = None
    """`Model.deviation`; None where the model does not say."""
    rests_on: tuple[str, ...] = ()
    """`Model.rests_on`; empty where the model does not say."""

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
    dataset: Dataset, names: Sequence[str], separator: str | None = None
) -> Float[np.ndarray, "R T"]:
    """Multi-hot rows for conditions of the data set, or for treatments joined in any order as the
    labels of the data are (or by another `separator`).

    Raises InputError for a treatment that no cell received.
    """
    column = {name: t for t, name in enumerate(dataset.treatments)}
    known, where = known_names(dataset), repr(dataset.name)
    asked = treatments_asked(names, known, separator=separator, where=where)
    rows = np.zeros((len(asked), len(column)), np.float32)
    for row, treatments in zip(rows, asked, strict=True):
        row[[column[name] for name in treatments]] = 1
    return rows


def make_request(
    treatment: Float[Any, "R T"],
    *,
    library: float = 1e4,
    failed: float = 0.0,
    stratum: int = 0,
) -> Request:
    """Cells of one stratum (the first) with one library size and artifact flag."""
    rows = len(treatment)
    return Request(
        treatment=jnp.asarray(treatment, jnp.float32),
        library=jnp.full(rows, library, jnp.float32),
        stratum=jnp.full(rows, stratum, jnp.int32),
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
    """Predicted artifact-free expression and effect of each named condition, the control in front.

    A model that shifts given cells is asked in each stratum for itself, where effects are measured
    so (`evaluation.strata`): the effect of a condition is the mean over the strata of its cells.
    """
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
    deviation = None
    if model.deviation is not None:
        made = jax.jit(model.deviation)(fitted.params, fitted.state, request)
        deviation = jax.tree.map(np.asarray, made)
    rests_on = ()
    if model.rests_on is not None:
        rests_on = model.rests_on(fitted.params, fitted.state, treatment)
    ask = partial(
        generate.effect_intervals,
        fitted.model,
        fitted.params,
        fitted.state,
        jax.random.fold_in(jax.random.key(seed), Stream.PREDICT),
        particles=particles,
        # Groups give the Monte-Carlo error, which needs two particles in each.
        groups=min(20, particles // 2),
    )
    if not model.needs_control:
        effects = ask(request)
    elif strata.strata_of(dataset) is None:
        effects = ask(request, controls=_dense(dataset, _control_rows(dataset)[:particles]))
    else:
        effects = _within_strata(ask, dataset, treatment, library, particles)
    return Prediction(names, treatment, effects, support, uncertainty, deviation, rests_on)


def _control_rows(dataset: Dataset) -> Int[np.ndarray, "n"]:
    """Training control cells that pass quality, for models that shift a given cell."""
    rows = pseudobulk.passed_rows(dataset, "train")
    return rows[dataset.condition[rows] == dataset.control]


def _dense(dataset: Dataset, rows: Int[np.ndarray, "n"]) -> Float[Array, "n G"]:
    return jnp.asarray(dataset.counts[rows].toarray(), jnp.float32)


def _within_strata(
    ask: Callable[..., generate.Effects],
    dataset: Dataset,
    treatment: Float[np.ndarray, "R T"],
    library: float,
    particles: int,
) -> generate.Effects:
    """Effects of shifted control cells, stratum by stratum, weighted as measured ones are."""
    controls = _control_rows(dataset)
    weights = _stratum_weights(dataset, treatment)
    parts: list[tuple[Float[np.ndarray, "R"], generate.Effects]] = []
    # Strata whose control cells are not trained on cannot be asked for; others stand in.
    weights[:, ~np.isin(np.arange(weights.shape[1]), dataset.stratum[controls])] = 0
    weights[weights.sum(1) == 0] = weights[0]
    weights /= weights.sum(1, keepdims=True)
    for number in np.flatnonzero(weights.any(0)):
        here = controls[dataset.stratum[controls] == number]
        # As many as there are particles at most, in the proportions of the strata.
        most = max(1, round(particles * len(here) / len(controls)))
        asked = make_request(treatment, library=library, stratum=int(number))
        effects = ask(asked, controls=_dense(dataset, here[:most]))
        parts.append((weights[:, number], effects))
    return generate.mixed(parts)


def _stratum_weights(
    dataset: Dataset, treatment: Float[np.ndarray, "R T"]
) -> Float[np.ndarray, "R S"]:
    """Share of each asked condition's cells in each stratum; for what no cell received those of the
    control."""
    shares = strata.shares_of(dataset, pseudobulk.passed_rows(dataset))
    known = {row.tobytes(): c for c, row in enumerate(dataset.condition_treatments)}
    rows = [known.get(row.tobytes(), dataset.control) for row in treatment]
    return shares[rows]


def predict(
    fitted: Fitted, dataset: Dataset, perturbations: str | Sequence[str], **options: Any
) -> AnnData:
    """Predict perturbations, seen or not, alone or combined ("A+B"), as an AnnData of one row each.

    `X` is the mean of log2(1 + 1e4 x / sum x) over generated artifact-free cells; layers hold
    `effect` (minus the predicted control), `effect_error` (its Monte-Carlo standard error) and `sd`
    (spread over cells). `obs` says the condition, the splits that hold cells of it ("unseen" for
    none), `support` ("trained", or which treatments had no training cells) and, where the model has
    it, `uncertainty` (higher is less sure). Models that know how unsure they are add the layers
    `effect_sd` and `measured_sd`, standard deviations of the effect and of a new measurement, and
    the columns `width_50`, `width_90` (`core.types.Deviation`) and `rests_on`. Options as in
    `predict_effects`: particles, library, seed.

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
    if prediction.rests_on:
        columns["rests_on"] = list(prediction.rests_on)
    if prediction.deviation is not None:
        layers["effect_sd"] = prediction.deviation.effect
        layers["measured_sd"] = prediction.deviation.measured
        for level, width in zip(LEVELS, prediction.deviation.widths.T, strict=True):
            columns[f"width_{level:.0%}".rstrip("%")] = width
    return anndata.AnnData(
        X=effects.moments.mean.astype(np.float32),
        obs=pandas.DataFrame(columns, index=pandas.Index(prediction.names)),
        var=pandas.DataFrame(index=pandas.Index(dataset.genes)),
        layers={name: values.astype(np.float32) for name, values in layers.items()},
        uns={"scale": SCALE_WORDS[dataset.scale], "data": dataset.name},
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
        raise InputError(
            "this model has no latent space to embed cells in, expected one that has: set "
            "evaluation.umap_cells=0"
        )
    embed = jax.jit(fitted.model.embed)
    key = jax.random.key(seed)
    return data.in_blocks(
        dataset, rows, batch_size, lambda _, batch: embed(fitted.params, fitted.state, key, batch)
    )
