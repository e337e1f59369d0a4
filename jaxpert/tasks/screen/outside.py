"""Predictions of any tool, scored as those of a run are: the same effects, baselines, scores and
verdict, after an audit of leaks and scales (docs/guide/score.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.about import describe
from jaxpert.core.types import SPLITS, Dataset, InputError
from jaxpert.data.files import shown
from jaxpert.data.labels import text_labels
from jaxpert.data.moments import LIBRARY, condition_means
from jaxpert.evaluation import baselines, compare, pseudobulk, strata
from jaxpert.evaluation.noise import noise_of
from jaxpert.tasks.screen import each, leaks, matching, scales
from jaxpert.tasks.screen.common_scale import common_scale, on_one_scale
from jaxpert.tasks.screen.measured import Measured, duplicates, measure
from jaxpert.tasks.screen.real_cells import Real, told_of
from jaxpert.tasks.screen.schools import Predicted, school_scores
from jaxpert.tasks.screen.tables import Rows, labels_of, read_rows

PREDICTED = "predicted"
"""Subset of the perturbations that are predicted, where some are not."""
OWN_COLUMN = "condition"
"""Of the labels in predictions.h5ad."""
KNOWS_NOTHING = "no_change"
"""The baseline that needs no training cells."""


class Asked(NamedTuple):
    """How predictions are to be read."""

    perturbation: str = ""
    """Column of their labels; empty for that of the real cells."""
    scale: str = "auto"
    layer: str | None = None
    total: float | None = None
    """That log-normalised values add up to; None for what the values tell, or 10,000."""
    schools: bool = True
    """Whether to give the scores of the other schools."""


AS_TOLD = Asked()


class Scored(NamedTuple):
    """Predictions with their scores."""

    measured: Measured
    effects: Float[np.ndarray, "C G"]
    """Log2; 0 for perturbations that are not predicted."""
    metrics: dict[str, Any]
    """As in metrics.json of a run, with the parts `scored` and `schools`."""


def score(real: Real, source: Any, asked: Asked = AS_TOLD, *, seed: int = 0) -> Scored:
    """Audit and score predictions of any tool against real cells.

    Args:
        real: the cells.
        source: path of an .h5ad or CSV file, an AnnData or a table (conditions by genes).
        asked: how to read them.
        seed: of halves of cells and of intervals.

    Raises:
        InputError: for predictions that cannot be scored; docs/guide/score.md lists why.
    """
    rules = real.dataset.label_rules
    perturbation = asked.perturbation or rules.perturbation
    rows = read_rows(source, perturbation, asked.layer, "the predictions")
    told = told_of(rows, asked.scale, "--scale")
    genes = matching.match_genes(real.dataset.genes, rows.genes, rows.source)
    _check_fixed(real, genes, rows.source)
    labels = labels_of(rows, _column(rows, perturbation, asked), "--pred_perturbation")
    conditions = matching.match_conditions(labels, real.dataset, rows.source)
    total, of_total = common_scale(real, rows, told, asked.total, means=_once_each(labels))
    known = conditions.of_row >= 0
    values, dataset = on_one_scale(real, rows, told, genes, total)
    values, condition = values[known], conditions.of_row[known]
    stratum, of_strata = _strata_of(rows, real.stratum, dataset, known)
    effects, bulk = _effects(values, condition, stratum, dataset, told, rows.source)
    measured, of_missing = _only_asked(_measured(dataset, real.truth), condition)
    found = [
        *rows.notes, *genes.notes, *conditions.notes, of_total, of_strata, of_missing,
        *(() if bulk is None else _audit_of_cells(values, condition, dataset, total)),
        leaks.trained_in_company(dataset), leaks.repeated_between_parts(dataset),
    ]  # fmt: skip
    metrics = _metrics(measured, effects, seed) | {"each": each.each(measured, effects)}
    metrics["scored"] = {
        "real cells": real.source,
        "predictions": rows.source,
        "scale of the real cells": real.sentence,
        "scale of the predictions": told.sentence,
        "scores are on": _shown_scale(total),
        "predicted rows": len(condition),
        "to know": list(filter(None, found)),
    }
    if asked.schools:
        cells = None if bulk is None or _once_each(condition) else values
        predicted = Predicted(effects, cells, condition)
        metrics["schools"] = school_scores(measured, predicted, _whole(measured.screen))
    return Scored(measured, effects, metrics)


def _column(rows: Rows, perturbation: str, asked: Asked) -> str:
    """The column of labels; files of jaxpert itself, which say their scale, have one of their
    own."""
    given = asked.perturbation or perturbation in rows.obs.columns
    return OWN_COLUMN if rows.scale and not given else perturbation


def _shown_scale(total: float | None) -> str:
    return "log2 of the values as given" if total is None else f"log2(1 + {total:,.0f} x / sum x)"


def _once_each(labels: np.ndarray) -> bool:
    return len(np.unique(labels)) == len(labels)


def _check_fixed(real: Real, genes: matching.Genes, source: str) -> None:
    if real.fixed and genes.missing:
        raise InputError(
            f"{source} lacks {len(genes.missing)} of the {len(real.dataset.genes)} measured genes "
            f"({shown(genes.missing)}), expected all of them, since what stands side by side is "
            "scored on the same genes: predict these too"
        )


def _strata_of(
    rows: Rows, name: str, dataset: Dataset, known: Bool[np.ndarray, "N"]
) -> tuple[Int[np.ndarray, "n"] | None, str]:
    """The stratum of every predicted row where effects are measured within strata, and a sentence
    where the predictions name none."""
    if strata.strata_of(dataset) is None:
        return None, ""
    if name not in rows.obs.columns:
        return None, (
            f"{rows.source} names no strata, so that its effects are minus the predicted control "
            "of all strata together"
        )
    text = text_labels(rows.obs, name, "--stratum", "fill them in").astype(str)[known]
    unknown = sorted(set(text.tolist()) - set(dataset.strata))
    if unknown:
        raise InputError(
            f"{rows.source} has the strata {shown(unknown)}, expected those of the real cells "
            f"({shown(dataset.strata)}): rename them"
        )
    place = {stratum: s for s, stratum in enumerate(dataset.strata)}
    return np.array([place[one] for one in text]), ""


def _effects(
    values: Any,
    condition: Int[np.ndarray, "n"],
    stratum: Int[np.ndarray, "n"] | None,
    dataset: Dataset,
    told: scales.Told,
    source: str,
) -> tuple[Float[np.ndarray, "C G"], Any]:
    """Predicted effects, 0 for conditions without rows, and the means behind them (None where
    effects were given)."""
    given = told.scale in scales.EFFECTS
    here = condition == dataset.control
    if given and here.any():
        leaks.unlike_controls(np.asarray(values[here].mean(axis=0)).ravel(), source)
    elif not given and not here.any():
        raise InputError(
            f"{source} holds no control row ({dataset.conditions[dataset.control]!r}), expected "
            "some, since effects are differences from the predicted control: add them, name their "
            "label in --control, or give effects with --scale=effects"
        )
    number = len(dataset.conditions)
    if given:
        means = condition_means(values, condition, number, "given").mean
        return np.nan_to_num(means), None
    bulk = strata.means_within(values, condition, stratum, number, dataset.control, "given")
    return np.nan_to_num(bulk.mean - bulk.mean[dataset.control]), bulk


def _audit_of_cells(
    values: Any, condition: Int[np.ndarray, "n"], dataset: Dataset, total: float | None
) -> list[str]:
    """What values say beside effects: the predicted control, and rows that are real cells."""
    real = dataset.counts
    if dataset.scale == "counts":
        real = scales.to_log2(real, "counts", total or LIBRARY)
    control = dataset.control
    # Cells that fail quality are measured nowhere.
    passed = pseudobulk.passed_rows(dataset)
    ours = real[passed[dataset.condition[passed] == control]]
    theirs = values[condition == control]
    mean, error = _mean_and_error(ours)
    predicted, more = _mean_and_error(theirs)
    return [
        leaks.changed_control(predicted, mean, np.hypot(error, more), dataset.genes),
        leaks.copied(values, condition, real, dataset.condition, dataset.conditions, control),
    ]


def _mean_and_error(rows: Any) -> tuple[Float[np.ndarray, "G"], Float[np.ndarray, "G"]]:
    """Gene-wise mean and its standard error; of a single row 0, which is taken for a mean."""
    n = rows.shape[0]
    mean = np.asarray(rows.mean(axis=0)).ravel()
    if n < 2:
        return mean, np.zeros_like(mean)
    square = np.asarray(rows.multiply(rows).mean(axis=0)).ravel()
    return mean, np.sqrt(np.maximum(square - mean**2, 0) / (n - 1))


def _measured(dataset: Dataset, truth: Any) -> Measured:
    """What is measured, with the baselines that can be made."""
    if dataset.split is not None:
        return measure(dataset, truth)
    bulk = pseudobulk.observed_means(dataset, variance=True)
    control = np.arange(len(dataset.conditions)) == dataset.control
    training = baselines.Training(
        means=bulk.mean,
        cells=bulk.cells * control,
        condition_treatments=dataset.condition_treatments,
        control=dataset.control,
        conditions=dataset.conditions,
        treatments=dataset.treatments,
        genes=dataset.genes,
    )
    effects = pseudobulk.effects(bulk, dataset.control)
    perturbed = np.flatnonzero(~control)
    screen = compare.Screen(
        conditions=dataset.conditions,
        control=dataset.control,
        subsets={"all": perturbed},
        control_mean=bulk.mean[dataset.control],
        own_genes=compare.own_genes(
            dataset.condition_treatments, dataset.treatments, dataset.genes
        ),
        noise=noise_of(bulk, dataset.control),
    )
    return Measured(
        dataset=dataset,
        effects=effects,
        held_out=None,
        training=training,
        baselines={KNOWS_NOTHING: np.zeros_like(effects)},
        notes=(_without_training(),),
        screen=screen,
    )


def _without_training() -> str:
    return (
        f"what was trained on is not known, so that all baselines but {KNOWS_NOTHING} and the "
        "Pearson delta with perturbed reference are missing and no perturbation is known to be "
        "new: give --train"
    )


def _whole(screen: compare.Screen) -> str:
    """The subset of which every perturbation is to be predicted."""
    return "test" if "test" in screen.subsets else "all"


def _only_asked(measured: Measured, condition: Int[np.ndarray, "n"]) -> tuple[Measured, str]:
    """The same with the subsets that predictions are scored on: all of test, or of everything where
    nothing is known to be trained on, and of other subsets what is predicted."""
    subsets, count = measured.screen.subsets, len(measured.dataset.conditions)
    there = np.bincount(condition, minlength=count) > 0
    whole = _whole(measured.screen)
    kept = {}
    for name, rows in subsets.items():
        # What was trained on need not be predicted; what is to be tested must.
        inside = rows if name == whole or name in measured.dataset.subgroups else rows[there[rows]]
        if len(inside):
            kept[name] = inside
    wanted = np.zeros(count, bool)
    wanted[subsets[whole]] = True
    gone = leaks.missing(wanted, there, measured.dataset.conditions)
    if gone:
        kept[PREDICTED] = np.flatnonzero(wanted & there)
        kept = {name: rows for name, rows in kept.items() if len(rows)}
    return replace(measured, screen=measured.screen._replace(subsets=kept)), gone


def _metrics(measured: Measured, effects: Float[np.ndarray, "C G"], seed: int) -> dict[str, Any]:
    """The parts of metrics.json."""
    dataset = measured.dataset
    divided = dataset
    if dataset.split is None:
        # Nothing is known to be trained on, so that all cells are cut into halves.
        test = np.full(len(dataset.cells), SPLITS.index("test"), np.int8)
        divided = replace(dataset, split=test)
    result = compare.compare(
        measured.effects,
        {compare.MODEL: effects, **measured.baselines},
        measured.screen,
        held_out=measured.held_out,
        duplicate=duplicates(divided, seed),
        truth=measured.planted,
        seed=seed,
    )
    facts = describe(divided)
    if dataset.split is None:
        del facts["cells per split"]
        result["verdict"] = f"{result['verdict']} {_sentence(_without_training())}"
    return result | {"notes": [*result["notes"], *measured.notes], "data": facts}


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
