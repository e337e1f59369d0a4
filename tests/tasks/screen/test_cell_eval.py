"""Predictions in the form of cell-eval: cells where a model draws or shifts some, else means."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxpert
from jaxpert import data
from jaxpert.core.fit import Fitted
from jaxpert.core.types import InputError, Model
from jaxpert.tasks.screen import cell_eval
from support import predictions
from support.predictions import GENES, PAIRS, SINGLES, cells

LN2 = np.log(2)


@pytest.fixture(scope="module")
def dataset():
    adata = cells()
    adata.obs["gene"] = adata.obs["condition"]
    lists = {"train": [*SINGLES, *PAIRS[:2]], "test": list(PAIRS[2:])}
    read = data.read(adata, perturbation="gene")
    return data.add_split(read, kind="custom", lists=lists)


def model(**changes) -> Fitted:
    """Counts whose shares are those of 1, 2 ... and 10 more for each treatment."""

    def predict(params, state, key, request):
        share = jnp.arange(1, GENES + 1) + 10 * request.treatment.sum(1)[:, None]
        return jnp.round(1e4 * request.library[:, None] * share / share.sum(1, keepdims=True))

    given = {"init": None, "loss": None, "predict": predict} | changes
    return Fitted(Model(**given), {}, {})


def made(fitted, dataset, **options):
    return cell_eval.predict_cells(fitted, dataset, ["A", "B+A"], **options)


def test_drawn_cells(dataset):
    adata = made(model(), dataset, cells=7, seed=3)
    assert adata.obs["gene"].tolist() == ["ctrl"] * 7 + ["A"] * 7 + ["A+B"] * 7
    assert tuple(adata.var_names) == dataset.genes and adata.X.dtype == np.float32
    x = adata.X.toarray().astype(float)
    np.testing.assert_allclose(np.expm1(x).sum(1), 1e4, rtol=1e-4)
    assert (x >= 0).all() and x.max() < 15
    # The shares of the model, up to the rounding of its counts.
    for treatments, rows in enumerate((slice(0, 7), slice(7, 14), slice(14, 21))):
        share = np.arange(1, GENES + 1) + 10.0 * treatments
        wanted = np.log1p(1e4 * share / share.sum())
        np.testing.assert_allclose(x[rows].mean(0), wanted, atol=1e-3)
    assert adata.uns["control"] == "ctrl" and list(adata.uns["notes"]) == []
    # Library sizes differ from cell to cell, as those of control cells do: so does the rounding.
    assert len({row.tobytes() for row in x[:7]}) > 1


def test_shifted_cells(dataset):
    def predict(params, state, key, request):
        y = jnp.log1p(1e4 * request.control / request.control.sum(1, keepdims=True))
        return y + request.treatment.sum(1)[:, None]

    fitted = model(predict=predict, scale="lognorm", stochastic=False, needs_control=True)
    adata = made(fitted, dataset, cells=5)
    x = adata.X.toarray().astype(float)
    assert adata.obs["gene"].value_counts().tolist() == [5, 5, 5]
    np.testing.assert_allclose(x[5:10], x[:5] + 1, atol=1e-5)
    np.testing.assert_allclose(x[10:], x[:5] + 2, atol=1e-5)
    real = cells().X.toarray()[:40].astype(float)
    known = np.log1p(1e4 * real / real.sum(1, keepdims=True))
    assert all(np.abs(known - row).max(1).min() < 1e-5 for row in x[:5])
    many = made(fitted, dataset, cells=500)
    assert (many.obs["gene"] == "ctrl").sum() == 40
    assert list(many.uns["notes"]) == ["there are 40 control cells to shift, fewer than 500"]


def test_means_and_values_below_zero(dataset):
    def predict(params, state, key, request):
        return jnp.ones((len(request.library), GENES)) - 1.25 * request.treatment.sum(1)[:, None]

    adata = made(model(predict=predict, scale="log2", stochastic=False), dataset)
    assert adata.obs["gene"].tolist() == ["ctrl", "A", "A+B"]
    x = adata.X.toarray()
    np.testing.assert_allclose(x[0], LN2, rtol=1e-6)
    assert (x[1:] == 0).all()
    first, second = adata.uns["notes"]
    assert "one row" in first
    assert f"{2 * GENES} predicted values below 0 (down to -1.04) were set to 0" in second


def test_a_scale_without_logarithm_is_refused(dataset):
    fitted = model(stochastic=False, needs_control=True)
    fitted = fitted._replace(model=fitted.model._replace(predict=lambda p, s, k, r: r.control))
    with pytest.raises(InputError, match="shifts cells on the scale 'counts', expected a log"):
        made(fitted, dataset)


def test_the_file_is_scored_as_it_is(dataset, tmp_path):
    adata = cell_eval.predict_cells(model(), dataset, [*SINGLES, *PAIRS], cells=10)
    adata.write_h5ad(tmp_path / "pred.h5ad")
    metrics = jaxpert.score(
        predictions.cells(), tmp_path / "pred.h5ad", pred_perturbation="gene", schools=False
    )
    assert metrics["perturbations"] == {"all": 12}
    assert "log1p" in metrics["scored"]["scale of the predictions"]
    assert metrics["scored"]["scores are on"] == "log2(1 + 10,000 x / sum x)"


@pytest.mark.filterwarnings("ignore")
def test_cell_eval_itself_reads_the_file(dataset, tmp_path):
    """And makes the same errors of it as this project does."""
    evaluation = pytest.importorskip("cell_eval", reason="cell-eval is not installed")
    paths = {name: str(tmp_path / f"{name}.h5ad") for name in ("real", "predicted")}
    predicted = cell_eval.predict_cells(model(), dataset, [*SINGLES, *PAIRS], cells=10)
    predicted.write_h5ad(paths["predicted"])
    real = predictions.log1p(cells())
    real.obs["gene"] = real.obs["condition"].astype(str)
    real.write_h5ad(paths["real"])
    theirs, _ = evaluation.MetricsEvaluator(
        adata_pred=paths["predicted"],
        adata_real=paths["real"],
        control_pert="ctrl",
        pert_col="gene",
        num_threads=1,
        outdir=str(tmp_path / "out"),
    ).compute()
    ours = jaxpert.score(*paths.values(), perturbation="gene")["schools"]["scores"]
    for name in ("mae", "mse_delta", "pearson_delta"):
        assert ours[f"{name}.celleval"]["model"] == pytest.approx(theirs[name].mean(), rel=1e-5)
