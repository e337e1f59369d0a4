"""Every perturbation by itself."""

import numpy as np
import pytest

from jaxpert.evaluation.by_perturbation import by_perturbation, target_of
from jaxpert.evaluation.noise import Noise
from jaxpert.evaluation.sums import Screen

NAMES = ("ctrl", "A", "B", "C", "D")
RNG = np.random.default_rng(3)
OBSERVED = RNG.normal(size=(5, 40))


def screen(**more) -> Screen:
    subsets = {"all": np.arange(1, 5), "test": np.array([1, 2]), "train": np.array([3, 4])}
    return Screen(conditions=NAMES, control=0, subsets=subsets, **more)


def table(observed=OBSERVED, held_out=None, facts=None, **more):
    predictions = {
        "model": OBSERVED + 0.1 * RNG.normal(size=OBSERVED.shape),
        "no_change": np.zeros_like(OBSERVED),
        "near": OBSERVED + RNG.normal(size=OBSERVED.shape),
        "far": RNG.normal(size=OBSERVED.shape),
    }
    facts = facts or {"split": ["train", "test", "test", "train", "train"]}
    of = screen(**more)
    return by_perturbation(target_of(observed, of, held_out), predictions, of, facts), predictions


def test_columns_are_what_they_are_called():
    part, predictions = table(facts={"split": ["t"] * 5, "cells": np.arange(5)})
    columns = part["columns"]
    assert columns["perturbation"] == ["A", "B", "C", "D"] and columns["cells"] == [1, 2, 3, 4]
    for i in range(4):
        measured, model = OBSERVED[i + 1], predictions["model"][i + 1]
        assert columns["match"][i] == pytest.approx(np.corrcoef(measured, model)[0, 1])
        assert columns["error"][i] == pytest.approx(np.mean((measured - model) ** 2))
        assert columns["effect_size"][i] == pytest.approx(np.sqrt(np.mean(measured**2)))
        near = np.corrcoef(measured, predictions["near"][i + 1])[0, 1]
        far = np.corrcoef(measured, predictions["far"][i + 1])[0, 1]
        assert columns["best_baseline"][i] == ("near" if near > far else "far")
        assert columns["best_baseline_match"][i] == pytest.approx(max(near, far))
    assert part["rival"] == "near" and part["score"] == "pearson_delta"
    assert "noise" not in columns, "nobody told it"


def test_ranks_are_within_a_split():
    columns = table()[0]["columns"]
    for pair in (slice(0, 2), slice(2, 4)):
        best = np.argmax(columns["match"][pair])
        assert columns["rank"][pair][best] == 1 and sorted(columns["rank"][pair]) == [1, 2]
    assert columns["of"] == [2, 2, 2, 2]


def test_what_was_not_measured_has_no_row_and_noise_is_told():
    observed = OBSERVED.copy()
    observed[2] = np.nan
    noise = Noise(np.full_like(OBSERVED, 0.03), np.full(40, 0.01), np.ones(5))
    columns = table(observed, noise=noise)[0]["columns"]
    assert columns["perturbation"] == ["A", "C", "D"]
    assert columns["noise"] == pytest.approx([0.2] * 3)


def test_test_cells_alone_are_the_target_where_there_are_some():
    held_out = np.full_like(OBSERVED, np.nan)
    held_out[[0, 1]] = 2 * OBSERVED[[0, 1]]
    columns = table(held_out=held_out)[0]["columns"]
    assert columns["measured_on"] == ["test cells", "all cells", "all cells", "all cells"]
    assert columns["effect_size"][0] == pytest.approx(2 * np.sqrt(np.mean(OBSERVED[1] ** 2)))


def test_without_a_baseline_that_has_a_correlation_there_is_no_rival():
    of = screen()
    predictions = {"model": OBSERVED, "no_change": np.zeros_like(OBSERVED)}
    target = target_of(OBSERVED, of, None)
    part = by_perturbation(target, predictions, of, {"split": ["test"] * 5})
    assert part["rival"] is None and "rival_match" not in part["columns"]
    assert part["columns"]["best_baseline"] == [None] * 4
