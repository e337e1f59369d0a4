"""The scores of the GEARS paper and its code, condition by condition, under the names that the code
gives them.

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
        each = self.predicted - self.control, self.observed - self.control
        least = metrics.CONSTANT * np.abs(self.control)
        predicted, observed = (np.where(np.abs(change) <= least, 0.0, change) for change in each)
        return predicted, observed


def gene_sets(ranking: Ranking, row: int, variable: Genes) -> GeneSets:
    """The genes by which condition `row` is scored."""
    order = ranking.order[row] if ranking.ranked[row] else ranking.order[row][:0]
    return GeneSets(order, ranking.nonzero[row], ranking.non_dropout[row], variable)


def variable_genes(means: Float[np.ndarray, "C G"], k: int = VARIABLE) -> Genes:
    """The k genes with the largest standard deviation over the means of conditions, control among
    them."""
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
    mean = np.asarray(predicted, np.float64).reshape(-1, predicted.shape[-1]).mean(axis=0)
    observed = np.asarray(cells.mean(axis=0, dtype=np.float64)).ravel()
    case = Case(mean, observed, np.asarray(control, np.float64), cells, compat)
    return (
        basic(case, genes) | deeper(case, genes) | non_dropout(case, genes) | non_zero(case, genes)
    )


def control_scores(
    predicted: Float[np.ndarray, "*n G"], cells: Any, compat: Compat = None
) -> dict[str, float]:
    """`mse` and `pearson` of the control condition, the only scores that it has."""
    mean = np.asarray(predicted, np.float64).reshape(-1, predicted.shape[-1]).mean(axis=0)
    case = Case(mean, np.asarray(cells.mean(axis=0, dtype=np.float64)).ravel(), mean, cells, compat)
    return {"mse": _mse(case, slice(None)), "pearson": _pearson_or_zero(case, slice(None))}


def basic(case: Case, genes: GeneSets) -> dict[str, float]:
    """Error and correlation over all genes and over the 20 that differ most from control."""
    de = genes.order[:TOP]
    found = {"mse": _mse(case, slice(None)), "pearson": _pearson_or_zero(case, slice(None))}
    return found | {"mse_de": _mse(case, de), "pearson_de": _pearson_or_zero(case, de)}


def deeper(case: Case, genes: GeneSets) -> dict[str, float]:
    """Directions, changes, ranges and fold changes, over all genes and the first 20 to 200 of the
    ranking."""
    right = _directions(case) == 0
    de = genes.order[:TOP]
    expressed = de[_columns(case.cells, de).any(axis=0)]
    found = {"frac_correct_direction_all": float(right.mean())}
    found |= {
        f"frac_correct_direction_{n}": _share_of_top(right, genes.order, n, case.compat)
        for n in TOPS
    }
    found["frac_correct_direction_20_nonzero"] = _nonzero_direction(case, de, expressed)
    found |= _ranges(case, expressed, "") | _sigmas(case, expressed, "")
    found |= {
        "pearson_delta": _pearson_delta(case, slice(None)),
        "pearson_delta_de": _pearson_delta(case, de),
    }
    found |= fold_change_gaps(case) | _on_genes(case, genes.variable, f"top{VARIABLE}_hvg")
    for n in TOPS:
        enough = n <= len(genes.order) or case.compat == "reference"
        found |= _on_genes(case, genes.order[:n] if enough else genes.order[:0], f"top{n}_de")
    return found


def non_dropout(case: Case, genes: GeneSets) -> dict[str, float]:
    """Scores over the first 20 genes that are expressed here or silent in control too, and over
    both whole sets."""
    found = _top_set(case, genes.order[genes.non_dropout[genes.order]][:TOP], "non_dropout")
    for name, mask in (("non_zero", genes.nonzero), ("non_dropout", genes.non_dropout)):
        found |= _direction_shares(_directions(case)[mask], name)
    return found


def non_zero(case: Case, genes: GeneSets) -> dict[str, float]:
    """Scores over the first 20 genes that are expressed in the condition."""
    return _top_set(case, genes.order[genes.nonzero[genes.order]][:TOP], "non_zero")


def fold_change_gaps(case: Case) -> dict[str, float]:
    """Mean absolute error of the fold change over control, for genes by their measured fold
    change."""
    with np.errstate(divide="ignore", invalid="ignore"):
        fold, predicted = case.observed / case.control, case.predicted / case.control
    fold = np.where(np.isfinite(fold) & (case.observed >= EXPRESSED), fold, 0.0)
    sets = {name: (fold > low) & (fold < high) for name, (low, high) in FOLDS.items()}
    return {
        f"fold_change_gap{name}": _mean(np.abs(predicted - fold)[s])
        for name, s in sets.items()
        if s.any()
    }


def mean_scores(
    scores: Mapping[str, Mapping[str, float]], conditions: Iterable[str] | None = None
) -> dict[str, float]:
    """Mean of every score over conditions (all of them where not named), each counting once."""
    rows = (
        list(scores.values())
        if conditions is None
        else [scores[name] for name in conditions if name in scores]
    )
    names = dict.fromkeys(name for row in rows for name in row)
    return {
        name: _mean_of_defined(np.array([row[name] for row in rows if name in row]))
        for name in names
    }


def normalised(scores: Mapping[str, float], no_change: Mapping[str, float]) -> dict[str, float]:
    """Every mean squared error divided by that of predicting control, over the same conditions, as
    in the figures."""
    errors = [name for name in scores if name.startswith("mse")]
    return {
        name: scores[name] / no_change[name] if no_change[name] else float("nan") for name in errors
    }


def _top_set(case: Case, top: Genes, name: str) -> dict[str, float]:
    found = _direction_shares(_directions(case)[top], f"top20_{name}")
    found |= _ranges(case, top, f"_{name}") | _sigmas(case, top, f"_{name}")
    return found | _on_genes(case, top, f"top20_de_{name}")


def _directions(case: Case) -> np.ndarray:
    """0 where both change in the same direction (or neither does), 2 where in opposite ones, else
    1."""
    predicted, observed = case.changes
    return np.abs(np.sign(predicted) - np.sign(observed))


def _direction_shares(directions: np.ndarray, name: str) -> dict[str, float]:
    kinds = {"correct": 0, "opposite": 2, "0/1": 1}
    return {
        f"frac_{kind}_direction_{name}": _mean(directions == value) for kind, value in kinds.items()
    }


def _share_of_top(right: np.ndarray, order: Genes, n: int, compat: Compat) -> float:
    if compat == "reference":
        return float(right[order[:n]].sum() / n)
    return _mean(right[order[:n]]) if n <= len(order) else float("nan")


def _nonzero_direction(case: Case, de: Genes, expressed: Genes) -> float:
    if case.compat != "reference":
        return _mean(_directions(case)[expressed] == 0)
    columns, kept = np.sort(de), np.isin(np.sort(de), expressed)
    control = case.control[de][kept]
    predicted, observed = case.predicted[columns[kept]], case.observed[columns[kept]]
    return _mean(np.sign(predicted - control) == np.sign(observed - control))


def _ranges(case: Case, genes: Genes, name: str) -> dict[str, float]:
    """Share of genes whose predicted mean lies between quantiles of the measured cells."""
    cells, predicted = _columns(case.cells, genes), case.predicted[genes]
    found = {}
    for label, bounds in QUANTILES.items():
        low, high = np.quantile(cells, bounds, axis=0) if len(genes) else (predicted, predicted)
        found[f"frac_in_range{label}{name}"] = _mean((predicted >= low) & (predicted <= high))
    return found


def _sigmas(case: Case, genes: Genes, name: str) -> dict[str, float]:
    """Distance of the predicted from the measured mean in standard deviations of the measured
    cells."""
    spread = _columns(case.cells, genes).std(axis=0)
    varies = spread**2 > metrics.CONSTANT * case.observed[genes] ** 2
    spread, genes = spread[varies], genes[varies]
    z = np.abs(case.predicted - case.observed)[genes] / spread
    below = {f"frac_sigma_below_{k}{name}": _mean(z <= k) for k in (1, 2)}
    return {
        f"mean_sigma{name}": _mean(z),
        f"std_sigma{name}": float(z.std()) if len(z) else float("nan"),
    } | below


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
    return 0.0 if case.compat == "reference" and not np.isfinite(value) else value


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    return float(metrics.pearson_delta(a[None], b[None])[0]) if len(a) > 1 else float("nan")


def _columns(cells: Any, genes: Genes) -> np.ndarray:
    chosen = cells[:, genes]
    return np.asarray(chosen if isinstance(chosen, np.ndarray) else chosen.toarray(), np.float64)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _mean_of_defined(values: np.ndarray) -> float:
    defined = values[np.isfinite(values)]
    return (
        float(defined.mean()) if len(defined) and 2 * len(defined) >= len(values) else float("nan")
    )
