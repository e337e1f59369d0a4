"""The pass rate is the share of generated cells that pass, per condition and overall."""

import jax
import numpy as np
import pytest

from jaxpert.evaluation.quality_pass import divided, pass_rate

KEY = jax.random.key(3)


def label(counts):
    """Fails cells whose third gene dominates, which treatment 1 raises."""
    x = counts.toarray()
    return x[:, 2] > 0.5 * x.sum(1)


def test_rates_per_condition_and_overall(toys):
    ask = toys.request(4, 1000.0)
    rates = pass_rate(toys.counts, toys.params, {}, KEY, ask, label, parts=divided(30))
    by_row = np.array(rates["per_condition"])
    assert rates["cells"] == 120 and rates["library"] == "request" and rates["empty"] == 0
    assert rates["parts"] == 10
    assert rates["overall"] == pytest.approx(by_row.mean())
    assert by_row[2] < 0.6 < 0.9 < by_row[[0, 1, 3]].min()


def test_the_passing_share_is_reported_even_when_most_fail(toys):
    def all_fail(counts):
        return np.ones(counts.shape[0], bool)

    rates = pass_rate(
        toys.counts,
        toys.params,
        {},
        KEY,
        toys.request(4),
        all_fail,
        parts=divided(20),
    )
    assert rates["overall"] == 0 and rates["cells"] == 80


def test_each_part_holds_cells_of_every_condition(toys):
    sizes = []

    def count(counts):
        sizes.append(counts.shape)
        return np.zeros(counts.shape[0], bool)

    assert (
        pass_rate(toys.counts, toys.params, {}, KEY, toys.request(4), count, parts=divided(25))[
            "overall"
        ]
        == 1
    )
    assert [n for n, _ in sizes] == [12] * 5 + [8] * 5 and sizes[0][1] == toys.GENES


def test_resampled_libraries_and_empty_cells_are_stated(toys):
    ask, libraries = toys.request(4), np.array([0.0, 100.0])
    rates = pass_rate(
        toys.counts, toys.params, {}, KEY, ask, label, parts=divided(20), libraries=libraries
    )
    assert rates["library"] == "resampled" and 20 < rates["empty"] < 60
