"""Rows from a config, and files that it cannot use."""

import anndata
import numpy as np
import pytest

from jaxpert import simulate
from jaxpert.core.types import InputError
from jaxpert.tasks.translation.load import load_rows
from jaxpert.tasks.translation.rows import blocks_of_rows
from support.cycseq_runs import config


@pytest.fixture(scope="module")
def cells():
    """Two small lines."""
    adata, _ = simulate.simulate(
        "lines_tiny", cells=400, genes=130, lines=2, singles=3, line_log_sd=0.3
    )
    return adata


def test_a_split_by_replicate_leaves_the_shares_of_the_config_alone():
    prepared, _ = load_rows(config(split__kind="replicate"))
    assert sum(len(block.x) for block in blocks_of_rows(prepared, "val")) > 0


def test_files_that_cannot_be_used(cells, tmp_path):
    cells.write_h5ad(tmp_path / "lines.h5ad")
    other = cells.copy()
    other.var_names = [f"OTHER{i}" for i in range(cells.n_vars)]
    other.write_h5ad(tmp_path / "other.h5ad")
    keep = (cells.obs["line"] != "line2") | (cells.obs["perturbation"] != "ctrl")
    cells[np.asarray(keep)].copy().write_h5ad(tmp_path / "without.h5ad")
    single: anndata.AnnData = cells.copy()
    batch = single.obs["batch"].astype(str).to_numpy()
    batch[np.flatnonzero(single.obs["perturbation"] == "ctrl")[0]] = "alone"
    single.obs["batch"] = batch
    single.write_h5ad(tmp_path / "single.h5ad")
    for name, message, more in (
        (f"{tmp_path}/lines.h5ad,{tmp_path}/other.h5ad", "no gene is in all of", {}),
        (f"{tmp_path}/without.h5ad", "1 lines have no control cell .line2.", {}),
        (f"{tmp_path}/single.h5ad", "have one cell to be adjusted by", {"data__batch": "batch"}),
    ):
        with pytest.raises(InputError, match=message):
            load_rows(config(data__source=name, data__lines="", **more))
