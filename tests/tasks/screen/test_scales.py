"""The scale of a file is told from its values or checked against what is declared."""

import numpy as np
import pytest
from scipy import sparse

from jaxpert.core.types import InputError
from jaxpert.tasks.screen import scales


def labels(x):
    return scales.Labels(
        "the file", [f"r{i}" for i in range(x.shape[0])], [f"g{i}" for i in range(x.shape[1])],
        "--scale",
    )  # fmt: skip


def told(x, declared="auto"):
    matrix = sparse.csr_matrix(np.asarray(x, np.float64))
    return scales.tell(matrix, labels(matrix), declared)


@pytest.fixture
def counts():
    return np.random.default_rng(0).poisson(2.0, (30, 25)).astype(float) + np.eye(30, 25)


def normalised(x, total):
    return x / x.sum(1, keepdims=True) * total


def test_scales_are_told(counts):
    assert told(counts).scale == "counts"
    for total in (1e4, 54_321.0):
        assert told(np.log1p(normalised(counts, total))).scale == "log1p"
        assert told(np.log2(1 + normalised(counts, total))).scale == "log2"
    # Rows with totals of their own tell nothing of the base; ln is what tools write.
    assert told(np.log1p(counts * 1.1)).scale == "log1p"
    assert told(-counts, "effects").scale == "effects"


def test_declared_scales_are_checked(counts):
    assert told(counts * 0.3, "counts").sentence.endswith("rarely seen genes are off")
    with pytest.raises(InputError, match="whole numbers alone, expected those of log1p"):
        told(counts, "log1p")
    with pytest.raises(InputError, match="--scale is 'ln', expected one of auto, counts"):
        told(counts, "ln")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: np.where(np.arange(30)[:, None] < 3, np.rint(x * 50), x),
         "3 of 30 rows .*'r0', 'r1', 'r2'.* whole numbers alone and the others decimals"),
        (lambda x: np.where(np.arange(30)[:, None] == 4, np.expm1(x) + 0.5, x),
         "1 of 30 rows of the file .'r4'. hold values up to .* the others none above 15"),
        (lambda x: np.expm1(x) + 0.25, "30 of 30 rows .* hold decimals up to .* take log1p"),
        (lambda x: x - 1, "negative values .first: -1 for gene 'g\\d+' in row 'r0'."),
        (lambda x: np.where(np.arange(25) == 3, np.nan, x),
         "30 values that are not finite .first: nan for gene 'g3' in row 'r0'."),
        (lambda x: np.where(np.arange(25) == 3, np.inf, x), "not finite .first: inf"),
        (lambda x: x * 0, "holds only zeros"),
    ],
)  # fmt: skip
def test_what_no_scale_has_is_refused(change, said, counts):
    with pytest.raises(InputError, match=said):
        told(change(np.log1p(normalised(counts, 1e4))))


def test_to_log2_and_back(counts):
    want = np.log2(1 + normalised(counts, 5e3))
    for x, scale in (
        (counts, "counts"), (np.log1p(normalised(counts, 5e3)), "log1p"), (want, "log2"),
    ):  # fmt: skip
        made = scales.to_log2(sparse.csr_matrix(x), scale, 5e3)
        np.testing.assert_allclose(made.toarray(), want, atol=1e-12)
    effects = sparse.csr_matrix([[np.log(2), -np.log(4)]])
    np.testing.assert_allclose(scales.to_log2(effects, "effects_ln").toarray(), [[1, -2]])


def test_totals(counts):
    logs = sparse.csr_matrix(np.log1p(normalised(counts, 7e3)))
    np.testing.assert_allclose(scales.totals(logs, "log1p"), 7e3)
    assert scales.common_total(scales.totals(logs, "log1p")) == pytest.approx(7e3)
    assert scales.common_total(counts.sum(1)) is None
    assert scales.common_total(np.zeros(3)) is None
