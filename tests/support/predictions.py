"""Real cells and predictions of another tool, small."""

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

SINGLES = tuple("ABCDEF")
PAIRS = ("A+B", "C+D", "E+F", "A+C", "B+D", "C+E")
GENES = 40


def rates() -> dict[str, np.ndarray]:
    """Mean counts of each condition: singles multiply some genes, pairs multiply both."""
    rng = np.random.default_rng(5)
    base = np.exp(rng.normal(1.0, 0.6, GENES))
    moved = {s: np.where(rng.random(GENES) < 0.4, np.exp(rng.normal(0, 0.6, GENES)), 1.0)
             for s in SINGLES}  # fmt: skip
    made = {"ctrl": base}
    for name in (*SINGLES, *PAIRS):
        made[name] = base * np.prod([moved[part] for part in name.split("+")], axis=0)
    return made


def cells(seed=0, controls=40, each=15, only=None) -> anndata.AnnData:
    """Poisson counts with the column `condition`; the perturbed genes are not measured."""
    rng = np.random.default_rng(seed)
    labels, rows = [], []
    for name, rate in rates().items():
        if only is None or name in only or name == "ctrl":
            number = controls if name == "ctrl" else each
            labels += [name] * number
            rows.append(rng.poisson(rate, (number, GENES)))
    obs = pd.DataFrame({"condition": labels}, index=[f"c{seed}_{i}" for i in range(len(labels))])
    x = sparse.csr_matrix(np.concatenate(rows).astype(np.float32))
    return anndata.AnnData(x, obs, pd.DataFrame(index=[f"G{g}" for g in range(GENES)]))


def log1p(adata, total=1e4) -> anndata.AnnData:
    """The same cells normalised and on the natural logarithm, in float32 as tools write it."""
    x = adata.X.toarray().astype(np.float64)
    made = adata.copy()
    made.X = sparse.csr_matrix(np.log1p(x / x.sum(1, keepdims=True) * total).astype(np.float32))
    return made


def means(adata) -> anndata.AnnData:
    """One row a condition, the mean of its cells as they are."""
    x, labels = adata.X.toarray().astype(np.float64), adata.obs["condition"].to_numpy().astype(str)
    names = list(dict.fromkeys(labels))
    rows = np.stack([x[labels == name].mean(0) for name in names])
    obs = pd.DataFrame({"condition": names}, index=names)
    return anndata.AnnData(sparse.csr_matrix(rows), obs, adata.var.copy())


def log2_means(adata) -> dict[str, np.ndarray]:
    """By hand: the mean of log2(1 + 1e4 x / sum x) of each condition."""
    x, labels = adata.X.toarray().astype(np.float64), adata.obs["condition"].to_numpy().astype(str)
    y = np.log2(1 + 1e4 * x / x.sum(1, keepdims=True))
    return {name: y[labels == name].mean(0) for name in dict.fromkeys(labels)}
