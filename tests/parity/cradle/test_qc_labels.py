"""The six quality criteria, their thresholds and labels, on data and on generated cells."""

import numpy as np
import pytest
from scipy import sparse

from jaxpert.data.gene_classes import by_names
from jaxpert.data.quality import (
    failed,
    flags,
    label_generated,
    quality_metrics,
    thresholds,
)

pytestmark = pytest.mark.parity

NAMES = {
    "umi_count": "UMI_count",
    "n_genes": "ngenes",
    "pct_mt": "pct_counts_mt",
    "pct_ribo": "pct_counts_ribo",
    "pct_hb": "pct_counts_hb",
    "doublet": "predicted_doublet",
}
FLOAT32 = 1e-6
"""The reference computes percentages in float32: relative error up to about 4e-7, 4e-6 absolute."""


@pytest.fixture
def arrays(cradle_arrays):
    return cradle_arrays("qc_labels")


@pytest.fixture
def metrics(arrays):
    return _metrics(arrays, "")


def _metrics(arrays, prefix):
    counts = arrays[f"in/{prefix}counts"]
    counts = sparse.csr_matrix(counts.astype(np.uint16)) if not prefix else counts
    return quality_metrics(
        counts, list(arrays["in/gene_names"]), arrays[f"in/{prefix}predicted_doublet"]
    )


@pytest.mark.parametrize("short", ["mt", "ribo", "hb"])
def test_gene_classes(arrays, short):
    np.testing.assert_array_equal(
        by_names(list(arrays["in/gene_names"]))[f"pct_{short}"], arrays[f"expect/gene_is_{short}"]
    )


@pytest.mark.parametrize("prefix", ["", "generated_"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "doublet"])
def test_metrics(arrays, prefix, name):
    expected = arrays[f"expect/{prefix}{NAMES[name]}"]
    np.testing.assert_allclose(_metrics(arrays, prefix)[name], expected, rtol=FLOAT32)


@pytest.mark.parametrize("k", [3, 4, 5])
def test_thresholds_and_flags(arrays, metrics, k):
    bounds = thresholds(metrics)[k]
    for name, bound in bounds.items():
        np.testing.assert_allclose(
            bound, arrays[f"expect/mad{k}/thr_qc_{NAMES[name]}"], rtol=5 * FLOAT32
        )
    for name, flag in flags(metrics, bounds).items():
        np.testing.assert_array_equal(flag, arrays[f"expect/mad{k}/qc_{NAMES[name]}"].astype(bool))
    np.testing.assert_array_equal(
        failed(metrics, bounds), arrays[f"expect/mad{k}/total_qc"].astype(bool)
    )


@pytest.mark.parametrize("k", [3, 4, 5])
def test_generated_cells_by_the_thresholds_of_the_data(arrays, metrics, k):
    bounds, generated = thresholds(metrics)[k], _metrics(arrays, "generated_")
    for name, flag in flags(generated, bounds).items():
        np.testing.assert_array_equal(
            flag, arrays[f"expect/mad{k}/generated_qc_{NAMES[name]}"].astype(bool)
        )
    failing = failed(generated, bounds)
    np.testing.assert_array_equal(failing, arrays[f"expect/mad{k}/generated_total_qc"].astype(bool))
    np.testing.assert_allclose(
        1 - failing.mean(), arrays[f"expect/mad{k}/generated_qcpr"], atol=1e-12
    )


def test_label_generated_without_doublets(arrays, metrics):
    bounds = thresholds(metrics)[3]
    counts, genes = arrays["in/generated_counts"], list(arrays["in/gene_names"])
    no_doublet = quality_metrics(counts, genes, np.zeros(len(counts), bool))
    np.testing.assert_array_equal(
        label_generated(counts, genes, bounds, doublets="none"), failed(no_doublet, bounds)
    )
