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


def test_names_with_commas(cells, tmp_path):
    """Files, lines and perturbations may hold the comma that joins lists."""
    adata = cells.copy()
    line = adata.obs["line"].astype(str)
    adata.obs["line"] = line.where(line != "line1", "MCF7, p53")
    (tmp_path / "run 1,2").mkdir()
    path = tmp_path / "run 1,2/a, b.h5ad"
    adata.write_h5ad(path)
    keys = {"data__source": str(path), "data__lines": "MCF7, p53", "split__kind": "replicate"}
    prepared, _ = load_rows(config(**keys))
    assert prepared.pseudobulk.lines == ("MCF7, p53",)
    # With a second file beside, a name in quotes is one.
    cells.write_h5ad(tmp_path / "c.h5ad")
    both = f'"{path}",{tmp_path}/c.h5ad'
    prepared, _ = load_rows(config(**keys | {"data__source": both, "data__lines": ""}))
    assert set(prepared.dataset.obs["file"]) == {"a, b", "c"}


def test_pairs_are_named_in_any_order():
    from jaxpert.tasks.translation.groups import find_effect_groups, groups_asked

    prepared, _ = load_rows(config(split__kind="replicate"))
    groups = find_effect_groups(prepared)
    condition, line = groups.names[0].rsplit(" in ", 1)
    assert groups_asked(prepared, groups, (f"ctrl+{condition} in {line}",)) == [0]
    with pytest.raises(InputError, match="evaluation.shown asks for 'X in Y'"):
        groups_asked(prepared, groups, ("X in Y",))
    named = {
        "split__held_out": f"ctrl+{condition} in {line}",
        "split__kind": "perturbation_in_line",
    }
    held, _ = load_rows(config(**named))
    tested = held.pairs.condition[held.pairs.part == 2]
    assert {held.dataset.conditions[c] for c in tested} == {condition}
