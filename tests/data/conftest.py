"""Small screens with known content, as AnnData."""

import pathlib

import numpy as np
import pytest

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def screen():
    """Factory: labels (with repeats) -> AnnData with Poisson counts in X (float32 CSR)."""
    import anndata
    import pandas as pd
    from scipy import sparse

    def make(labels, genes=12, seed=0, **columns):
        rng = np.random.default_rng(seed)
        counts = sparse.csr_matrix(rng.poisson(1.5, (len(labels), genes)).astype(np.float32))
        obs = pd.DataFrame({"condition": labels, **columns}, index=[f"cell{i}" for i in range(len(labels))])
        var = pd.DataFrame(index=[f"G{j}" for j in range(genes)])
        return anndata.AnnData(counts, obs=obs, var=var)

    return make


@pytest.fixture
def labels():
    """40 cells: control, two singles and their pair in both orders."""
    return ["ctrl"] * 12 + ["A+ctrl"] * 10 + ["ctrl+B"] * 8 + ["A+B"] * 7 + ["B+A"] * 3


@pytest.fixture(scope="session")
def real():
    """Name -> path of a real data file, or skip."""

    def find(name):
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"{path} is absent")
        return path

    return find
