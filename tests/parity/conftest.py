"""Arrays from the published implementations: `$JAXPERT_PARITY/<family>/*.npz` when set, else the
copies beside this file."""

import json
import pathlib
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from support.paths import PARITY


def _file(family: str, name: str) -> pathlib.Path:
    return PARITY / family / name


def _load(family: str, name: str) -> dict[str, np.ndarray]:
    with np.load(_file(family, f"{name}.npz")) as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def cradle_arrays() -> Callable[[str], dict[str, np.ndarray]]:
    """`cradle_arrays("cradle_vae")` -> {key: array}."""
    return lambda name: _load("cradle", name)


@pytest.fixture(scope="session")
def gears_arrays() -> Callable[[str], dict[str, np.ndarray]]:
    """`gears_arrays("weights")` -> {key: array}."""
    return lambda name: _load("gears", name)


@pytest.fixture(scope="session")
def cycseq_arrays() -> Callable[[str], dict[str, np.ndarray]]:
    """`cycseq_arrays("combat")` -> {key: array}."""
    return lambda name: _load("cycseq", name)


@pytest.fixture(scope="session")
def gears_numbers() -> Callable[[str], Any]:
    """`gears_numbers("splits")` -> what the .json file holds."""
    return lambda name: json.loads(_file("gears", f"{name}.json").read_text())


@pytest.fixture(params=["float64", "float32"])
def precision(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


@pytest.fixture
def close(precision):
    rtol = {"float64": 1e-9, "float32": 1e-4}[precision]
    return partial(np.testing.assert_allclose, rtol=rtol, atol=rtol)
