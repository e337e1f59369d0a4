"""Splits: shares, exclusiveness, and every way in which they cannot be made."""

from dataclasses import replace

import numpy as np
import pytest

from jaxpert import data
from jaxpert.core.types import SPLITS, InputError


@pytest.fixture
def pairs(screen):
    """Six genes, all their singles and 8 pairs; gene F occurs only in pairs."""
    singles = [f"{gene}+ctrl" for gene in "ABCDE"]
    combinations = ["A+B", "A+C", "B+C", "C+D", "D+E", "A+E", "A+F", "E+F"]
    return screen(["ctrl"] * 50 + sorted(singles * 20) + sorted(combinations * 20))


def test_combinations(pairs):
    dataset = data.add_split(data.read(pairs), kind="combinations", seed=3)
    treatments = dataset.condition_treatments.sum(axis=1)[dataset.condition]
    by_split = {name: dataset.rows(name) for name in SPLITS}
    test = set(dataset.condition[by_split["test"]])
    assert len(test) == 2 and (treatments[by_split["test"]] == 2).all()
    assert not test & set(dataset.condition[np.r_[by_split["train"], by_split["val"]]])
    assert (treatments[by_split["dropped"]] == 2).all()
    assert sum(map(len, by_split.values())) == len(dataset.cells)
    single = np.flatnonzero(treatments < 2)
    assert np.isin(single, by_split["train"]).mean() == pytest.approx(0.8, abs=0.01)
    assert any(note.startswith("2 conditions are evaluated without") for note in dataset.notes)
    other = data.add_split(data.read(pairs), seed=4)
    assert (other.split != dataset.split).any()


def test_held_out_gene_never_perturbed_is_named(screen):
    labels = ["ctrl"] * 30 + ["A+ctrl"] * 20 + sorted([f"A+{gene}" for gene in "BCDE"] * 20)
    dataset = data.add_split(data.read(screen(labels)), kind="combinations")
    (held_out,) = set(dataset.condition[dataset.rows("test")])
    pair = dataset.conditions[held_out]
    (note,) = (note for note in dataset.notes if "rests on the model's prior" in note)
    assert f"{pair} ({pair[-1]})" in note


def test_cells(pairs):
    dataset = data.add_split(data.read(pairs), kind="cells")
    np.testing.assert_allclose(
        np.bincount(dataset.split, minlength=4) / len(dataset.cells),
        [0.64, 0.16, 0.2, 0],
        atol=0.01,
    )


def test_column(pairs):
    pairs.obs["set"] = np.resize(["train", "val", "test", "train", "dropped"], len(pairs))
    dataset = data.add_split(data.read(pairs), kind="column", column="set")
    assert [SPLITS[code] for code in dataset.split] == list(pairs.obs["set"])
    pairs.obs["set"] = pairs.obs["set"].replace("val", "valid")
    with pytest.raises(InputError, match="'valid', expected train, val, test, dropped"):
        data.add_split(data.read(pairs), kind="column", column="set")
    with pytest.raises(InputError, match="split.column"):
        data.add_split(data.read(pairs), kind="column")
    with pytest.raises(InputError, match="split.column"):
        data.add_split(data.read(pairs), kind="column", column="fold")


def test_everything_for_training(pairs):
    assert not data.add_split(data.read(pairs), kind="none").split.any()


def test_impossible_splits(screen, pairs):
    plain = data.read(screen(["ctrl"] * 20 + ["A+ctrl"] * 20))
    with pytest.raises(InputError, match="0 conditions with two treatments.*split.kind=cells"):
        data.add_split(plain, kind="combinations")
    with pytest.raises(InputError, match="split.kind"):
        data.add_split(plain, kind="random")
    with pytest.raises(InputError, match="no cell into val and test"):
        data.add_split(data.read(screen(["ctrl"])), kind="cells")
    pairs.obs["set"] = "train"
    with pytest.raises(InputError, match=r"no cell into val and test \(train 310, val 0"):
        data.add_split(data.read(pairs), kind="column", column="set")
    pairs.obs["set"] = np.where(
        pairs.obs["condition"] == "ctrl", "val", np.resize(["train", "test"], len(pairs))
    )
    with pytest.raises(InputError, match="no control cell"):
        data.add_split(data.read(pairs), kind="column", column="set")


def test_rows_before_a_split(pairs):
    with pytest.raises(InputError, match="add_split"):
        data.read(pairs).rows("train")


def labelled(screen, failed):
    """Control, A and B, with the given cells labelled as failed and a split of cells."""
    dataset = data.read(screen(["ctrl"] * 60 + ["A+ctrl"] * 60 + ["B+ctrl"] * 30))
    dataset = data.add_split(data.add_quality(dataset, doublets="none"), kind="cells")
    return replace(dataset, quality=replace(dataset.quality, failed=failed(dataset)))


def test_failed_cells_leave_train_and_val_only(screen):
    dataset = labelled(
        screen, lambda d: (np.arange(150) % 3 == 0) | (d.condition == d.conditions.index("B+ctrl"))
    )
    kept = data.drop_failed(dataset)
    failed = dataset.quality.failed
    for name in ("train", "val"):
        rows = dataset.rows(name)
        np.testing.assert_array_equal(kept.rows(name), rows[~failed[rows]])
    np.testing.assert_array_equal(kept.rows("test"), dataset.rows("test"))
    assert failed[kept.rows("test")].any()
    gone = len(kept.rows("dropped")) - len(dataset.rows("dropped"))
    note = kept.notes[-1]
    assert (
        note.startswith(f"{gone} cells of train and val fail")
        and "1 conditions lose" in note
        and "B+ctrl" in note
    )


def test_failed_cells_cannot_be_dropped_where_all_fail_or_nothing_is_known(screen):
    with pytest.raises(
        InputError, match=r"no cell into train and val.*set quality.training_cells=all"
    ):
        data.drop_failed(labelled(screen, lambda d: np.ones(150, bool)))
    with pytest.raises(InputError, match="no control cell"):
        data.drop_failed(labelled(screen, lambda d: d.condition == d.control))
    with pytest.raises(InputError, match="lacks quality labels or a split"):
        data.drop_failed(data.read(screen(["ctrl"] * 30 + ["A+ctrl"] * 20)))
