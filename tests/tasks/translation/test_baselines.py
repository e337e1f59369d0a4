"""Baselines of rows, and the genes that differ most, on the simulated lines of the test config."""

import numpy as np
import pytest

from jaxpert.tasks.translation import baselines
from jaxpert.tasks.translation.evaluate import gene_sets, triangular
from jaxpert.tasks.translation.groups import find_effect_groups, group_means
from jaxpert.tasks.translation.load import load_rows
from support.cycseq_runs import config, problem


@pytest.fixture(scope="module")
def prepared():
    return problem().details


@pytest.fixture(scope="module")
def groups(prepared):
    return find_effect_groups(prepared)


def test_baselines_know_nothing_of_held_out_pairs(prepared, groups):
    means = group_means(prepared, groups)
    assert not np.isfinite(means.train_upper[~groups.trained]).any()
    change, unseen = baselines.mean_changes(groups, means)
    trained = groups.trained
    overall = (means.train_upper - means.train_lower)[trained].mean(0)
    np.testing.assert_allclose(change[unseen], np.tile(overall, (unseen.sum(), 1)))
    first = np.flatnonzero(trained)[0]
    same = trained & (groups.condition == groups.condition[first])
    expected = (means.upper - means.lower)[same].mean(0)
    np.testing.assert_allclose(change[first], expected, rtol=1e-6)
    table, without = baselines.profiles(groups, means, 2)
    expected = means.upper[trained & (groups.line == 0)].mean(0)
    np.testing.assert_allclose(table["n2p"][0], expected, rtol=1e-6)
    assert without == ()


def test_most_changed_genes_are_those_of_the_groups_own_cells(prepared, groups):
    tops, unranked = gene_sets(prepared, groups)
    counts, k = prepared.dataset.counts.toarray(), 1
    log = np.log2(1 + 1e4 * counts / counts.sum(1, keepdims=True))
    upper = log[prepared.pseudobulk.of(int(groups.upper[k]))]
    lower = log[prepared.pseudobulk.of(int(groups.lower[k]))]
    error = np.sqrt(upper.var(0, ddof=1) / len(upper) + lower.var(0, ddof=1) / len(lower))
    t = np.abs(upper.mean(0) - lower.mean(0)) / np.where(error > 0, error, np.inf)
    assert set(tops["top20"][k]) == set(np.argsort(-t)[:20]) and not unranked


def test_named_genes_come_first_in_the_triangular_validation():
    prepared, _ = load_rows(config(split__kind="replicate"))
    groups = find_effect_groups(prepared)
    methods, _ = baselines.predictors(prepared, groups, group_means(prepared, groups))
    tables = triangular(prepared, groups, methods["mean_change"], ("PERT007",))
    for table in tables.values():
        names = [name.split(" in ")[0] for name in table]
        assert names[0] == "PERT007" and names[names.count("PERT007")] == "PERT001"
