"""The most variable genes are those of scanpy, without a normalised copy; perturbed genes stay."""

import numpy as np
import pytest

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.data.variable_genes import keep_variable


@pytest.fixture(scope="module")
def dataset():
    cells, _ = data.simulate("tiny", cells=300, genes=250)
    return data.read(cells, perturbation="perturbation", control="ctrl")


def test_they_are_those_of_scanpy(dataset):
    import anndata
    import scanpy

    table = anndata.AnnData(dataset.counts.astype(np.float64))
    scanpy.pp.normalize_total(table, target_sum=1e4)
    scanpy.pp.log1p(table)
    scanpy.pp.highly_variable_genes(table, n_top_genes=60)
    theirs = set(np.asarray(dataset.genes)[table.var["highly_variable"].to_numpy()])
    ours = keep_variable(dataset, 60)
    assert set(ours.genes) == theirs | (set(dataset.treatments) & set(dataset.genes))
    assert "60 most variable of 250 genes" in ours.notes[-1] and "unfiltered_umi_count" in ours.obs
    order = [dataset.genes.index(name) for name in ours.genes]
    assert order == sorted(order)
    np.testing.assert_array_equal(ours.counts.toarray(), dataset.counts[:, order].toarray())


def test_all_genes_or_a_wrong_number(dataset):
    assert keep_variable(dataset, 250) is dataset
    with pytest.raises(InputError, match="data.variable_genes is -3"):
        keep_variable(dataset, -3)
