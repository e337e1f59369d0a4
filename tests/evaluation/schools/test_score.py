"""The one call: forms of files, scales, and what it refuses."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert.core.errors import InputError
from jaxpert.evaluation.schools import cells, rank_sum
from jaxpert.evaluation.schools.score import score_cells, score_effects

LABELS = np.repeat(["control", "p", "q", "r"], [8, 6, 5, 6])


def counts(seed=0):
    return np.random.default_rng(seed).poisson(2.0, (len(LABELS), 15)) + (np.arange(15) == 3)


def cells_of(x, labels=LABELS):
    obs = pd.DataFrame({"target": labels}, index=[str(n) for n in range(len(labels))])
    return anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"gene{g}" for g in range(15)]))


def normalised(seed=0):
    x = counts(seed)
    return np.log1p(1e4 * x / x.sum(1, keepdims=True)).astype(np.float32)


def scored(real, predicted, **options):
    given = {"control": "control", "condition_key": "target", "scale": "log1p"} | options
    return score_cells(real, predicted, **given)


def same(found, expected, rtol=1e-5):
    pd.testing.assert_frame_equal(
        found.per_perturbation, expected.per_perturbation, rtol=rtol, atol=1e-6
    )


@pytest.fixture(scope="module")
def expected():
    return scored(cells_of(normalised(0)), cells_of(normalised(1)))


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, np.float64])
def test_forms_of_matrices(form, expected):
    same(scored(cells_of(form(normalised(0))), cells_of(form(normalised(1)))), expected)


@pytest.mark.parametrize("form", [sparse.csr_matrix, np.asarray])
def test_backed_files_in_small_blocks(tmp_path, monkeypatch, form, expected):
    files = []
    for seed in (0, 1):
        path = tmp_path / f"{seed}.h5ad"
        cells_of(form(normalised(seed))).write_h5ad(path)
        files.append(anndata.read_h5ad(path, backed="r"))
    monkeypatch.setattr(cells, "ENTRIES", 50)
    monkeypatch.setattr(rank_sum, "ENTRIES", 100)
    same(scored(*files), expected, 1e-6)


def test_backed_files_lie_cell_by_cell(tmp_path):
    cells_of(sparse.csc_matrix(normalised(0))).write_h5ad(tmp_path / "0.h5ad")
    backed = anndata.read_h5ad(tmp_path / "0.h5ad", backed="r")
    refused("backed file of the real cells is stored by genes", real=backed)


@pytest.mark.parametrize("form", [sparse.csr_matrix, np.asarray])
def test_counts_are_normalised(form, expected):
    same(scored(cells_of(form(counts(0))), cells_of(form(counts(1))), scale="counts"), expected)
    mixed = scored(cells_of(form(counts(0))), cells_of(normalised(1)), scale=("counts", "log1p"))
    same(mixed, expected)


def test_means_over_perturbations(expected):
    table, aggregate = expected.per_perturbation, expected.aggregate
    assert list(table.index) == ["p", "q", "r"]
    assert aggregate["mae.celleval"] == pytest.approx(table["mae.celleval"].mean())
    # One of three has a significant gene or none has: undefined, and not 0.
    assert table["roc_auc.celleval"].isna().sum() > 1
    assert np.isnan(aggregate["roc_auc.celleval"])


def test_chosen_metrics_alone(expected):
    names = ["rank.perturbench", "mae.celleval"]
    found = scored(cells_of(normalised(0)), cells_of(normalised(1)), metrics=names)
    assert list(found.aggregate) == names == list(found.per_perturbation)
    assert found.aggregate["mae.celleval"] == expected.aggregate["mae.celleval"]
    assert found.notes == ()
    assert "systema" in expected.notes[0]


def refused(match, real=None, predicted=None, **options):
    given = [normalised(0) if side is None else side for side in (real, predicted)]
    files = [side if isinstance(side, anndata.AnnData) else cells_of(side) for side in given]
    with pytest.raises(InputError, match=match):
        scored(*files, **options)


def test_scales_are_checked():
    refused("real cells hold whole numbers alone", real=np.floor(normalised(0)))
    refused("predicted cells hold up to .*below 15", predicted=normalised(0) * 3)


def test_labels_and_genes_are_checked():
    right = cells_of(normalised(0))
    refused("no predicted cell is labelled 'ctrl'|no real cell is labelled 'ctrl'", control="ctrl")
    refused("has no column 'cond'", condition_key="cond")
    refused("differ from .* in their order alone", predicted=right[:, ::-1].copy())
    refused(r"genes of the prediction \(14\)", predicted=right[:, :14].copy())
    refused("holds x", predicted=cells_of(normalised(0), np.where(LABELS == "p", "x", LABELS)))
    refused("control cells alone", predicted=right[LABELS == "control"].copy())
    refused("no predicted cell is labelled", predicted=right[LABELS != "control"].copy())
    refused("lacks 6 labels", real=cells_of(normalised(0), np.where(LABELS == "p", None, LABELS)))
    refused("scale of the real cells is 'log2'", scale="log2")
    refused("obsm of the real cells has no 'X_pca'", embedding="X_pca")
    refused("no metric 'mae'", metrics=["mae"])
    refused("lacks reference", metrics=["pearson_delta_reference.systema"])
    refused("training perturbations s", training=["p", "s"])


def test_counts_are_checked():
    refused("hold fractions", scale="counts")
    empty = counts(0)
    empty[4] = 0
    refused("1 of the real cells hold no counts", real=empty, predicted=counts(1), scale="counts")


def test_values_are_finite():
    bad = normalised(0)
    bad[2, 2] = np.nan
    refused("expected finite values of at least 0", predicted=bad)
    refused("hold -0.5 to", real=np.where(np.arange(15) == 2, -0.5, normalised(0)))


def test_effects_are_checked():
    real = pd.DataFrame(np.eye(3), index=list("abc"), columns=["x", "y", "z"])
    for match, predicted, options in (
        ("columns of the predicted", real[["y", "x", "z"]], {}),
        ("hold d", real.rename({"a": "d"}), {}),
        ("a row twice", real.rename({"a": "b"}), {}),
        ("not finite", real * np.nan, {}),
        ("index of the control", real, {"control": pd.Series([1.0, 2, 3], index=list("xyw"))}),
        ("lacks control", real, {"metrics": ["l2_top1000.linear"]}),
        ("training perturbations e", real, {"training": ["e"]}),
    ):
        with pytest.raises(InputError, match=match):
            score_effects(real, predicted, **options)


def test_effects_agree_with_cells(expected):
    frames = []
    for seed in (0, 1):
        table = pd.DataFrame(
            normalised(seed).astype(float), columns=[f"gene{g}" for g in range(15)]
        )
        means = table.groupby(LABELS).mean()
        frames.append(means.drop("control") - means.loc["control"])
    found = score_effects(*frames)
    relative = ["pds_l1.celleval", "mae_delta.celleval", "pearson_delta.celleval"]
    pd.testing.assert_frame_equal(
        found.per_perturbation[relative],
        expected.per_perturbation[relative],
        check_names=False,
        rtol=1e-5,
    )
