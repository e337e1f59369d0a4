"""Leaving pairs out: what each fold trains on, resuming, and scores that an oracle must reach."""

from dataclasses import replace

import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.models.gears.paper import folds, pairs
from support import pairs_screen

FEW = {"most_subsets": 40, "most_steps": 20}
ALL = np.arange(pairs_screen.GENES)


@pytest.fixture(scope="module")
def screen():
    return pairs_screen.dataset()


def in_split(dataset, split):
    return {dataset.conditions[c] for c in np.unique(dataset.condition[dataset.rows(split)])}


def test_a_fold_for_every_pair_with_both_singles(screen):
    planned = folds.plan(screen)
    assert [fold.name for fold in planned] == ["g0+g1", "g0+g2", "g1+g2", "X+g0"]
    lonely = replace(screen, condition=np.where(screen.condition == 4, 0, screen.condition))
    assert [fold.name for fold in folds.plan(lonely)] == ["g0+g1", "g0+g2", "g1+g2"], (
        "X has no cells alone"
    )
    with pytest.raises(InputError, match="no pair with both singles"):
        folds.plan(replace(screen, condition=np.minimum(screen.condition, 4)))
    with pytest.raises(InputError, match="expected one of pair, gene"):
        folds.plan(screen, "cell")


def test_training_never_sees_what_a_fold_leaves_out(screen):
    fold = folds.plan(screen)[0]
    split = folds.split_of(screen, fold, val_share=0.4)
    assert in_split(split, "test") == {"g0+g1"} and not in_split(split, "dropped")
    assert len(in_split(split, "val")) == 1 and in_split(split, "val") < set(
        pairs_screen.CONDITIONS[5:]
    )
    assert in_split(split, "train") == set(screen.conditions) - in_split(split, "test") - in_split(
        split, "val"
    )
    again, other = (folds.split_of(screen, fold, val_share=0.4, seed=seed) for seed in (0, 1))
    assert np.array_equal(split.split, again.split) and not np.array_equal(split.split, other.split)
    assert not in_split(folds.split_of(screen, fold, val_share=0.0), "val")


def test_seen_one_leaves_out_a_gene_altogether(screen):
    planned = {fold.name: fold for fold in folds.plan(screen, "gene")}
    assert (
        planned.keys() == {"g0", "g1", "g2", "X"}
        and sum(len(f.pairs) for f in planned.values()) == 2 * 4
    )
    assert planned["g1"].held == ("g1+ctrl", "g0+g1", "g1+g2") and planned["g1"].pairs == (
        "g0+g1",
        "g1+g2",
    )
    split = folds.split_of(screen, planned["g1"], val_share=0.0)
    assert in_split(split, "dropped") == {"g1+ctrl"} and in_split(split, "test") == {
        "g0+g1",
        "g1+g2",
    }


def oracle(calls, uncertainty=True):
    """Predicts what was measured."""

    def fit(dataset, names, seed):
        calls.append((tuple(names), seed))
        truth = pairs.measured_effects(replace(dataset, split=None))
        effects = truth[[dataset.conditions.index(name) for name in names]]
        return folds.Predicted(
            effects, np.arange(len(names), dtype=float) + len(calls) if uncertainty else None
        )

    return fit


def test_an_interrupted_run_goes_on_and_an_oracle_finds_everything(screen, tmp_path):
    calls: list = []
    planned = folds.plan(screen)

    def dies(dataset, names, seed):
        if len(calls) == 2:
            raise KeyboardInterrupt
        return oracle(calls)(dataset, names, seed)

    with pytest.raises(KeyboardInterrupt):
        folds.run(screen, planned, dies, tmp_path / "new", seed=3, settings={"epochs": 1})
    found = folds.run(
        screen, planned, oracle(calls), tmp_path / "new", seed=3, settings={"epochs": 1}
    )
    assert [names for names, _ in calls] == [(f.name, *singles(f.name)) for f in planned], (
        "each fold once"
    )
    assert {seed for _, seed in calls} == {3}
    assert found.pairs == [fold.name for fold in planned] and found.uncertainty is not None
    truth = pairs.measured_effects(screen)
    np.testing.assert_allclose(
        found.parts.first[3], truth[screen.conditions.index("g0+ctrl")], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        found.parts.second[3], truth[screen.conditions.index("X+ctrl")], rtol=1e-5, atol=1e-6
    )
    rows = pairs.compare(screen, found, ALL, **FEW)
    assert [row["subtype"] for row in rows][:2] == ["synergy", "suppression"]
    for row in rows:
        assert row["top_10_accuracy"] == 1 and row["true"] == row["predicted"] and row["k"] == 4
        assert row["precision_at_10"] == row["chance"]["precision_at_10"][0] == row["true"] / 4
    with pytest.raises(InputError, match=r"other settings \(epochs; epochs was 1 and is now 2\)"):
        folds.run(screen, planned, oracle(calls), tmp_path / "new", seed=3, settings={"epochs": 2})
    next((tmp_path / "new").glob("g0_g1*")).write_bytes(b"PK")
    with pytest.raises(InputError, match="g0_g1.* cannot be read"):
        folds.run(screen, planned, oracle(calls), tmp_path / "new", seed=3, settings={"epochs": 1})


def singles(pair):
    return [f"{gene}+ctrl" for gene in sorted(pair.split("+"), key=pairs_screen.PERTURBED.index)]


def test_the_more_certain_half_of_predictions_by_gene(screen, tmp_path):
    found = folds.run(screen, folds.plan(screen, "gene"), oracle([]), tmp_path / "a")
    assert len(found.pairs) == 8 and sorted(set(found.pairs)) == sorted(
        pairs.measured_pairs(screen)
    )
    assert found.uncertainty is not None
    half = pairs.more_certain_half(found)
    assert half.uncertainty is not None
    assert half.uncertainty.max() <= np.median(found.uncertainty) and len(half.pairs) == 4
    np.testing.assert_array_equal(
        half.parts.both, found.parts.both[np.sort(np.argsort(found.uncertainty, kind="stable")[:4])]
    )
    without = folds.run(screen, folds.plan(screen, "gene"), oracle([], False), tmp_path / "b")
    with pytest.raises(InputError, match="gives no uncertainty"):
        pairs.more_certain_half(without)


def test_folds_that_answer_wrongly(screen, tmp_path):
    with pytest.raises(InputError, match=r"shape \(1, 30\), expected \(3, 30\)"):
        folds.run(
            screen,
            folds.plan(screen),
            lambda *_: folds.Predicted(np.zeros((1, 30))),
            tmp_path / "a",
        )
    with pytest.raises(InputError, match="less than 1"):
        folds.run(screen, folds.plan(screen), oracle([]), tmp_path / "b", val_share=1.0)
    assert not (tmp_path / "b").exists()
