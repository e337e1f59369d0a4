"""Predictions of GEARS for any sets of genes, with or without cells in the data, and what each one
rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxpert.core import ensemble
from jaxpert.core.ensemble import Ensemble
from jaxpert.core.family import Problem
from jaxpert.core.fit import Fitted
from jaxpert.core.types import Dataset, InputError
from jaxpert.evaluation.generate import Effects, Moments
from jaxpert.models.gears.changes import changes, tables
from jaxpert.models.gears.head import effect_deviation_of, of_means
from jaxpert.models.gears.model import details_of
from jaxpert.models.gears.named_sets import (
    Genes,
    Sets,
    measured_sets,
    parse_sets,
    texts_of,
)
from jaxpert.models.gears.nearest import rests_on_sets
from jaxpert.models.gears.sets import Members, members_of
from jaxpert.models.gears.setup import Gears
from jaxpert.tasks.screen.intervals import calibrate, with_seeds
from jaxpert.tasks.screen.predict import Prediction, listed, to_anndata

if TYPE_CHECKING:
    from anndata import AnnData

CHUNK = 256
"""Sets that go to the device at a time; memory beyond the answer is theirs."""
SCALE = "mean of ln(1 + 1e4 x / sum x)"
LN2 = float(np.log(2))
OF_CELLS = ("particles", "library", "seed")
"""Options of models that generate cells, which every `Family.predict` is given."""


class Changes(NamedTuple):
    """Predicted changes of expression (after minus before, ln(1 + 1e4 x / sum x)) of some sets."""

    effect: Float[np.ndarray, "R G"]
    log_variance: Float[np.ndarray, "R G"] | None

    @property
    def uncertainty(self) -> Float[np.ndarray, "R"] | None:
        """Mean log variance over the genes: higher is less certain."""
        if self.log_variance is None:
            return None
        return self.log_variance.mean(1)


def predict_sets(
    fitted: Fitted,
    dataset: Dataset,
    sets: str | Sets,
    *,
    absent: str = "refuse",
    signs: Mapping[str, int] | None = None,
    separator: str | None = None,
    chunk: int = CHUNK,
) -> AnnData:
    """Predict perturbations of any genes of the graphs, one row each, one pass of the network per
    set.

    Args:
        fitted: a GEARS of one seed (`core.fit.pick_seed` takes one of several).
        dataset: that it was trained on.
        sets: "A", "A+ctrl", "A+B", "C+B+A" or sequences of names; control alone is the empty set.
            One text is one set.
        absent: for genes in no graph: "refuse", or what stands in for them, "average" (the mean
            embedding of trained genes) or "isolated" (an unlinked node at the mean of the untrained
            ones). `support` says so.
        signs: +1 or -1 (activated, repressed) for genes that are no treatment of the data; +1 where
            not given.
        separator: between the genes of a set in text; None for that of the data, or "+".
        chunk: sets at a time.

    Returns:
        `X` is the mean of ln(1 + 1e4 x / sum x) after the perturbation: the mean over all training
        control cells plus the predicted change, which no control cell alters (docs/models/gears.md,
        One pass per set). Layers: `effect`, the change, and `log_variance` where the model has an
        uncertainty head. `obs`: `set` as asked for, `genes` (sorted, so "B+A" and "A+B" agree, as
        do their numbers), `size`, `measured` (the data hold cells of it), `support` ("trained",
        "new combination of trained genes", or for each gene without training cells how many
        trained neighbours it has in the graphs), and `uncertainty`, the mean log variance over
        genes: higher is less certain.

        With `uncertainty="gaussian"` that is the log of the variance that the model expects of
        single cells. The shipped form has no log term in its loss, so that only the order of its
        values means anything, and the authors saw even that depend on the data: compare it with
        the errors on held-out sets before using it.

    Raises:
        InputError: for another model, a gene that `absent` refuses, and a set that is asked for
            twice.

    Example:
        predicted = jaxpert.predict_sets(fitted, cells, ["KLF1+FAR", "KLF1+BAK1+TP73"])
        predicted.obs["support"]
    """
    if isinstance(sets, str):
        sets = (sets,)
    parsed = parse_sets(dataset, sets, separator)
    net = details_of(fitted.model)
    members = members_of(net, parsed, absent, signs)
    predicted = predict_members(fitted, members, chunk=chunk)
    return _to_anndata(dataset, net, texts_of(sets, separator), parsed, members, predicted)


def predict(
    problem: Problem,
    fitted: Fitted | Ensemble,
    names: str | Sequence[str],
    *,
    absent: str = "refuse",
    signs: Mapping[str, int] | None = None,
    separator: str | None = None,
    **of_cells: Any,
) -> AnnData:
    """`Family.predict`: sets of any genes of the graphs, in the form and on the log2 scale that
    predictions of all models have, the control in front.

    Args:
        problem: its data are those that the model was trained on.
        fitted, absent, signs, separator: as in `predict_sets`.
        names: of the sets.
        **of_cells: particles, library and seed, for models that generate cells; they change
            nothing here.
    """
    unknown = sorted(of_cells.keys() - set(OF_CELLS))
    if unknown:
        raise TypeError(f"predict() got an unexpected keyword argument {unknown[0]!r}")
    dataset = problem.dataset
    control = dataset.conditions[dataset.control]
    # The control goes in front, since the other models' predictions have it there.
    names = (control, *(name for name in listed(names) if name != control))
    parsed = parse_sets(dataset, names, separator)
    net = details_of(fitted.model)
    members = members_of(net, parsed, absent, signs)
    seeds = [predict_members(one, members) for one in ensemble.members_of(fitted)]
    # From the natural logarithm to base 2, which predictions of all models have.
    each = np.stack([np.asarray(one.effect, np.float64) for one in seeds]) / LN2
    effect, seed_sd = each.mean(0), ensemble.between(each)
    moments = Moments(
        mean=np.asarray(net.spec.control_mean) / LN2 + effect,
        sd=np.full(effect.shape, np.nan),  # no cells are generated
        cells=np.ones(len(effect), np.int64),
    )
    effects = Effects(effect, np.zeros_like(effect), moments, seed_sd)
    rows = _treatment_rows(dataset, parsed)
    # A model of means is asked once, whatever the particles.
    calibration = calibrate(fitted, dataset, particles=2, library=1e4)
    deviation = within = None
    if effect_deviation_of(net) is not None:
        squares = [of_means(net, np.asarray(one.log_variance)) ** 2 for one in seeds]
        within = np.mean(squares, axis=0)
    own = with_seeds(within, seed_sd)
    if calibration is not None:
        deviation = calibration.deviation([frozenset(genes) for genes in parsed], own)
    nearest = rests_on_sets(net, parsed)
    uncertainty = None
    told = [one.uncertainty for one in seeds if one.uncertainty is not None]
    if told:
        uncertainty = np.mean(told, axis=0)
    said = members.support, uncertainty, deviation, nearest, calibration
    return to_anndata(Prediction(names, rows, effects, *said), dataset)


def predictor(fitted: Fitted, chunk: int = CHUNK) -> Callable[[np.ndarray, np.ndarray], Changes]:
    """(nodes [m, M], signs [m, M]) -> changes, for at most `chunk` rows; compiled once for each
    M."""
    # Several seeds have a leading axis, which would be read as genes.
    if np.ndim(fitted.params["gene_embedding"]) != 2:
        raise InputError(
            "the model holds several seeds, expected one: choose it with "
            "jaxpert.core.fit.pick_seed(fitted, 0)"
        )
    net = details_of(fitted.model)
    change = jax.jit(partial(changes, net))
    # Graphs and gene branch take ten times as long as the rest of a set (docs/performance.md).
    known = jax.jit(partial(tables, net))(fitted.params, fitted.state)

    def predict_chunk(nodes: np.ndarray, signs: np.ndarray) -> Changes:
        # Filled up with the last row, so that all chunks run one program.
        rows = np.minimum(np.arange(chunk), len(nodes) - 1)
        # Arrays of the host go into the program as they are, without one of their own each.
        filled = nodes[rows], signs[rows].astype(np.float32)
        mean, spread = change(fitted.params, fitted.state, *filled, known)
        if spread is not None:
            spread = np.asarray(spread)[: len(nodes)]
        return Changes(np.asarray(mean)[: len(nodes)], spread)

    return predict_chunk


def predict_members(fitted: Fitted, members: Members, *, chunk: int = CHUNK) -> Changes:
    """Changes of all genes for all sets."""
    # No chunk larger than what is asked for, which would be padding.
    chunk = min(chunk, len(members.nodes))
    predict_chunk = predictor(fitted, chunk)
    parts = []
    for start in range(0, len(members.nodes), chunk):
        rows = slice(start, start + chunk)
        parts.append(predict_chunk(members.nodes[rows], members.signs[rows]))
    effects, spreads = zip(*parts, strict=True)
    effect, spread = np.concatenate(effects), None
    # All chunks come from one model, so that the first tells whether it has a head.
    if spreads[0] is not None:
        spread = np.concatenate(spreads)
    return Changes(effect, spread)


def _treatment_rows(dataset: Dataset, sets: Sequence[Genes]) -> Float[np.ndarray, "R T"]:
    """Multi-hot rows of the treatments; NaN, which no condition of the data equals, for sets with
    other genes."""
    column = {name: t for t, name in enumerate(dataset.treatments)}
    rows = np.zeros((len(sets), len(column)), np.float32)
    for row, genes in zip(rows, sets, strict=True):
        # A set with another gene is none of the data's conditions.
        if set(genes) <= set(column):
            for name in genes:
                row[column[name]] = 1
        else:
            row[:] = np.nan
    return rows


def _to_anndata(
    dataset: Dataset,
    net: Gears,
    names: list[str],
    sets: list[Genes],
    members: Members,
    predicted: Changes,
) -> AnnData:
    import anndata
    import pandas as pd

    # What has cells already need not be run again.
    known = measured_sets(dataset)
    obs: dict[str, Any] = {
        "set": names,
        "genes": ["+".join(sorted(genes)) for genes in sets],
        "size": list(map(len, sets)),
        "measured": [frozenset(genes) in known for genes in sets],
        "support": list(members.support),
    }
    layers = {"effect": predicted.effect}
    if predicted.log_variance is not None:
        obs["uncertainty"] = predicted.uncertainty
        layers["log_variance"] = predicted.log_variance
    return anndata.AnnData(
        X=(net.spec.control_mean + predicted.effect).astype(np.float32),
        obs=pd.DataFrame(obs, index=pd.Index(names)),
        var=pd.DataFrame(index=pd.Index(dataset.genes)),
        layers=layers,
        uns={"scale": SCALE, "data": dataset.name},
    )
