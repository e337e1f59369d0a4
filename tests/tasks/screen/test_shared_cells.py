"""Runs of one command read their cells once, and see what they would have read alone."""

import numpy as np
import pytest

from jaxpert.app import run
from jaxpert.tasks.screen import load
from support import finished_run


@pytest.fixture
def reads(monkeypatch):
    calls = []
    given = load.read_source
    monkeypatch.setattr(load, "read_source", lambda config: calls.append(1) or given(config))
    return calls


def config(name="cradle_norman", kind="combinations"):
    raw = finished_run.config(name)
    raw["split"]["kind"] = kind
    return run.read(raw)[0]


def test_cells_are_read_once_for_all_splits(reads):
    with load.shared_cells():
        first, truth = load.load_dataset(config())
        cells, same_truth = load.load_dataset(config(kind="cells"))
    assert len(reads) == 1 and same_truth is truth
    # Files may have changed by the next command.
    alone, _ = load.load_dataset(config())
    assert len(reads) == 2
    assert (first.counts != alone.counts).nnz == 0 and first.notes == alone.notes
    np.testing.assert_array_equal(first.split, alone.split)
    assert (first.split != cells.split).any()


def test_other_cells_are_read_anew(reads):
    with load.shared_cells():
        load.load_dataset(config())
        # GEARS's config has no quality labels, and leaves cells without annotation out.
        other, _ = load.load_dataset(config("gears_norman"))
    assert len(reads) == 2 and other.quality is None
