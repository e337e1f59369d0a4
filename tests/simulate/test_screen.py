"""The simulated screen: it looks like real cells, its truth is the truth, and it hides that truth
from models."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert.core.errors import InputError
from jaxpert.data.quality import failed, quality_metrics, thresholds
from jaxpert.data.read import read
from jaxpert.simulate import expectations, load_truth, save_truth, simulate, simulate_chunks
from jaxpert.simulate.counts import gamma_poisson
from jaxpert.simulate.effects import KIND_SHARES, interact
from jaxpert.simulate.screen import draw_generators, draw_truth
from jaxpert.simulate.settings import resolve
from jaxpert.simulate.truth import ARTIFACTS, KINDS, cell_proportions

DOUBLET, STRESSED = ARTIFACTS.index("doublet"), ARTIFACTS.index("stressed")


@pytest.fixture(scope="module")
def tiny():
    return simulate("tiny")


@pytest.fixture(scope="module")
def quick():
    """Of all that takes time, the expected means take most: these are over two cells."""
    return simulate("tiny", reference_cells=2)


@pytest.fixture(scope="module")
def demo():
    return simulate("demo")


@pytest.fixture(scope="module")
def transcriptome():
    return simulate("norman", cells=2_500, singles=20, pairs=20, reference_cells=4)


def quality(screen):
    adata, truth = screen
    metrics = quality_metrics(adata.X, list(adata.var_names), truth.artifact == DOUBLET)
    return metrics, {k: failed(metrics, bounds) for k, bounds in thresholds(metrics).items()}


def log2_effects(adata, condition, cells):
    """Mean log2(1 + 1e4 x / sum x) of each condition over `cells`, minus the control's."""
    y = sparse.diags_array(1e4 / np.asarray(adata.X.sum(1)).ravel()) @ adata.X
    y.data = np.log2(1 + y.data)
    member = sparse.csr_matrix(
        (np.ones(cells.sum()), (condition[cells], np.flatnonzero(cells))),
        (condition.max() + 1, len(cells)),
    )
    mean = (member @ y).toarray() / np.asarray(member.sum(1))
    return mean - mean[0]


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


# what the cells look like


def test_marginals_are_those_of_real_screens(transcriptome):
    metrics, _ = quality(transcriptome)
    clean = transcriptome[1].artifact == 0
    assert np.median(metrics["umi_count"]) == pytest.approx(13_500, rel=0.2)
    assert np.log(metrics["umi_count"][clean]).std() == pytest.approx(0.41, rel=0.2)
    assert np.median(metrics["n_genes"]) == pytest.approx(3_200, rel=0.2)
    assert np.median(metrics["pct_mt"]) == pytest.approx(3.4, rel=0.2)
    assert np.log(metrics["pct_mt"][clean]).std() == pytest.approx(0.45, rel=0.2)
    low, high = np.quantile(metrics["pct_ribo"], [0.05, 0.95])
    assert 12 < low < 18 and 25 < high < 36
    assert np.mean(metrics["pct_hb"] > 0) < 0.05


def test_dispersions_are_those_of_real_screens(transcriptome):
    low, median, high = np.quantile(transcriptome[1].inverse_dispersion, [0.1, 0.5, 0.9])
    assert 1.5 < median < 3
    assert [low, high] == pytest.approx([0.5, 12], rel=0.2)


@pytest.mark.parametrize("screen", ["demo", "transcriptome"])
def test_failing_shares(screen, request):
    screen = request.getfixturevalue(screen)
    _, fails = quality(screen)
    assert [fails[k].mean() for k in (3, 4, 5)] == pytest.approx([0.25, 0.17, 0.13], abs=0.03)
    kinds = screen[1].artifact
    assert fails[5][kinds == ARTIFACTS.index("dying")].mean() > 0.7
    assert fails[5][kinds == ARTIFACTS.index("haemoglobin")].mean() > 0.9
    assert fails[3][kinds == STRESSED].mean() > 3 * fails[3][kinds == 0].mean()


def test_the_smallest_integer_type_is_taken(demo, tiny):
    for adata, _ in (demo, tiny):
        assert adata.X.dtype == np.min_scalar_type(adata.X.max())
        assert adata.X.indices.dtype == np.int32
        assert adata.X.data.min() > 0 and adata.X.has_sorted_indices
    assert sparse.csr_matrix(adata.X.toarray()).nnz == adata.X.nnz


def test_counts_follow_the_gamma_poisson_law():
    rng = np.random.default_rng(0)
    mean = np.tile(np.array([1e-3, 0.3, 2.0, 7.9, 8.1, 300.0], np.float32), (40_000, 1))
    r = np.array([0.3, 0.5, 2.0, 12.0, 12.0, 3.0], np.float32)
    at, values = gamma_poisson(rng, mean, r)
    x = np.zeros(mean.shape)
    x.flat[at] = values
    variance = mean[0] + mean[0] ** 2 / r
    assert np.all(np.abs(x.mean(0) - mean[0]) < 5 * np.sqrt(variance / len(x)))
    assert x.var(0)[1:] == pytest.approx(variance[1:], rel=0.1)
    zero = (1 + mean[0] / r) ** -r
    assert np.all(np.abs((x == 0).mean(0) - zero) < 5 * np.sqrt(zero * (1 - zero) / len(x)) + 1e-9)


def test_toxic_targets_have_more_artifacts():
    _, truth = simulate("tiny", cells=6_000, toxic_share=0.3, reference_cells=2)
    toxic = truth.condition_treatments @ truth.toxicity > 1
    share = np.bincount(truth.condition, truth.artifact > 0) / np.bincount(truth.condition)
    assert share[toxic].mean() > share[~toxic].mean() + 0.15
    assert (truth.artifact > 0).mean() == pytest.approx(0.25, abs=0.03)


# the truth


def test_expected_means_are_those_of_sampled_cells():
    adata, truth = simulate(
        "tiny",
        cells=6_000,
        singles=2,
        pairs=1,
        artifact_share=0,
        control_share=0.5,
        reference_cells=96,
    )
    y = np.log2(1 + 1e4 * adata.X.toarray() / np.asarray(adata.X.sum(1)))
    for c in range(4):
        cells = y[truth.condition == c]
        error = (cells.mean(0) - truth.mean_log2[c]) / (cells.std(0) / np.sqrt(len(cells)) + 0.005)
        assert np.abs(error).max() < 5 and np.abs(error).mean() < 1.1
    share = (adata.X.toarray() / np.asarray(adata.X.sum(1)))[truth.condition == 0].mean(0)
    assert truth.mean_proportion[0] == pytest.approx(share, rel=0.35, abs=3e-4)
    assert np.allclose(truth.mean_proportion.sum(1), 1, atol=1e-5)


def test_expected_log2_is_the_exact_sum_and_tables_hold_it():
    from scipy.stats import nbinom

    r = np.geomspace(0.3, 5.0, 7)
    generating = expectations.generating_table(r)
    x, mean = np.arange(20_000), np.array([0.01, 3.0, 40.0])
    probability = nbinom.pmf(x[:, None, None], r, r / (r + mean[:, None]))
    for library in (500.0, 13_500.0):
        exact = np.tensordot(np.log2(1 + 1e4 * x / library), probability, 1)
        found = expectations.expected_log2(mean[:, None], r, library)
        np.testing.assert_allclose(found, exact, rtol=1e-6)
        (table,) = expectations.log2_tables(generating, np.array([library]))
        log_mean = np.tile(np.log(mean[:, None]).astype(np.float32), len(r))
        found = expectations.interpolate(generating, table, log_mean)
        np.testing.assert_allclose(found, exact, rtol=5e-3)


def test_truth_is_the_ceiling_and_pairs_are_worth_predicting(demo):
    adata, truth = demo
    passed = ~quality(demo)[1][5]
    data = log2_effects(adata, truth.condition, passed)
    true = truth.mean_log2 - truth.mean_log2[0]
    sizes = truth.condition_treatments.sum(1)
    pairs, singles = sizes == 2, sizes == 1
    ceiling = correlation(data[pairs], true[pairs])
    additive = correlation(data[pairs], (truth.condition_treatments @ data[singles])[pairs])
    mean = correlation(data[pairs], np.tile(data[~pairs & (sizes > 0)].mean(0), (pairs.sum(), 1)))
    assert ceiling > 0.75 and ceiling > additive + 0.1 and additive > mean + 0.05


def test_additive_pairs_are_additive_in_the_truth(demo):
    _, truth = demo
    sums = truth.condition_treatments @ truth.effects
    difference = np.abs(truth.condition_effects - sums).max(1)
    assert difference[truth.kind == "additive"].max() < 1e-5
    assert np.allclose(truth.gi[truth.kind == "additive", -1], 0, atol=1e-5)
    assert difference[truth.kind == "synergy"].max() > 0.1
    # Log-folds of the mean shares over control add up too, but for the normaliser and the mean over
    # basal states.
    fold = np.log(truth.mean_proportion / truth.mean_proportion[0])
    fold -= np.median(fold, 1, keepdims=True)
    singles = truth.condition_treatments.sum(1) == 1
    additive = truth.kind == "additive"
    expected = truth.condition_treatments @ fold[singles]
    assert correlation(fold[additive], expected[additive]) > 0.995


def test_interaction_scores_tell_the_kinds():
    changes = {"cells": 4_000, "genes": 400, "singles": 16, "pairs": 100, "pathways": 3}
    truth = draw_truth(resolve("tiny", changes), 0)
    magnitude = {kind: np.median(truth.gi[truth.kind == kind, 2]) for kind in KINDS}
    fit = {kind: np.median(truth.gi[truth.kind == kind, 3]) for kind in KINDS}
    assert magnitude["suppression"] < magnitude["additive"] < magnitude["synergy"]
    assert fit["neomorphism"] + 0.03 < min(
        fit[kind] for kind in ("additive", "synergy", "redundancy")
    )
    assert np.isnan(truth.gi[: 1 + 16]).all()


def test_shares_of_interaction_kinds_hold():
    settings = resolve("tiny", {"cells": 3_000, "singles": 14, "pairs": 60, "triples": 10})
    truth = draw_generators(settings, 0)
    sizes = truth.condition_treatments.sum(1)
    for size, number in ((2, 60), (3, 10)):
        numbers = [np.sum(truth.kind[sizes == size] == kind) for kind in KINDS]
        assert np.allclose(numbers, np.array(KIND_SHARES) * number)
    assert set(truth.kind[sizes < 2]) == {""}


def test_interactions_follow_their_rules():
    rng = np.random.default_rng(0)
    effects = np.array([[1.0, -2.0, 0.0, 0.0], [3.0, 1.0, 0.0, 0.0]])
    assert np.array_equal(interact(rng, "synergy", effects), 1.6 * effects.sum(0))
    assert np.array_equal(interact(rng, "suppression", effects), 0.5 * effects.sum(0))
    assert any(np.array_equal(interact(rng, "epistasis", effects), e) for e in effects)
    assert np.array_equal(interact(rng, "redundancy", effects), [3, -2, 0, 0])
    assert np.array_equal(interact(rng, "redundancy", effects[[0, 0]]), effects[0])
    new = interact(rng, "neomorphism", effects)
    assert np.array_equal(new[:2], [4, -1]) and np.count_nonzero(new[2:]) == 1


def test_related_targets_share_masks_and_effects():
    changes = {"cells": 2_000, "genes": 300, "pairs": 0, "mask_share": 0.2}
    truth = draw_generators(resolve("norman", changes), 0)
    similar = truth.effects @ truth.effects.T
    similar /= np.sqrt(np.outer(similar.diagonal(), similar.diagonal())) + 1e-12
    related = (truth.pathway[:, None] == truth.pathway) & (truth.pathway >= 0)
    np.fill_diagonal(related, False)
    assert similar[related].mean() == pytest.approx(0.8, abs=0.12)
    assert similar[~related & ~np.eye(len(similar), dtype=bool)].mean() < 0.35
    for p in range(truth.pathway.max() + 1):
        assert len(np.unique(truth.masks[truth.pathway == p], axis=0)) == 1
    assert not truth.effects[~truth.masks].any()
    lone = np.delete(truth.masks[truth.pathway < 0], 6, axis=1)  # column 6 is the general response
    assert lone.mean() == pytest.approx(0.2, abs=0.06)


def test_own_genes_move_as_the_technology_says(demo):
    _, activated = demo
    _, repressed = simulate("adamson", cells=500, genes=400, singles=10, reference_cells=8)
    for truth, sign in ((activated, 1), (repressed, -1)):
        t = np.arange(len(truth.treatments))
        change = truth.mean_log2[1 + t, truth.own_gene] - truth.mean_log2[0, truth.own_gene]
        assert np.mean(np.sign(change) == sign) > 0.9
        assert list(truth.genes[truth.own_gene]) == list(truth.treatments)


def test_artifact_vector_is_in_the_cells(demo):
    adata, truth = demo
    control = truth.condition == 0
    expressed = truth.mean_proportion[0] > 2e-3
    share = adata.X.toarray()[:, expressed] / np.asarray(adata.X.sum(1))
    for kind in (ARTIFACTS.index("dying"), STRESSED):
        fold = np.log(
            share[control & (truth.artifact == kind)].mean(0)
            / share[control & (truth.artifact == 0)].mean(0)
        )
        assert correlation(fold, truth.artifact_log_fold[kind][expressed]) > 0.8
    # Mitochondrial genes double.
    assert truth.artifact_log_fold[STRESSED, 0] == pytest.approx(np.log(2), abs=0.1)
    assert not truth.artifact_log_fold[0].any() and not truth.artifact_log2_shift[0].any()


def test_clean_profile_of_a_cell(tiny):
    _, truth = tiny
    share = cell_proportions(truth, np.arange(5))
    assert np.allclose(share.sum(1), 1, atol=1e-5)
    assert correlation(np.log(share.mean(0)), np.log(truth.mean_proportion[0])) > 0.9


# seeds and chunks


def equal(a, b):
    return all(np.array_equal(getattr(a, p), getattr(b, p)) for p in ("data", "indices", "indptr"))


def test_same_seed_same_bytes(quick):
    adata, truth = simulate("tiny", workers=1, reference_cells=2)
    assert equal(adata.X, quick[0].X) and adata.obs.equals(quick[0].obs)
    for field in dataclasses.fields(truth):
        np.testing.assert_array_equal(getattr(truth, field.name), getattr(quick[1], field.name))


def test_other_seeds_differ(quick):
    adata, truth = simulate("tiny", seed=1, reference_cells=2)
    assert not np.array_equal(adata.X.toarray(), quick[0].X.toarray())
    assert not np.array_equal(truth.effects, quick[1].effects)
    assert not np.array_equal(truth.condition, quick[1].condition)


@pytest.mark.parametrize("chunk", [100, 256, 599, 10_000])
def test_chunks_hold_the_same_cells(quick, chunk):
    whole, _ = quick
    _, chunks = simulate_chunks("tiny", chunk=chunk, reference_cells=2)
    pieces = list(chunks)
    counts = sparse.vstack([piece.X for piece in pieces], format="csr", dtype=whole.X.dtype)
    assert equal(counts, whole.X)
    obs = pd.concat([piece.obs for piece in pieces])
    assert obs.index.equals(whole.obs_names)
    assert list(obs["perturbation"]) == list(whole.obs["perturbation"])


# files and what users meet


def test_nothing_leaks(quick, tmp_path):
    adata, truth = quick
    assert list(adata.obs.columns) == ["perturbation", "batch"]
    assert not list(adata.var.columns) and set(adata.uns) == {"source"}
    assert (
        not len(adata.obsm) and not len(adata.varm) and not len(adata.layers) and adata.raw is None
    )
    # The order of cells tells neither condition nor artifact.
    order = np.arange(len(truth.condition))
    assert abs(correlation(order, truth.condition.astype(float))) < 0.15
    assert abs(correlation(order, (truth.artifact > 0).astype(float))) < 0.15
    adata.write_h5ad(tmp_path / "screen.h5ad")


def test_the_screen_is_read_as_any_other(tiny):
    adata, truth = tiny
    data = read(adata, perturbation="perturbation", control="ctrl", separator="+", stratum="batch")
    assert data.conditions[data.control] == "ctrl"
    assert set(data.conditions) == set(truth.conditions)
    assert set(data.treatments) == set(truth.treatments)
    assert data.genes == tuple(truth.genes)
    assert [data.conditions[c] for c in data.condition] == list(truth.conditions[truth.condition])


def test_truth_round_trip(tiny, tmp_path):
    save_truth(tiny[1], tmp_path / "truth.npz")
    loaded = load_truth(tmp_path / "truth.npz")
    for field in dataclasses.fields(loaded):
        np.testing.assert_array_equal(getattr(loaded, field.name), getattr(tiny[1], field.name))
    (tmp_path / "truth.npz").write_bytes((tmp_path / "truth.npz").read_bytes()[:1000])
    for path in (tmp_path / "truth.npz", tmp_path / "none.npz"):
        with pytest.raises(InputError, match="save_truth"):
            load_truth(path)
