"""Predictions of models that shift given cells: in each stratum with its own control cells."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert.core.fit import Fitted
from jaxpert.core.types import Dataset, Model
from jaxpert.tasks.screen.predict import predict_effects, to_anndata

GENES = 6


def scaling() -> Model:
    """Multiplies the log expression of a control cell, so that an effect depends on the cell."""

    def predict(params, state, key, request):
        y = jnp.log1p(1e4 * request.control / request.control.sum(-1, keepdims=True))
        return y * (1 + request.treatment @ params["factor"])[:, None]

    return Model(
        init=None, loss=None, predict=predict, scale="lognorm", stochastic=False, needs_control=True
    )


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Two strata of very different cells; "a" lies in the first alone, "b" in both."""
    rng = np.random.default_rng(0)
    condition = np.array([0] * 9 + [1] * 4 + [2] * 8)
    stratum = np.array([0] * 3 + [1] * 6 + [0] * 4 + [0] * 2 + [1] * 6)
    rate = np.where(stratum[:, None] == 0, np.arange(1, 7), np.arange(6, 0, -1)) * 10
    return Dataset(
        name="two lines",
        counts=sparse.csr_matrix(rng.poisson(rate).astype(np.uint16)),
        cells=np.arange(21).astype(str),
        genes=tuple(f"g{i}" for i in range(GENES)),
        conditions=("ctrl", "a", "b"),
        condition=condition,
        control=0,
        treatments=("a", "b"),
        condition_treatments=np.array([[0, 0], [1, 0], [0, 1]], np.float32),
        strata=("s0", "s1"),
        stratum=stratum,
        obs=pd.DataFrame(index=range(21)),
        split=np.zeros(21, np.int8),
    )


FITTED = Fitted(scaling(), {"factor": jnp.array([0.5, -0.25])}, {})


def control_means(dataset) -> np.ndarray:
    """Mean log2 expression of the control cells of each stratum."""
    x = dataset.counts.toarray()
    y = np.log2(1 + 1e4 * x / x.sum(1, keepdims=True))
    control = dataset.condition == 0
    return np.stack([y[control & (dataset.stratum == s)].mean(0) for s in (0, 1)])


def test_effects_are_those_of_the_strata_of_the_condition(dataset):
    prediction = predict_effects(FITTED, dataset, ["a", "b", "a+b"])
    first, second = control_means(dataset)
    whole = (3 * first + 6 * second) / 9
    expected = {
        "ctrl": 0 * whole,
        # Half of its own line's control, whatever the other line looks like.
        "a": 0.5 * first,
        "b": -0.25 * (2 * first + 6 * second) / 8,
        # Nobody has measured it, so it is asked where the control is.
        "a+b": 0.25 * whole,
    }
    for name, effect in expected.items():
        row = prediction.names.index(name)
        np.testing.assert_allclose(prediction.effects.effect[row], effect, atol=1e-4)
        # The mean is that of the control of all strata plus the effect.
        mean = prediction.effects.moments.mean[row]
        np.testing.assert_allclose(mean, whole + effect, atol=1e-4)
    table = to_anndata(prediction, dataset)
    np.testing.assert_allclose(table.X - table.X[0], table.layers["effect"], atol=1e-4)
    assert prediction.effects.moments.cells.tolist() == [9, 3, 9, 9]


def test_pooled_controls_are_asked_together(dataset):
    pooled = replace(dataset, controls="pooled")
    prediction = predict_effects(FITTED, pooled, ["a"])
    first, second = control_means(dataset)
    whole = (3 * first + 6 * second) / 9
    np.testing.assert_allclose(prediction.effects.effect[1], 0.5 * whole, atol=1e-4)
    assert prediction.effects.moments.cells.tolist() == [9, 9]


def test_a_stratum_without_training_controls_is_asked_elsewhere(dataset):
    split = np.where((dataset.condition == 0) & (dataset.stratum == 0), 2, 0).astype(np.int8)
    prediction = predict_effects(FITTED, replace(dataset, split=split), ["a"])
    second = control_means(dataset)[1]
    np.testing.assert_allclose(prediction.effects.effect[1], 0.5 * second, atol=1e-4)
