"""Draws, rows and ComBat against the arrays of the published CycSeq code and of inmoose."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert.tasks.translation import rows as spectra_rows
from jaxpert.tasks.translation.columns import address_genes, assign_columns
from jaxpert.tasks.translation.combat import apply_affine, combat
from jaxpert.tasks.translation.lines import load_lines
from jaxpert.tasks.translation.log_scale import GroupMoments
from jaxpert.tasks.translation.prepare import prepare

CELLS = "cropseq_K562_NK1_16"


@pytest.fixture(scope="module")
def rows(cycseq_arrays):
    return cycseq_arrays("data_rows")


@pytest.fixture(scope="module")
def prepared(rows):
    """The toy run's cells as one file of normalised values: AR, TTK and a target outside the genes,
    with controls."""
    targets = ("AR", "TTK", "NOTIN", "control")
    matrices = {target: rows[f"matrix/{CELLS}_{target}"].T for target in targets}
    obs = pd.DataFrame(
        {"condition": np.repeat(targets, [len(m) for m in matrices.values()]), "cell_type": CELLS},
        index=[f"c{i}" for i in range(sum(map(len, matrices.values())))],
    )
    x = sparse.csr_matrix(np.concatenate(list(matrices.values())))
    adata = anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=rows["genes"].astype(str)))
    dataset = load_lines(adata, control="control", normalised=True)
    dataset = address_genes(dataset, substring=True)
    columns = tuple(rows["batch_labels"].astype(str))
    dataset = assign_columns(dataset, columns)
    return prepare(
        dataset, lognorm="given", combat_reference=None, draw="published", validation_replicate=12
    )


def drawn(rows):
    """(target, replicate from 0) of every stored draw."""
    names = [
        key.removeprefix(f"cells/{CELLS}_").rsplit("_", 1)
        for key in rows
        if key.startswith("cells/")
    ]
    return [(target, int(replicate) - 1) for target, replicate in names]


def test_the_published_draws_are_repeated(rows, prepared):
    for target, replicate in drawn(rows):
        condition = prepared.dataset.conditions.index(target)
        pool = int(
            np.flatnonzero(prepared.pseudobulk.condition[prepared.draws.group] == condition)[0]
        )
        cells = prepared.pseudobulk.of(int(prepared.draws.group[pool]))
        expected = cells[rows[f"cells/{CELLS}_{target}_{replicate + 1}"]]
        np.testing.assert_array_equal(prepared.draws.cells[pool, replicate], expected)


def test_rows_are_expression_then_targets_then_batch(rows, prepared):
    found = {}
    for block in (
        block
        for split in ("train", "val")
        for block in spectra_rows.blocks_of_rows(prepared, split)
    ):
        for pair, x in zip(block.pair, block.x, strict=True):
            condition = prepared.dataset.conditions[prepared.pairs.condition[pair]]
            batch = np.eye(len(prepared.dataset.strata))[prepared.pairs.batch[pair]]
            table = prepared.dataset.condition_treatments[prepared.pairs.condition[pair]]
            found[condition, int(prepared.pairs.replicate[pair])] = np.concatenate(
                [x, table, batch]
            )
    for target, replicate in drawn(rows):
        name = f"{CELLS}_{target}_{replicate + 1}"
        np.testing.assert_allclose(
            found[target, replicate], rows[f"row/{name}"], rtol=1e-5, atol=1e-6
        )
        np.testing.assert_array_equal(found[target, replicate][10:20], rows[f"cls/{name}"])


def test_pairs_are_those_of_the_files_but_for_targets_outside_the_genes(rows, prepared):
    """The published code leaves NOTIN out; here it stays, as a row without a target."""
    pairs = prepared.pairs
    names = {
        f"{CELLS}_{prepared.dataset.conditions[c]}_{r + 1}.csv"
        for c, r in zip(pairs.condition, pairs.replicate, strict=True)
        if prepared.dataset.condition_treatments[c].any()
    }
    assert names == set(rows["feature_files"].astype(str))
    controls = {f"{CELLS}_control_{r + 1}.csv" for r in pairs.replicate}
    assert controls == set(rows["label_files"].astype(str))


def moments(x, batch):
    parts = [x[:, batch == b] for b in range(batch.max() + 1)]
    return GroupMoments(
        np.bincount(batch),
        np.stack([p.mean(1) for p in parts]),
        np.stack([p.var(1) for p in parts]),
    )


@pytest.fixture(scope="module")
def problems(cycseq_arrays):
    """{name: (cells, batches, adjusted jointly, adjusted to batch 0, as by the defective package,
    columns kept)}."""
    a = cycseq_arrays("combat")
    joined = np.concatenate(
        [a["ref"], *(a[f"in/{name.removesuffix('.csv')}"] for name in a["file_order"])], 1
    )
    np.testing.assert_array_equal(
        [name.removesuffix(".csv") for name in a["adjusted_files"]], ["A"] * 18 + ["B"] * 12
    )
    return {
        "adjusted": (
            joined,
            np.repeat([0, 1], [40, 30]),
            a["adjusted_joint_inmoose"],
            a["adjusted_refbatch_inmoose"],
            a["adjusted_combat033"],
            slice(40, None),
        ),
        "three": (
            a["three_input"],
            a["three_labels"],
            a["three_joint_inmoose"],
            a["three_refbatch0_inmoose"],
            a["three_joint_combat033"],
            slice(None),
        ),
    }


@pytest.mark.parametrize("name", ["adjusted", "three"])
@pytest.mark.parametrize("reference", [None, 0])
def test_combat_is_that_of_inmoose(problems, name, reference):
    x, batch, joint, to_reference, defective, kept = problems[name]
    expected = joint if reference is None else to_reference
    fitted = combat(moments(x, batch), reference, stopping="signed")
    adjusted = apply_affine(fitted.affine, batch, x.T).T
    np.testing.assert_allclose(adjusted[:, kept], expected, rtol=1e-12, atol=1e-12)
    # The package that the published code calls mixes genes up; its arrays are another thing.
    assert reference is not None or np.abs(adjusted[:, kept] - defective).max() > 0.1
    absolute = apply_affine(combat(moments(x, batch), reference).affine, batch, x.T).T
    np.testing.assert_allclose(absolute[:, kept], expected, atol=2e-5)
    if reference == 0 and name == "three":
        np.testing.assert_array_equal(adjusted[:, batch == 0], x[:, batch == 0])
