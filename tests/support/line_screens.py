"""Small screens of several cell lines with known cells."""

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

LINES = {
    "K562": {"ctrl": 60, "A+ctrl": 55, "B+ctrl": 20, "A+B": 12},
    "RPE1": {"ctrl": 30, "A+ctrl": 52, "C+ctrl": 9},
    "T98G": {"ctrl": 25, "B+ctrl": 51, "C+ctrl": 30},
}
GENES = ("A", "B", "G2", "G10", "G7", "zz")


def screen(lines=LINES, genes=GENES, seed=0, depth=4.0, **columns):
    """AnnData of the lines; every line has a profile of its own and every target halves its
    gene."""
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame(
        [
            (line, label)
            for line, cells in lines.items()
            for label, n in cells.items()
            for _ in range(n)
        ],
        columns=["cell_type", "condition"],
    )
    obs.index = [f"cell{seed}_{i}" for i in range(len(obs))]
    profile = {line: rng.gamma(2.0, 1.0, len(genes)) for line in lines}
    rate = (
        np.stack([profile[line] for line in obs["cell_type"]])
        * depth
        * rng.lognormal(0, 0.3, (len(obs), 1))
    )
    for j, gene in enumerate(genes):
        rate[[gene in label.split("+") for label in obs["condition"]], j] *= 0.5
    counts = sparse.csr_matrix(rng.poisson(rate).astype(np.float32))
    return anndata.AnnData(counts, obs=obs.assign(**columns), var=pd.DataFrame(index=list(genes)))
