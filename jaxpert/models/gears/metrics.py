"""The scores of the GEARS paper and its code, condition by condition, under the names that the code
gives them (docs/models/gears.md, Scores).

All are of means and cells on one scale (log-normalised expression). Scores that the input leaves
undefined are NaN, and means over conditions are of the defined ones, NaN where those are fewer than
half. With compat="reference" the shipped behaviour comes back: an undefined correlation of
`pearson` and `pearson_de` is 0; shares among the top n genes are divided by n even where fewer
genes exist, in place of being NaN; and `frac_correct_direction_20_nonzero` sets predictions in the
order of columns beside control means in the order of ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.evaluation import metrics
from jaxpert.evaluation.differential import TOP, Ranking

TOPS = (20, 50, 100, 200)
VARIABLE = 200
QUANTILES = {"": (0.0, 1.0), "_45_55": (0.45, 0.55), "_40_60": (0.4, 0.6), "_25_75": (0.25, 0.75)}
EXPRESSED = 0.5
"""Fold changes count only for genes with at least this mean in the condition."""
FOLDS = {
    "_all": (0.0, np.inf),
    "_downreg_0.333": (0.0, 0.333),
    "_downreg_0.1": (0.0, 0.1),
    "_upreg_3": (3.0, np.inf),
}
FOLDS |= {"_upreg_10": (10.0, np.inf)}
"""Open intervals of the measured fold change over which its error is averaged."""

Compat = Literal["reference"] | None
Genes = Int[np.ndarray, "_"]


class GeneSets(NamedTuple):
    """Genes by which one condition is scored."""

    order: Genes
    """All by descending difference from control; none where they cannot be ranked (a condition of
    one cell)."""
    nonzero: Bool[np.ndarray, "G"]
    non_dropout: Bool[np.ndarray, "G"]
    variable: Genes
    """The genes that vary most between conditions."""


class Case(NamedTuple):
    """What is compared for one condition: means over cells, and the measured cells themselves."""

    predicted: Float[np.ndarray, "G"]
    observed: Float[np.ndarray, "G"]
    control: Float[np.ndarray, "G"]
    cells: Any
    """[n, G], dense or CSR."""
    compat: Compat = None

    @property
    def changes(self) -> tuple[Float[np.ndarray, "G"], Float[np.ndarray, "G"]]:
        """Predicted and measured change from control; what is left of equal values by rounding is
        no change."""
        # Rounding of equal means would otherwise have a random direction.
        least = metrics.CONSTANT * np.abs(self.control)

        def change(mean: np.ndarray) -> np.ndarray:
            difference = mean - self.control
            return np.where(np.abs(difference) <= least, 0.0, difference)

        return change(self.predicted), change(self.observed)


def gene_sets(ranking: Ranking, row: int, variable: Genes) -> GeneSets:
    """The genes by which condition `row` is scored."""
    # A condition without ranking is scored over no ranked gene, which gives NaN.
    order = ranking.order[row]
    if not ranking.ranked[row]:
        order = order[:0]
    return GeneSets(order, ranking.nonzero[row], ranking.non_dropout[row], variable)


def variable_genes(means: Float[np.ndarray, "C G"], k: int = VARIABLE) -> Genes:
    """The k genes with the largest standard deviation over the means of conditions, control among
    them."""
    # Stable, so that genes of equal spread keep their order.
    return np.argsort(-np.nanstd(means, axis=0), kind="stable")[:k]


def condition_scores(
    predicted: Float[np.ndarray, "*n G"],
    cells: Any,
    control: Float[np.ndarray, "G"],
    genes: GeneSets,
    compat: Compat = None,
) -> dict[str, float]:
    """Every score of one condition.

    Args:
        predicted: the predicted mean `[G]`, or predicted cells `[n, G]`.
        cells: measured cells of the condition `[n, G]`, dense or CSR, on the scale of `predicted`.
        control: mean of the control cells.
        genes: which genes to look at; `gene_sets` takes them from a ranking.
        compat: "reference" for the shipped behaviour (see this module).

    Fold-change gaps whose set of genes is empty are left out. For the control condition see
    `control_scores`.
    """
    # float64, since scores compare means that nearly agree.
    control = np.asarray(control, np.float64)
    case = Case(_mean_of(predicted), _mean_of(cells), control, cells, compat)
    scores = basic(case, genes) | deeper(case, genes)
    return scores | non_dropout(case, genes) | non_zero(case, genes)


def control_scores(
    predicted: Float[np.ndarray, "*n G"], cells: Any, compat: Compat = None
) -> dict[str, float]:
    """`mse` and `pearson` of the control condition, the only scores that it has."""
    mean = _mean_of(predicted)
    # Control is its own reference, so changes are 0 and only these two have a meaning.
    case = Case(mean, _mean_of(cells), mean, cells, compat)
    return {"mse": _mse(case, slice(None)), "pearson": _pearson_or_zero(case, slice(None))}


def basic(case: Case, genes: GeneSets) -> dict[str, float]:
    """Error and correlation over all genes and over the 20 that differ most from control."""
    every, de = slice(None), genes.order[:TOP]
    return {
        "mse": _mse(case, every),
        "pearson": _pearson_or_zero(case, every),
        "mse_de": _mse(case, de),
        "pearson_de": _pearson_or_zero(case, de),
    }


def deeper(case: Case, genes: GeneSets) -> dict[str, float]:
    """Directions, changes, ranges and fold changes, over all genes and the first 20 to 200 of the
    ranking."""
    right = _directions(case) == 0
    de = genes.order[:TOP]
    # Published ranges leave out genes that no cell of the condition expresses.
    expressed = de[_columns(case.cells, de).any(axis=0)]
    scores = {"frac_correct_direction_all": float(right.mean())}
    for n in TOPS:
        share = _share_of_top(right, genes.order, n, case.compat)
        scores[f"frac_correct_direction_{n}"] = share
    scores["frac_correct_direction_20_nonzero"] = _nonzero_direction(case, de, expressed)
    scores |= _ranges(case, expressed, "") | _sigmas(case, expressed, "")
    scores["pearson_delta"] = _pearson_delta(case, slice(None))
    scores["pearson_delta_de"] = _pearson_delta(case, de)
    scores |= fold_change_gaps(case) | _on_genes(case, genes.variable, f"top{VARIABLE}_hvg")
    for n in TOPS:
        # Published scores take what genes there are; ours are undefined with too few.
        top = genes.order[:n]
        if n > len(genes.order) and case.compat != "reference":
            top = top[:0]
        scores |= _on_genes(case, top, f"top{n}_de")
    return scores


def non_dropout(case: Case, genes: GeneSets) -> dict[str, float]:
    """Scores over the first 20 genes that are expressed here or silent in control too, and over
    both whole sets."""
    scores = _top_set(case, genes.order[genes.non_dropout[genes.order]][:TOP], "non_dropout")
    for name, mask in (("non_zero", genes.nonzero), ("non_dropout", genes.non_dropout)):
        scores |= _direction_shares(_directions(case)[mask], name)
    return scores


def non_zero(case: Case, genes: GeneSets) -> dict[str, float]:
    """Scores over the first 20 genes that are expressed in the condition."""
    return _top_set(case, genes.order[genes.nonzero[genes.order]][:TOP], "non_zero")


def fold_change_gaps(case: Case) -> dict[str, float]:
    """Mean absolute error of the fold change over control, for genes by their measured fold
    change."""
    # Silent genes divide by 0, and are set aside below.
    with np.errstate(divide="ignore", invalid="ignore"):
        fold, predicted = case.observed / case.control, case.predicted / case.control
    # A fold of 0 lies in no interval, so these genes count nowhere.
    fold = np.where(np.isfinite(fold) & (case.observed >= EXPRESSED), fold, 0.0)
    gaps = {}
    for name, (low, high) in FOLDS.items():
        within = (fold > low) & (fold < high)
        if within.any():
            gaps[f"fold_change_gap{name}"] = _mean(np.abs(predicted - fold)[within])
    return gaps


def mean_scores(
    scores: Mapping[str, Mapping[str, float]], conditions: Iterable[str] | None = None
) -> dict[str, float]:
    """Mean of every score over conditions (all of them where not named), each counting once."""
    wanted = scores if conditions is None else conditions
    values: dict[str, list[float]] = {}
    for condition in wanted:
        for name, value in scores.get(condition, {}).items():
            values.setdefault(name, []).append(value)
    # Fewer than half defined would make the mean one of a few lucky conditions.
    return {name: _mean_of_defined(np.array(of)) for name, of in values.items()}


def normalised(scores: Mapping[str, float], no_change: Mapping[str, float]) -> dict[str, float]:
    """Every mean squared error divided by that of predicting control, over the same conditions, as
    in the figures."""
    ratios = {}
    for name, error in scores.items():
        if not name.startswith("mse"):
            continue
        ratios[name] = float("nan")
        # Without an error of no change there is nothing to divide by.
        if no_change[name]:
            ratios[name] = error / no_change[name]
    return ratios


def _top_set(case: Case, top: Genes, name: str) -> dict[str, float]:
    scores = _direction_shares(_directions(case)[top], f"top20_{name}")
    scores |= _ranges(case, top, f"_{name}") | _sigmas(case, top, f"_{name}")
    return scores | _on_genes(case, top, f"top20_de_{name}")


def _directions(case: Case) -> np.ndarray:
    """0 where both change in the same direction (or neither does), 2 where in opposite ones, else
    1."""
    predicted, observed = case.changes
    return np.abs(np.sign(predicted) - np.sign(observed))


def _direction_shares(directions: np.ndarray, name: str) -> dict[str, float]:
    return {
        f"frac_correct_direction_{name}": _mean(directions == 0),
        f"frac_opposite_direction_{name}": _mean(directions == 2),
        f"frac_0/1_direction_{name}": _mean(directions == 1),
    }


def _share_of_top(right: np.ndarray, order: Genes, n: int, compat: Compat) -> float:
    if compat == "reference":
        # Divided by n even where fewer genes exist, as published.
        return float(right[order[:n]].sum() / n)
    if n > len(order):
        return float("nan")
    return _mean(right[order[:n]])


def _nonzero_direction(case: Case, de: Genes, expressed: Genes) -> float:
    if case.compat != "reference":
        return _mean(_directions(case)[expressed] == 0)
    # Published: predictions in the order of columns beside control means in that of ranks.
    columns, kept = np.sort(de), np.isin(np.sort(de), expressed)
    control = case.control[de][kept]
    predicted, observed = case.predicted[columns[kept]], case.observed[columns[kept]]
    return _mean(np.sign(predicted - control) == np.sign(observed - control))


def _ranges(case: Case, genes: Genes, name: str) -> dict[str, float]:
    """Share of genes whose predicted mean lies between quantiles of the measured cells."""
    cells, predicted = _columns(case.cells, genes), case.predicted[genes]
    shares = {}
    for label, bounds in QUANTILES.items():
        low = high = predicted
        # Without genes there are no quantiles to take, and the mean below is NaN.
        if len(genes):
            low, high = np.quantile(cells, bounds, axis=0)
        shares[f"frac_in_range{label}{name}"] = _mean((predicted >= low) & (predicted <= high))
    return shares


def _sigmas(case: Case, genes: Genes, name: str) -> dict[str, float]:
    """Distance of the predicted from the measured mean in standard deviations of the measured
    cells."""
    spread = _columns(case.cells, genes).std(axis=0)
    # A gene that does not vary has no standard deviation to measure by.
    varies = spread**2 > metrics.CONSTANT * case.observed[genes] ** 2
    spread, genes = spread[varies], genes[varies]
    z = np.abs(case.predicted - case.observed)[genes] / spread
    # The standard deviation of nothing would warn, where the mean is NaN in silence.
    z_spread = float(z.std()) if len(z) else float("nan")
    return {
        f"mean_sigma{name}": _mean(z),
        f"std_sigma{name}": z_spread,
        f"frac_sigma_below_1{name}": _mean(z <= 1),
        f"frac_sigma_below_2{name}": _mean(z <= 2),
    }


def _on_genes(case: Case, genes: Genes, name: str) -> dict[str, float]:
    return {
        f"pearson_delta_{name}": _pearson_delta(case, genes),
        f"pearson_{name}": _pearson(case.predicted[genes], case.observed[genes]),
        f"mse_{name}": _mse(case, genes),
    }


def _mse(case: Case, genes: Genes | slice) -> float:
    return _mean((case.predicted[genes] - case.observed[genes]) ** 2)


def _pearson_delta(case: Case, genes: Genes | slice) -> float:
    predicted, observed = case.changes
    return _pearson(predicted[genes], observed[genes])


def _pearson_or_zero(case: Case, genes: Genes | slice) -> float:
    value = _pearson(case.predicted[genes], case.observed[genes])
    # The published scores call an undefined correlation 0.
    if case.compat == "reference" and not np.isfinite(value):
        return 0.0
    return value


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    # A correlation needs two genes.
    if len(a) < 2:
        return float("nan")
    return float(metrics.pearson_delta(a[None], b[None])[0])


def _columns(cells: Any, genes: Genes) -> np.ndarray:
    chosen = cells[:, genes]
    # Only the chosen genes are made dense.
    if not isinstance(chosen, np.ndarray):
        chosen = chosen.toarray()
    return np.asarray(chosen, np.float64)


def _mean_of(cells: Any) -> Float[np.ndarray, "G"]:
    """Mean over cells, dense or CSR; a mean is its own."""
    if cells.ndim == 1:
        return np.asarray(cells, np.float64)
    return np.asarray(cells.mean(axis=0, dtype=np.float64)).ravel()


def _mean(values: np.ndarray) -> float:
    # A mean of nothing is undefined, without NumPy's warning.
    if not len(values):
        return float("nan")
    return float(np.mean(values))


def _mean_of_defined(values: np.ndarray) -> float:
    defined = values[np.isfinite(values)]
    if not len(defined) or 2 * len(defined) < len(values):
        return float("nan")
    return float(defined.mean())
