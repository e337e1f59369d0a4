"""A screen written piece by piece is the one that is simulated at once."""

import anndata
import numpy as np
import pytest

from jaxpert.core.errors import InputError
from jaxpert.simulate import simulate, store, write_screen

OPTIONS = {"cells": 90, "genes": 100, "singles": 4, "pairs": 0, "reference_cells": 2}


@pytest.mark.parametrize("ending", ["h5ad", "zarr"])
def test_a_screen_in_pieces_is_that_of_one(tmp_path, ending):
    path = tmp_path / f"screen.{ending}"
    truth = write_screen(path, "tiny", seed=3, chunk=40, workers=1, **OPTIONS)
    expected, _ = simulate("tiny", seed=3, **OPTIONS)
    found = getattr(anndata, f"read_{ending}")(path)
    np.testing.assert_array_equal(found.X.toarray(), expected.X.toarray())
    assert found.obs.equals(expected.obs) and list(found.var_names) == list(truth.genes)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_an_error_leaves_no_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_write", full)
    for ending in ("h5ad", "zarr"):
        with pytest.raises(OSError, match="No space"):
            write_screen(tmp_path / f"screen.{ending}", "tiny", workers=1, **OPTIONS)
    assert not list(tmp_path.iterdir())


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a name that ends in .h5ad or .zarr: rename it"):
        write_screen(tmp_path / "screen.csv")
