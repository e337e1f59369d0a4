"""The planted artifact of simulated cells, of which some cells and genes were left out."""

import numpy as np

from jaxpert import data
from jaxpert.data.subset import keep_cells, keep_genes
from jaxpert.tasks.screen.recovery import log2_fold, planted_artifact


def test_genes_and_cells_are_found_by_name():
    cells, truth = data.simulate("tiny")
    dataset = data.read(cells, perturbation="perturbation")
    dataset = data.add_quality(dataset, doublets="none")
    whole, numbers = planted_artifact(dataset, truth)
    assert whole.shape == (len(dataset.genes),)
    # Failing cells alone, of which the kinds are the same ones: the same profile.
    failed = dataset.quality.failed
    fewer = keep_cells(dataset, failed, "the test")
    again, of_fewer = planted_artifact(fewer, truth)
    np.testing.assert_allclose(again, whole, atol=1e-12)
    assert (
        of_fewer["artifact_cells_that_fail_quality"] == numbers["artifact_cells_that_fail_quality"]
    )
    # Of some genes the libraries are those of these genes.
    keep = np.arange(len(dataset.genes)) % 3 > 0
    chosen, _ = planted_artifact(keep_genes(dataset, keep), truth)
    control = list(truth.conditions).index(dataset.conditions[dataset.control])
    order = [list(truth.genes).index(name) for name in np.array(dataset.genes)[keep]]
    share = truth.mean_proportion[control][order]
    kinds = np.bincount(truth.artifact[failed], minlength=len(truth.artifact_log_fold))
    clean = 1e4 * share / share.sum()
    spoilt = (kinds / kinds.sum()) @ (clean * np.exp(truth.artifact_log_fold[:, order]))
    np.testing.assert_allclose(chosen, log2_fold(spoilt, clean), atol=1e-12)
