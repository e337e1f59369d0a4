"""Kernels between perturbed genes, and what is no kernel."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from jaxpert.core.types import InputError
from jaxpert.models.set_gp import kernels
from jaxpert.models.set_gp.settings import Settings
from support import toy, training_means

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


def test_like_genes_under_opposite_signs_have_opposite_effects(tmp_path):
    vectors = table(tmp_path / "e.csv", NAMES, ["d1", "d2"], [[1, 0], [2, 0], [-3, 1]])
    signs = table(tmp_path / "s.csv", ["C", "B", "A"], ["sign"], [[1], [-1], [1]])
    dataset = replace(toy.dataset(), treatments=NAMES, terms={}, graphs={})
    training = training_means.training()[0]
    made = []
    for path in ("", signs):
        settings = Settings(embeddings=vectors, responses=False, signs=path)
        made.append(kernels.gene_kernels(dataset, training, settings))
    sign = np.array([1, -1, 1])
    plain, signed = (of["embeddings"] for of in made)
    np.testing.assert_array_equal(signed, plain * sign * sign[:, None])
    assert signed[0, 1] < 0 < plain[0, 1]
    np.testing.assert_array_equal(made[1]["own"], np.eye(3))


@pytest.mark.parametrize(
    ("rows", "values", "said"),
    [
        (["A", "B"], [[1], [1]], "no sign of 1 of the 3 treatments"),
        (["A", "B", "C"], [[1], [0], [1]], "not 1 and -1 alone"),
        (["A", "B", "C"], [[1, 1]] * 3, "has 2 columns"),
    ],
)
def test_signs_of_some_treatments_or_of_no_kind_are_refused(tmp_path, rows, values, said):
    columns = [f"c{i}" for i in range(len(values[0]))]
    path = table(tmp_path / "s.csv", rows, columns, values)
    with pytest.raises(InputError, match=said):
        kernels.of_signs(path, NAMES)
