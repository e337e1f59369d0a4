"""Several scores and baselines at once."""

import numpy as np
import pytest

from jaxpert.evaluation.claims import HEADLINE, claims, holm, outcome
from jaxpert.evaluation.intervals import Difference

NAN = float("nan")


def gap(p, sign=1):
    """A difference with this two-sided p-value; the interval is of no matter to claims."""
    return Difference(sign * 0.5, NAN, NAN, p)


def test_outcome_knows_which_way_is_better():
    assert outcome("ate_r2", Difference(0.2, 0.1, 0.3)) == "better"
    assert outcome("mse", Difference(0.2, 0.1, 0.3)) == "worse"
    assert outcome("mse", Difference(-0.2, -0.3, -0.1)) == "better"
    assert outcome("mse", Difference(0.2, NAN, NAN)) == "undecided"


def test_holm_by_hand():
    corrected = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": NAN})
    # 3 x 0.01, then 2 x 0.03, then 1 x 0.04 which may not be below the one before.
    assert corrected["a"] == pytest.approx(0.03)
    assert corrected["c"] == corrected["b"] == pytest.approx(0.06)
    assert np.isnan(corrected["d"])


def test_better_needs_every_baseline():
    strong = {"ate_r2": {"weak": gap(1e-6), "strong": gap(1e-4)}}
    claim = claims(strong)["ate_r2"]
    assert claim.outcome == "better" and claim.rival == "strong"
    assert claim.p == pytest.approx(0.5e-4), "the hardest rival alone decides, without correction"
    assert (
        claims({"ate_r2": strong["ate_r2"] | {"third": gap(0.2)}})["ate_r2"].outcome == "undecided"
    )
    # A baseline without interval leaves the question open.
    unknown = claims({"ate_r2": strong["ate_r2"] | {"third": gap(NAN)}})["ate_r2"]
    assert unknown.outcome == "undecided" and np.isnan(unknown.p)


def test_worse_is_corrected_for_the_number_of_baselines():
    behind = {f"b{i}": gap(0.5) for i in range(4)} | {"best": gap(0.015, -1)}
    claim = claims({"ate_r2": behind})["ate_r2"]
    # 5 baselines x 0.0075 is more than 0.025, one baseline x 0.0075 is not.
    assert claim.outcome == "undecided"
    alone = claims({"ate_r2": {"best": gap(0.015, -1)}})["ate_r2"]
    assert alone.outcome == "worse" and alone.rival == "best" and alone.p == pytest.approx(0.0075)


def test_headline_scores_share_one_level_and_others_do_not():
    compared = {name: {"b": gap(0.02, -1 if name == "mse" else 1)} for name in HEADLINE}
    compared["pearson_delta"] = {"b": gap(0.02)}
    made = claims(compared)
    # One-sided 0.01 each: 6 x 0.01 is above 0.025, and Holm's first step ends it.
    assert {made[name].outcome for name in HEADLINE} == {"undecided"}
    assert made["pearson_delta"].outcome == "better"
    compared["ate_r2"] = {"b": gap(0.001)}
    made = claims(compared)
    assert made["ate_r2"].outcome == "better" and made["mse"].outcome == "undecided"


def test_a_score_that_does_not_count_is_neither_claimed_nor_paid_for():
    compared = {"ate_r2": {"b": gap(0.04)}, "ate_pearson": {"b": gap(1e-9)}}
    assert claims(compared)["ate_r2"].outcome == "better"
    made = claims(compared | {"mse": {"b": gap(0.9)}})
    assert made["ate_r2"].outcome == "undecided", "two scores are left after the first"
    made = claims(compared | {"mse": {"b": gap(1e-9, -1)}}, uncounted=["mse"])
    assert made["ate_r2"].outcome == "better"
    assert made["mse"].outcome == "undecided" and not made["mse"].counted
