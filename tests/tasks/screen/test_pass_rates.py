"""Doublets count in the pass rate of generated cells only where there are cells enough to call
them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert import data
from jaxpert.core.fit import Fitted
from jaxpert.core.types import Model
from jaxpert.tasks.screen import evaluate
from support import toy


def rounded(params, state, key, request):
    """Counts of about ten for every gene, whatever the condition."""
    del state
    shape = (len(request.library), len(params))
    return jnp.floor(10 * params + jax.random.uniform(key, shape))


@pytest.fixture(scope="module")
def dataset():
    return data.add_quality(toy.dataset(), doublets="none")


@pytest.fixture
def calls(monkeypatch):
    """What the labeller was asked, for every part; it calls the first cell a failed one."""
    asked = []

    def label(counts, classes, bounds, *, doublets, chunks):
        asked.append((counts.shape[0], doublets))
        return np.arange(counts.shape[0]) == 0

    monkeypatch.setattr(data, "label_generated", label)
    return asked


def rates(dataset, **options):
    model = Model(init=None, loss=None, predict=rounded)
    return evaluate.quality_pass_rates(Fitted(model, jnp.ones(12), {}), dataset, **options)


def test_too_few_cells_leave_doublets_out_with_a_note(dataset, calls):
    """Four conditions of 174 cells are 696, four too few."""
    found = rates(dataset, cells_per_condition=174)
    assert {method for _, method in calls} == {"none"} and sum(n for n, _ in calls) == 2 * 696
    (note,) = found["fixed_library"]["notes"]
    assert "scrublet needs 700 cells" in note and "696 were generated" in note
    assert found["resampled_library"]["notes"] == [note]


def test_parts_are_as_many_as_leave_enough_cells_in_each(dataset, calls):
    """With 175 cells of four conditions one part is just enough, with 350 two are."""
    for cells, parts in ((175, 1), (350, 2), (520, 2)):
        calls.clear()
        found = rates(dataset, cells_per_condition=cells)
        assert calls == [(4 * cells // parts, "scrublet")] * (2 * parts)
        rate = found["fixed_library"]
        assert (rate["parts"], rate["notes"], rate["cells"]) == (parts, [], 4 * cells)
        assert rate["overall"] == pytest.approx(1 - parts / (4 * cells))


def test_nothing_is_said_where_no_doublets_were_asked_for(dataset, calls):
    found = rates(dataset, cells_per_condition=20, doublets="none")
    assert calls == [(8, "none")] * 20
    assert found["fixed_library"]["notes"] == [] and found["fixed_library"]["parts"] == 10
