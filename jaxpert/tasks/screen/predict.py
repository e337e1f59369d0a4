"""Predict perturbations of a screen: means, effects and their errors over generated cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxpert import data
from jaxpert.core.ensemble import Ensemble, members_of
from jaxpert.core.fit import Fitted
from jaxpert.core.streams import Stream
from jaxpert.core.types import LEVELS, SPLITS, Dataset, Deviation, InputError
from jaxpert.data.labels_asked import known_names, treatments_asked
from jaxpert.evaluation import generate
from jaxpert.tasks.screen.asking import ask_effects, make_request
from jaxpert.tasks.screen.intervals import Calibration, calibrate, effect_deviation
from jaxpert.tasks.screen.kinds import named_sets

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
    """`Model.deviation`, or what validation says of the model (`intervals`); None where neither
    says."""
    rests_on: tuple[str, ...] = ()
    """`Model.rests_on`; empty where the model does not say."""
    calibration: Calibration | None = None
    """What `deviation` was made of; None for the model's own."""

    def effects_of(self, dataset: Dataset) -> Float[np.ndarray, "C G"]:
        """Effects in the data set's order of conditions, all of which were predicted."""
        return self.effects.effect[self.rows_of(dataset)]

    def deviation_of(self, dataset: Dataset) -> Deviation | None:
        """The same of how unsure they are."""
        if self.deviation is None:
            return None
        return Deviation(*(part[self.rows_of(dataset)] for part in self.deviation))

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


def predict_effects(
    fitted: Fitted | Ensemble,
    dataset: Dataset,
    names: str | Sequence[str],
    *,
    particles: int = 2500,
    library: float = 1e4,
    seed: int = 0,
    intervals: bool = False,
) -> Prediction:
    """Predicted artifact-free expression and effect of each named condition, the control in front.

    With `intervals` a model without widths of its own gets those that validation asks for, for
    which validation is predicted too.
    """
    control = dataset.conditions[dataset.control]
    # The control goes in front, since effects are minus the control that the model predicts.
    names = (control, *(name for name in listed(names) if name != control))
    treatment = treatments_of(dataset, names)
    first, model = members_of(fitted)[0], fitted.model
    request = make_request(treatment, library=library)
    support = () if model.support is None else model.support(treatment)
    uncertainty = None
    if model.uncertainty is not None:
        ask = jax.jit(model.uncertainty)
        each = [ask(one.params, one.state, request) for one in members_of(fitted)]
        uncertainty = np.mean(each, axis=0)
    deviation = None
    if model.deviation is not None:
        # Models that answer for it themselves learn nothing by seed.
        made = jax.jit(model.deviation)(first.params, first.state, request)
        deviation = jax.tree.map(np.asarray, made)
    rests_on = ()
    if model.rests_on is not None:
        rests_on = model.rests_on(first.params, first.state, treatment)
    options: dict[str, Any] = {"particles": particles, "library": library}
    key = jax.random.fold_in(jax.random.key(seed), Stream.PREDICT)
    effects = ask_effects(fitted, dataset, treatment, key, **options)
    calibration = calibrate(fitted, dataset, **options) if intervals else None
    if calibration is not None:
        own = effect_deviation(fitted, treatment, key, library, effects.seed_sd)
        deviation = calibration.deviation(named_sets(dataset, treatment), own)
    said = support, uncertainty, deviation, rests_on, calibration
    return Prediction(names, treatment, effects, *said)


def predict(
    fitted: Fitted | Ensemble, dataset: Dataset, perturbations: str | Sequence[str], **options: Any
) -> AnnData:
    """Predict perturbations, seen or not, alone or combined ("A+B"), as an AnnData of one row each.

    `X` is the mean of log2(1 + 1e4 x / sum x) over generated artifact-free cells; layers hold
    `effect` (minus the predicted control), `effect_error` (its Monte-Carlo standard error) and `sd`
    (spread over cells). `obs` says the condition, the splits that hold cells of it ("unseen" for
    none), `support` ("trained", or which treatments had no training cells) and, where the model has
    it, `uncertainty` (higher is less sure) and `rests_on`. Where the model or its validation
    perturbations say how sure it is, the layers `effect_sd` and `measured_sd` are standard
    deviations of the effect and of a new measurement; the columns `effect_width_50` and
    `effect_width_90`, `width_50` and `width_90` say how many of them an interval takes
    (`core.types.Deviation`; NaN where nothing says); `uns["intervals"]` says why there are none.
    Of several seeds (`ensemble_of`) it is the mean, and the layer `effect_seed_sd` says how far
    they differ. Options as in `predict_effects`: particles, library, seed.

    Example:
        predicted = jaxpert.predict(fitted, cells, ["KLF1", "KLF1+FAR2"])
        predicted.to_df(layer="effect").loc["KLF1+FAR2"].nlargest(10)
    """
    made = predict_effects(fitted, dataset, perturbations, intervals=True, **options)
    return to_anndata(made, dataset)


def to_anndata(prediction: Prediction, dataset: Dataset) -> AnnData:
    """The AnnData of `predict`."""
    import anndata
    import pandas

    effects = prediction.effects
    columns: dict[str, Any] = {
        "condition": list(prediction.names),
        "split": pandas.Categorical([splits_of(dataset, row) for row in prediction.treatment]),
        "generated_cells": effects.moments.cells,
    }
    if prediction.support:
        columns["support"] = pandas.Categorical(prediction.support)
    if prediction.uncertainty is not None:
        columns["uncertainty"] = prediction.uncertainty
    layers = {"effect": effects.effect, "effect_error": effects.error, "sd": effects.moments.sd}
    if effects.seed_sd is not None:
        layers["effect_seed_sd"] = effects.seed_sd
    if prediction.rests_on:
        columns["rests_on"] = list(prediction.rests_on)
    if prediction.deviation is not None:
        layers["effect_sd"] = prediction.deviation.effect
        layers["measured_sd"] = prediction.deviation.measured
        columns |= _widths("width", prediction.deviation.widths)
        columns |= _widths("effect_width", prediction.deviation.effect_widths)
    said = {}
    if prediction.calibration is not None and prediction.calibration.notes:
        said["intervals"] = "; ".join(prediction.calibration.notes)
    return anndata.AnnData(
        X=effects.moments.mean.astype(np.float32),
        obs=pandas.DataFrame(columns, index=pandas.Index(prediction.names)),
        var=pandas.DataFrame(index=pandas.Index(dataset.genes)),
        layers={name: values.astype(np.float32) for name, values in layers.items()},
        uns={"scale": SCALE_WORDS[dataset.scale], "data": dataset.name, **said},
    )


def _widths(name: str, widths: Float[np.ndarray, "R Q"]) -> dict[str, Any]:
    """Columns of the factors at each level; none without a single one, since standard deviations
    alone are no intervals."""
    if not np.isfinite(widths).any():
        return {}
    names = [f"{name}_{level:.0%}".rstrip("%") for level in LEVELS]
    return dict(zip(names, widths.T, strict=True))


def splits_of(dataset: Dataset, treatment: Float[np.ndarray, "T"]) -> str:
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
    """Named posterior-mean latents of the given cells, in their order.

    Example:
        latents = jaxpert.embed_cells(fitted, cells, np.arange(100))
        latents["z_basal"].shape
    """
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
