"""Moments of ln(1 + x) from a sparse matrix, and the standardisation with the published guards."""

import jax
import numpy as np
import pytest
from scipy import sparse

from jaxpert.data.moments import log_moments
from jaxpert.nn.transforms import log_standardize

pytestmark = pytest.mark.parity

CONSTANT = 8
"""A gene that is always 3 in training: its published spread is rounding residue, ours too, so
neither is compared."""


@pytest.fixture
def arrays(cradle_arrays):
    return cradle_arrays("log_standardize")


def test_moments(arrays):
    mean, std = log_moments(sparse.csr_matrix(arrays["in/X_train"].astype(np.uint8)))
    others = np.arange(len(mean)) != CONSTANT
    np.testing.assert_allclose(mean, arrays["expect/log_mean"], rtol=1e-9)
    np.testing.assert_allclose(std[others], arrays["expect/log_std"][others], rtol=1e-9)
    assert std[CONSTANT] < 1e-12 and std[7] == 0


@pytest.mark.parametrize("bits,tolerance", [(64, 1e-9), (32, 1e-5)])
def test_standardised_cells(arrays, bits, tolerance):
    mean, std = log_moments(sparse.csr_matrix(arrays["in/X_train"].astype(np.uint8)))
    with jax.enable_x64(bits == 64):
        dtype = np.dtype(f"float{bits}")
        z = log_standardize(
            *(v.astype(dtype) for v in (arrays["in/X_test"], mean, std)), guard="reference"
        )
        assert z.dtype == dtype
        expected = np.delete(arrays["expect/X_test_normalised"], CONSTANT, axis=1)
        np.testing.assert_allclose(
            np.delete(np.asarray(z), CONSTANT, axis=1), expected, rtol=tolerance, atol=tolerance
        )
        assert z[0, 7] == dtype.type(1e6) and z[1, 7] == dtype.type(1e-6)


def test_constant_genes_are_harmless_under_our_guard(arrays):
    mean, std = log_moments(sparse.csr_matrix(arrays["in/X_train"].astype(np.uint8)))
    z = np.asarray(
        log_standardize(arrays["in/X_test"], mean.astype(np.float32), std.astype(np.float32))
    )
    assert np.isfinite(z).all() and np.abs(z[:, [7, CONSTANT]]).max() < 5
