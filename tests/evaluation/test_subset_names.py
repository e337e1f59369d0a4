"""Subsets are called by whose cells they hold."""

from jaxpert.evaluation.subset_names import described


def test_a_split_of_perturbations():
    assert described({"all": 0.5, "train": 1.0, "test": 0.0, "combo_seen1": 0.0}) == {
        "all": "all perturbations, training and test cells",
        "train": "training perturbations",
        "test": "perturbations never trained",
        "combo_seen1": "combo seen1: perturbations never trained",
    }


def test_a_split_of_cells():
    assert described({"train": 1.0, "val": 1.0, "test": 1.0, "held_out": 1.0}) == {
        "train": "training perturbations, training and test cells",
        "val": "validation perturbations, training and validation cells",
        "test": "test perturbations, training and test cells",
        "held_out": "test cells",
    }


def test_nothing_is_said_of_what_is_not_known():
    assert described({"test": float("nan")}) == {"test": "test perturbations"}
