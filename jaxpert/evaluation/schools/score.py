"""Score predicted cells or effects by the metrics of the other schools, in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxpert.core.errors import InputError
from jaxpert.data.moments import Pseudobulk
from jaxpert.evaluation import differential as welch
from jaxpert.evaluation.schools import calibrated, kernels, rank_sum
from jaxpert.evaluation.schools.cells import Cells, moments, open_cells
from jaxpert.evaluation.schools.evidence import PARTS, Evidence
from jaxpert.evaluation.schools.table import METRICS, chosen

if TYPE_CHECKING:
    import pandas as pd

NAMED = 10
"""Names that a note lists at most."""


class SchoolScores(NamedTuple):
    """What `score_cells` and `score_effects` give."""

    per_perturbation: pd.DataFrame
    """A row for each scored perturbation, a column for each metric that has a value for each; NaN
    where undefined."""
    aggregate: dict[str, float]
    """Every metric: its mean over the perturbations where it is defined (NaN where those are fewer
    than half), or its one value."""
    notes: tuple[str, ...]
    """Sentences on what was not scored and why."""


def score_cells(
    real: Any,
    predicted: Any,
    *,
    control: str,
    condition_key: str,
    scale: str | tuple[str, str],
    metrics: Iterable[str] | None = None,
    training: Sequence[str] | None = None,
    embedding: str | None = None,
) -> SchoolScores:
    """Score predicted cells against real ones, perturbation by perturbation.

    Args:
        real: AnnData `[N, G]`, in memory or backed, CSR or dense.
        predicted: the same for predicted cells, its genes in the same order. Its perturbations are
            scored; those that only `real` has serve as candidates of centroid accuracy and in the
            weights of genes, and are named in a note. Both must hold control cells.
        control: label of control cells.
        condition_key: column of `obs` with the label of each cell, in both.
        scale: "log1p" (ln(1 + normalised counts), from 0 to below 15) or "counts" (whole numbers,
            which are brought to ln(1 + 1e4 x / sum x)), of both or of each. It is checked.
        metrics: names of `schools.table.METRICS`; all that apply where None.
        training: labels of the perturbations whose unweighted mean is Systema's reference.
        embedding: key of `obsm`, in both, to take distances between cells in, as their owners do;
            the space of genes where None.

    Raises:
        InputError: where genes, labels or values are not as said above.

    Memory is that of a block of cells or genes beside matrices [perturbations, genes]
    (docs/evaluation.md, "Metrics of other schools").
    """
    scales = (scale, scale) if isinstance(scale, str) else scale
    sides = (
        open_cells(real, condition_key, control, scales[0], embedding, "real"),
        open_cells(predicted, condition_key, control, scales[1], embedding, "predicted"),
    )
    perturbations = _scored(sides, control)
    available = set(PARTS) - (set() if training else {"reference"})
    names, left_out = chosen(metrics, available)
    needs = {part for name in names for part in METRICS[name].needs}
    evidence = _evidence(sides, control, perturbations, needs, training)
    unscored = [name for name in sides[0].names if name not in (*perturbations, control)]
    return _scores(evidence, names, _notes(left_out, unscored))


def score_effects(
    real: pd.DataFrame,
    predicted: pd.DataFrame,
    *,
    metrics: Iterable[str] | None = None,
    control: pd.Series | None = None,
    training: Sequence[str] | None = None,
) -> SchoolScores:
    """Score predicted effects by the metrics that need means alone.

    Args:
        real: effects, a row for each perturbation and a column for each gene: the mean of
            ln(1 + x) minus that of control. Finite.
        predicted: the same; its rows are scored, and all must be rows of `real`.
        metrics: names of `schools.table.METRICS`; all that apply where None.
        control: mean of control for each gene, for metrics that choose genes by it or take
            logarithms of means. Both sides are taken to share it.
        training: rows of `real` whose unweighted mean is Systema's reference.

    Raises:
        InputError: where rows or columns do not match, or a value is not finite.
    """
    _match_effects(real, predicted, control)
    place = {str(name): row for row, name in enumerate(real.index)}
    base = np.zeros(real.shape[1]) if control is None else control.to_numpy(np.float64)
    means = real.to_numpy(np.float64) + base
    places = np.array([place[str(name)] for name in predicted.index], int)
    evidence = Evidence(
        perturbations=tuple(map(str, predicted.index)),
        genes=tuple(map(str, real.columns)),
        real=means[places],
        predicted=predicted.to_numpy(np.float64) + base,
        control=base,
        predicted_control=base,
        candidates=means,
        places=places,
        reference=_reference(means, place, training),
    )
    evidence = evidence._replace(gap=((evidence.real - evidence.predicted) ** 2).sum(1))
    available = {"means", "gap"} | ({"reference"} if training else set())
    names, left_out = chosen(metrics, available | ({"control"} if control is not None else set()))
    unscored = [name for name in place if name not in evidence.perturbations]
    return _scores(evidence, names, _notes(left_out, unscored))


def _scored(sides: tuple[Cells, Cells], control: str) -> tuple[str, ...]:
    """The perturbations of the prediction, once both files are known to match."""
    real, predicted = sides
    if real.genes != predicted.genes:
        same = sorted(real.genes) == sorted(predicted.genes)
        raise InputError(
            f"genes of the prediction ({len(predicted.genes)}) differ from the real ones "
            f"({len(real.genes)}){' in their order alone' if same else ''}, expected the same in "
            "the same order: choose them with predicted[:, real.var_names]"
        )
    unknown = [name for name in predicted.names if name not in real.names]
    if unknown:
        raise InputError(
            f"the prediction holds {', '.join(unknown[:NAMED])} ({len(unknown)} in all), expected "
            "only labels that the real cells have: leave those cells out, or correct their labels"
        )
    perturbations = tuple(name for name in predicted.names if name != control)
    if not perturbations:
        raise InputError(
            "the prediction holds control cells alone, expected perturbed ones to score: add them"
        )
    return perturbations


def _evidence(
    sides: tuple[Cells, Cells],
    control: str,
    perturbations: tuple[str, ...],
    needs: set[str],
    training: Sequence[str] | None,
) -> Evidence:
    """One pass over each file for its moments, and what else the metrics need."""
    real, predicted = sides
    both = moments(real, "variance" in needs), moments(predicted, "variance" in needs)
    codes = [{name: code for code, name in enumerate(side.names)} for side in sides]
    rows = [np.array([code[name] for name in perturbations]) for code in codes]
    others = np.array([code for name, code in codes[0].items() if name != control])
    known = {real.names[code]: row for row, code in enumerate(others)}
    means = both[0].mean[others]
    evidence = Evidence(
        perturbations=perturbations,
        genes=real.genes,
        real=both[0].mean[rows[0]],
        predicted=both[1].mean[rows[1]],
        control=both[0].mean[codes[0][control]],
        predicted_control=both[1].mean[codes[1][control]],
        candidates=means,
        places=np.searchsorted(others, rows[0]),
        reference=_reference(means, known, training),
    )
    if "variance" in needs:
        evidence = evidence._replace(
            top20=_top20(both[0], rows[0], codes[0][control]),
            weights=calibrated.gene_weights(both[0], rows[0], others),
        )
    if "gap" in needs:
        gap, spread = kernels.gap(sides, both, perturbations)
        evidence = evidence._replace(gap=gap, spread=spread)
    if "differential" in needs:
        evidence = evidence._replace(
            real_test=rank_sum.differential(real, codes[0][control], rows[0], both[0]),
            predicted_test=rank_sum.differential(predicted, codes[1][control], rows[1], both[1]),
        )
    if needs & {*kernels.KERNELS, "to_control"}:
        found = kernels.kernels(real, predicted, perturbations, needs, control)
        evidence = evidence._replace(kernels=found)
    return evidence


def _top20(moments: Pseudobulk, rows: np.ndarray, control: int) -> np.ndarray:
    """Mask of the 20 genes of largest Welch statistic; none where nothing can be ranked."""
    ranking = welch.rank(moments, control)
    first = welch.top(ranking.order)[rows]
    mask = np.zeros((len(rows), moments.mean.shape[1] + 1), bool)
    # Places that a short row leaves empty are -1: the column that is cut off.
    np.put_along_axis(mask, first, True, axis=1)
    return mask[:, :-1] & ranking.ranked[rows][:, None]


def _reference(
    means: Float[np.ndarray, "Q G"], place: dict[str, int], training: Sequence[str] | None
) -> Float[np.ndarray, "G"] | None:
    """Unweighted mean over the training perturbations."""
    if not training:
        return None
    unknown = [name for name in training if name not in place]
    if unknown:
        raise InputError(
            f"the training perturbations {', '.join(unknown[:NAMED])} ({len(unknown)} in all) are "
            "not among the real ones, expected all of them there: add their cells, or leave them "
            "out of training"
        )
    return means[[place[name] for name in training]].mean(0)


def _match_effects(real: pd.DataFrame, predicted: pd.DataFrame, control: pd.Series | None) -> None:
    """Refuse effects whose genes, perturbations or values cannot be compared."""
    if list(real.columns) != list(predicted.columns):
        raise InputError(
            "the columns of the predicted effects differ from those of the real ones, expected "
            "the same genes in the same order: choose them with predicted[real.columns]"
        )
    if control is not None and list(control.index) != list(real.columns):
        raise InputError(
            "the index of the control means differs from the columns of the effects, expected the "
            "same genes in the same order: choose them with control[real.columns]"
        )
    unknown = [str(name) for name in predicted.index if name not in real.index]
    if unknown or not real.index.is_unique or not predicted.index.is_unique:
        raise InputError(
            f"the predicted effects hold {', '.join(unknown[:NAMED]) or 'a row twice'}, expected "
            "each row once and all of them among the real ones: leave the others out"
        )
    parts = [real.to_numpy(), predicted.to_numpy(), np.zeros(0) if control is None else control]
    if not all(np.isfinite(np.asarray(part, np.float64)).all() for part in parts):
        raise InputError(
            "an effect or control mean is not finite, expected numbers everywhere: leave that row "
            "out"
        )


def _notes(left_out: list[str], unscored: list[str]) -> tuple[str, ...]:
    notes = []
    if unscored:
        listed = ", ".join(unscored[:NAMED]) + (", ..." if len(unscored) > NAMED else "")
        notes.append(f"{len(unscored)} real perturbations have no prediction: {listed}")
    if left_out:
        notes.append(f"Metrics that this input does not allow: {', '.join(left_out)}")
    return tuple(notes)


def _scores(evidence: Evidence, names: list[str], notes: tuple[str, ...]) -> SchoolScores:
    """Evaluate the metrics."""
    import pandas as pd

    columns, aggregate = {}, {}
    for name in names:
        value = np.asarray(METRICS[name].function(evidence), np.float64)
        if value.ndim:
            columns[name] = value
        aggregate[name] = float(value) if not value.ndim else _mean(value)
    index = pd.Index(evidence.perturbations, name="perturbation")
    return SchoolScores(pd.DataFrame(columns, index=index), aggregate, notes)


def _mean(values: np.ndarray) -> float:
    """Mean where defined; NaN where fewer than half are (docs/evaluation.md, "Undefined
    values")."""
    defined = np.isfinite(values)
    if not defined.any() or 2 * defined.sum() < len(values):
        return float("nan")
    return float(values[defined].mean())
