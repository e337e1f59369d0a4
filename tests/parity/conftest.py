"""Arrays from the published implementations: `$JAXPERT_PARITY/<family>/*.npz` when set, else the copies beside this
file."""

import os
import pathlib
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
import pytest


def _load(family: str, name: str) -> dict[str, np.ndarray]:
    root = os.environ.get("JAXPERT_PARITY") or pathlib.Path(__file__).parent / "data"
    with np.load(pathlib.Path(root) / family / f"{name}.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def cradle_arrays() -> Callable[[str], dict[str, np.ndarray]]:
    """`cradle_arrays("cradle_vae")` -> {key: array}."""
    return lambda name: _load("cradle", name)


@pytest.fixture(params=["float64", "float32"])
def precision(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


@pytest.fixture
def close(precision):
    rtol = {"float64": 1e-9, "float32": 1e-4}[precision]
    return partial(np.testing.assert_allclose, rtol=rtol, atol=rtol)
