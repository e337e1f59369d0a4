"""Splits by perturbation, list by list as published."""

from functools import partial

import pytest

from jaxpert.data.perturbation_splits import split_conditions
from support.gene_sets import gene_sets

pytestmark = pytest.mark.parity

UNSEEN = ("g05", "g11")
CASES = {
    "simulation": partial(split_conditions, "simulation"),
    "simulation_50_60": partial(
        split_conditions, "simulation", gene_share=0.5, combination_share=0.6
    ),
    "simulation_single": partial(split_conditions, "simulation_single"),
    "simulation_testperts_g05_g11": partial(split_conditions, "simulation", test_perts=UNSEEN),
    "simulation_only_testperts_g05_g11": partial(
        split_conditions, "simulation", test_perts=UNSEEN, only_test_set_perts=True
    ),
    "combo_seen0": partial(split_conditions, "combo_seen0"),
    "combo_seen1": partial(split_conditions, "combo_seen1"),
    "combo_seen2": partial(split_conditions, "combo_seen2"),
    "combo_seen0_frac0.3": partial(split_conditions, "combo_seen0", share=0.3),
    "single": partial(split_conditions, "single"),
    "no_test": partial(split_conditions, "no_test"),
}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", CASES)
def test_lists(gears_numbers, name, seed):
    recorded = gears_numbers("splits")
    conditions = recorded[
        ("single_only_" if name == "simulation_single" else "") + "conditions_in_order"
    ]
    expected = recorded[f"{name}/seed{seed}"]
    made = CASES[name](genes=gene_sets(conditions), seed=seed)
    assert list(made.train) == expected["train"]
    assert list(made.val) == expected["val"]
    assert list(made.test) == expected["test"]
    assert list(made.dropped) == expected["DROPPED"]
    for ours, theirs in ((made.groups, "test_subgroup"), (made.val_groups, "val_subgroup")):
        if theirs in expected:
            assert {group: list(members) for group, members in ours.items()} == expected[theirs]


def test_every_recorded_split_is_compared(gears_numbers):
    recorded = {key for key in gears_numbers("splits") if "/seed" in key}
    assert recorded == {f"{name}/seed{seed}" for name in CASES for seed in (1, 2, 3)}


def test_dependence_on_order_is_as_recorded(gears_numbers):
    recorded = gears_numbers("splits")
    there = gene_sets(recorded["conditions_in_order"])
    back = dict(reversed(there.items()))
    for kind in ("simulation", "combo_seen2"):
        same = split_conditions(kind, there, 1) == split_conditions(kind, back, 1)
        assert same == recorded[f"_order_invariant_{kind}"]
