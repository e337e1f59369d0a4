"""Metrics of cell-eval on differentially expressed genes: rank-sum tests of real and of predicted
cells, each against the control of its file.

Where a side has no significant gene, overlap, precision and the AUCs have no meaning. cell-eval
gives 0 for the first two, and so does this; the others are NaN.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from jaxtyping import Bool, Int

from jaxpert.evaluation.schools.celleval import SOURCE
from jaxpert.evaluation.schools.evidence import (
    Differential,
    Evidence,
    PerPerturbation,
    SchoolMetric,
)

LEVEL = np.float32(0.05)
"""False discovery rate below which a gene is significant, in the precision of cell-eval."""
SMALLEST = np.float32(1e-10)
"""Rates below this count as this in the AUCs."""
TOPS = (None, 50, 100, 200, 500)


def significant(test: Differential) -> Bool[np.ndarray, "P G"]:
    """Genes with a false discovery rate below 0.05."""
    return test.fdr < LEVEL


def significant_ranks(test: Differential) -> Int[np.ndarray, "P G"]:
    """Rank from 0 of every significant gene by falling |log2 fold change|, ties in the order of
    genes; G for genes that are not significant."""
    chosen = significant(test)
    # Insignificant genes sort last, behind every fold change including 0.
    size = np.where(chosen, np.abs(test.fold_change), -1)
    order = np.argsort(-size, axis=1, kind="stable")
    ranks = np.empty(order.shape, np.int32)
    np.put_along_axis(ranks, order, np.arange(order.shape[1], dtype=np.int32)[None], axis=1)
    return np.where(chosen, ranks, order.shape[1])


def overlap(evidence: Evidence, k: int | None, of: str) -> PerPerturbation:
    """Share of the first k genes of both rankings that they have in common.

    k is cut to the number of significant genes of the real side (`of` "real", cell-eval's
    "overlap") or of the predicted side ("predicted", its "precision"), and is that number where
    None. 0 where the number is 0.
    """
    real, predicted = tests(evidence)
    ranks = significant_ranks(real), significant_ranks(predicted)
    number = significant(real if of == "real" else predicted).sum(1)
    cut = number if k is None else np.minimum(number, k)
    shared = ((ranks[0] < cut[:, None]) & (ranks[1] < cut[:, None])).sum(1)
    # 0 by cell-eval's definition where nothing is significant.
    return shared / np.maximum(cut, 1)


def spearman_counts(evidence: Evidence) -> float:
    """Spearman correlation, over perturbations with a significant real gene, of the numbers of
    significant genes; 1 where no perturbation has any, by cell-eval's definition."""
    real, predicted = (significant(test).sum(1) for test in tests(evidence))
    some = real > 0
    return spearman(real[some], predicted[some]) if some.any() else 1.0


def direction_match(evidence: Evidence) -> PerPerturbation:
    """Share of significant real genes whose fold change has the same sign in the prediction."""
    real, predicted = tests(evidence)
    same = np.sign(real.fold_change) == np.sign(predicted.fold_change)
    return _share(same, significant(real))


def spearman_fold_change(evidence: Evidence) -> PerPerturbation:
    """Spearman correlation of log2 fold changes over the significant real genes."""
    real, predicted = tests(evidence)
    rows = zip(significant(real), real.fold_change, predicted.fold_change, strict=True)
    return np.array([spearman(a[chosen], b[chosen]) for chosen, a, b in rows])


def significant_recall(evidence: Evidence) -> PerPerturbation:
    """Share of the significant real genes that are significant in the prediction."""
    real, predicted = tests(evidence)
    return _share(significant(predicted), significant(real))


def significant_count(evidence: Evidence, of: str) -> PerPerturbation:
    """Number of significant genes of one side."""
    real, predicted = tests(evidence)
    return significant(real if of == "real" else predicted).sum(1).astype(np.float64)


def area(evidence: Evidence, curve: str) -> PerPerturbation:
    """Area under the precision-recall ("pr") or ROC ("roc") curve of -log10 of the predicted false
    discovery rate, real significance being the truth."""
    real, predicted = tests(evidence)
    # In single precision as cell-eval takes it, since rounding makes ties.
    score = -np.log10(np.clip(predicted.fdr, SMALLEST, np.float32(1)))
    of_row = average_precision if curve == "pr" else roc_area
    return np.array([of_row(t, s) for t, s in zip(significant(real), score, strict=True)])


def average_precision(truth: Bool[np.ndarray, "G"], score: np.ndarray) -> float:
    """Sum of precision times the gain of recall over falling distinct scores; NaN where one class
    is empty."""
    positives = int(truth.sum())
    if positives in (0, len(truth)):
        return float("nan")
    order = np.argsort(-score, kind="stable")
    # Tied scores enter together: only the last of each tie is a threshold.
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    true = np.cumsum(truth[order])[last]
    gain = np.diff(true, prepend=0) / positives
    return float((gain * true / (last + 1)).sum())


def roc_area(truth: Bool[np.ndarray, "G"], score: np.ndarray) -> float:
    """Probability that a true gene scores above another one, ties by half; NaN where one class is
    empty."""
    from scipy.stats import rankdata

    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return float("nan")
    u = rankdata(score)[truth].sum() - positives * (positives + 1) / 2
    return float(u / (positives * negatives))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of mid-ranks; NaN for fewer than two values or a constant side."""
    from scipy.stats import rankdata

    if len(a) < 2:
        return float("nan")
    x, y = rankdata(a), rankdata(b)
    x, y = x - x.mean(), y - y.mean()
    size = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / size) if size > 0 else float("nan")


def tests(evidence: Evidence) -> tuple[Differential, Differential]:
    """Both sides, which `needs` promised."""
    assert evidence.real_test is not None and evidence.predicted_test is not None
    return evidence.real_test, evidence.predicted_test


def _share(true: np.ndarray, among: Bool[np.ndarray, "P G"]) -> PerPerturbation:
    """Share of the chosen genes of each row for which something holds; NaN without any."""
    number = among.sum(1)
    return (true & among).sum(1) / np.where(number > 0, number, np.nan)


def _overlap(k: int | None, of: str) -> SchoolMetric:
    name = "Overlap" if of == "real" else "Precision"
    function = partial(overlap, k=k, of=of)
    label = f"{name} of significant genes" if k is None else f"{name} of the top {k} genes"
    return SchoolMetric(function, label, True, ("differential",), SOURCE)


def _of_genes(function, label: str, higher_is_better: bool | None = True) -> SchoolMetric:
    return SchoolMetric(function, label, higher_is_better, ("differential",), SOURCE)


METRICS = {
    **{f"overlap_at_{k or 'N'}.celleval": _overlap(k, "real") for k in TOPS},
    **{f"precision_at_{k or 'N'}.celleval": _overlap(k, "predicted") for k in TOPS},
    "de_spearman_sig.celleval": _of_genes(
        spearman_counts, "Spearman of the numbers of significant genes"
    ),
    "de_direction_match.celleval": _of_genes(direction_match, "Direction of significant genes"),
    "de_spearman_lfc_sig.celleval": _of_genes(
        spearman_fold_change, "Spearman of significant fold changes"
    ),
    "de_sig_genes_recall.celleval": _of_genes(significant_recall, "Recall of significant genes"),
    "de_nsig_counts_real.celleval": _of_genes(
        partial(significant_count, of="real"), "Significant genes, real cells", None
    ),
    "de_nsig_counts_pred.celleval": _of_genes(
        partial(significant_count, of="predicted"), "Significant genes, predicted cells", None
    ),
    "pr_auc.celleval": _of_genes(partial(area, curve="pr"), "PR AUC of significance"),
    "roc_auc.celleval": _of_genes(partial(area, curve="roc"), "ROC AUC of significance"),
}
