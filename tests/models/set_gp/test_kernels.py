"""Kernels between perturbed genes, and what is no kernel."""

import numpy as np
import pandas as pd
import pytest

from jaxpert.core.types import InputError
from jaxpert.models.set_gp import kernels

NAMES = ("A", "B", "C")


def test_rare_terms_make_genes_alike_and_common_ones_do_not():
    kernel = kernels.of_terms([{"rare", "all"}, {"rare", "all"}, {"all"}, {"all", "x"}, ()])
    assert kernel[0, 1] == pytest.approx(1)
    assert kernel[0, 2] == kernel[0, 4] == 0
    np.testing.assert_array_equal(np.diag(kernel), 1)
    assert np.linalg.eigvalsh(kernel)[0] > -1e-12


def table(path, rows, columns, values):
    pd.DataFrame(values, index=rows, columns=columns).to_csv(path)
    return str(path)


def test_vectors_of_genes_are_a_kernel_and_unknown_genes_are_like_themselves(tmp_path):
    path = table(tmp_path / "e.csv", ["A", "B", "X"], ["d1", "d2"], [[1, 0], [2, 0], [-3, 1]])
    kernel = kernels.of_table(path, NAMES)
    np.testing.assert_array_equal(kernel[2], [0, 0, 1])
    assert np.linalg.eigvalsh(kernel)[0] > -1e-12


def test_a_users_kernel_is_taken_as_it_is(tmp_path):
    values = np.array([[4.0, 1, 0], [1, 1, 0], [0, 0, 2]])
    path = table(tmp_path / "k.csv", ["B", "A", "Z"], ["B", "A", "Z"], values)
    kernel = kernels.of_table(path, NAMES)
    assert kernel[0, 1] == kernel[1, 0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[1, 0.5, 0], [0.1, 1, 0], [0, 0, 1]], "no symmetric kernel: A to B is 0.5"),
        ([[1, 2, 0], [2, 1, 0], [0, 0, 1]], "smallest eigenvalue is -1"),
        ([[1, 0, 0], [0, 0, 0], [0, 0, 1]], "smallest diagonal entry 0"),
        ([[1, np.inf, 0], [0, 1, 0], [0, 0, 1]], "no finite numbers"),
    ],
)
def test_what_is_no_kernel_is_refused(tmp_path, values, said):
    path = tmp_path / "k.npz"
    np.savez(path, genes=np.array(NAMES), conditions=np.array(NAMES), effects=np.array(values))
    if "finite" in said:
        values[0][1] = np.inf
    with pytest.raises(InputError, match=said):
        kernels.of_table(str(path), NAMES)


def test_a_table_of_other_genes_is_refused(tmp_path):
    path = table(tmp_path / "e.csv", ["X", "Y"], ["d"], [[1], [2]])
    with pytest.raises(InputError, match="none of the 3 perturbed genes"):
        kernels.of_table(path, NAMES)
