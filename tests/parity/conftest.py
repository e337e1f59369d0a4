"""Arrays from the published implementations: `$JAXPERT_PARITY/<family>/*.npz` when set, else the copies beside this
file."""

import os
import pathlib
from collections.abc import Callable

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
