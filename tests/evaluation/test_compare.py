"""Comparison with baselines: right winner, honest words, valid JSON."""

import json

import numpy as np
import pytest
from scipy import sparse

from jaxpert.core.types import Dataset
from jaxpert.evaluation.compare import Screen, compare, json_safe, own_genes, subsets
from jaxpert.evaluation.intervals import Difference
from jaxpert.evaluation.metrics import METRICS
from jaxpert.evaluation.noise import Noise

CONDITIONS, GENES = 25, 80
TEST = np.arange(13, CONDITIONS)


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(0)
    common = rng.normal(size=GENES)
    effects = common + rng.normal(size=(CONDITIONS, GENES))
    effects[0] = 0
    return effects


def noisy(truth, sd, seed=1):
    out = truth + sd * np.random.default_rng(seed).normal(size=truth.shape)
    out[0] = 0
    return out


@pytest.fixture(scope="module")
def screen(truth):
    everything = np.arange(1, CONDITIONS)
    trained = ~np.isin(np.arange(CONDITIONS), TEST)
    return Screen(
        conditions=[f"p{i}" for i in range(CONDITIONS)],
        control=0,
        subsets={"all": everything, "train": everything[:12], "test": TEST},
        trained=trained,
        control_mean=np.random.default_rng(2).gamma(1, 1, GENES),
        reference=truth[1:13].mean(0),
    )


def baselines(truth):
    mean = np.tile(truth[1:13].mean(0), (CONDITIONS, 1))
    mean[0] = 0
    return {"no_change": np.zeros_like(truth), "mean_perturbation": mean}


def test_a_good_model_beats_the_baselines_and_is_said_to(truth, screen):
    observed = noisy(truth, 0.1)
    result = compare(
        observed, {"model": noisy(truth, 0.3, 5), **baselines(truth)}, screen, truth=truth
    )
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert set(result) == {
        "model",
        "baselines",
        "ceiling",
        "ceiling_interval",
        "ceiling_by_halves",
        "half_against_half",
        "progress",
        "calibration",
        "claims",
        "subsets",
        "truth",
        "perturbations",
        "comparison",
        "notes",
        "verdict",
    }
    assert tuple(result["model"]["test"]) == tuple(METRICS)
    assert result["perturbations"] == {"all": 24, "train": 12, "test": 12}
    assert result["baselines"]["no_change"]["test"]["ate_pearson"] is None
    assert "12 perturbations (perturbations never trained)" in result["verdict"]
    assert (
        "beats every baseline on ATE-rho" in result["verdict"] and "loses" not in result["verdict"]
    )
    assert any("no_change" in note and "ATE-rho" in note for note in result["notes"])
    assert any(
        "mean_perturbation" in note and "perturbed reference" in note for note in result["notes"]
    )
    versus = result["comparison"]["test"]["ate_r2"]["mean_perturbation"]
    gap = (
        result["model"]["test"]["ate_r2"]
        - result["baselines"]["mean_perturbation"]["test"]["ate_r2"]
    )
    assert versus["difference"] == pytest.approx(gap) and 0 < versus["low"] < gap < versus["high"]
    assert (
        result["truth"]["observed"]["test"]["ate_pearson"]
        > result["truth"]["model"]["test"]["ate_pearson"]
        > 0.9
    )


def test_a_bad_model_is_said_to_lose(truth, screen):
    result = compare(noisy(truth, 0.1), {"model": noisy(truth, 6.0, 5), **baselines(truth)}, screen)
    assert "loses to a baseline on ATE-rho" in result["verdict"]
    assert "every baseline on ATE" not in result["verdict"]
    assert result["truth"] is None and result["ceiling"] is None


def test_a_copy_of_the_baseline_cannot_be_told_from_it(truth, screen):
    given = baselines(truth)
    result = compare(noisy(truth, 0.1), {"model": given["mean_perturbation"], **given}, screen)
    assert "not told from every baseline on ATE-rho" in result["verdict"]


def test_baselines_with_the_same_outcomes_share_a_part_of_the_verdict(truth, screen):
    given = baselines(truth)
    given |= {"another_mean": given["mean_perturbation"].copy()}
    result = compare(noisy(truth, 0.1), {"model": noisy(truth, 0.3, 5), **given}, screen)
    assert "against mean_perturbation, another_mean it is better on " in result["verdict"]
    assert result["verdict"].count("it is better on") == 2


def test_halves_are_scored_as_they_are_and_corrected(truth, screen):
    halves = noisy(truth, 0.2, 7), noisy(truth, 0.2, 8)
    halves[0][3] = np.nan  # one cell only
    result = compare(
        noisy(truth, 0.1), {"model": truth, **baselines(truth)}, screen, duplicate=halves
    )
    plain, limit = result["half_against_half"], result["ceiling"]
    # Halves of noise 0.2 make cells of noise 0.02 variance, and E(a - b)^2 = 0.08.
    assert plain["test"]["mse"] == pytest.approx(0.08, rel=0.1)
    assert limit["test"]["mse"] == pytest.approx(0.02, rel=0.1)
    assert plain["test"]["ate_pearson"] < limit["test"]["ate_pearson"] < 1
    assert set(plain) == set(limit) == {"test"}, "the halves hold no training cells"
    assert "A perfect model would score" in result["verdict"]
    several = compare(
        noisy(truth, 0.1), {"model": truth, **baselines(truth)}, screen, duplicate=[halves, halves]
    )
    assert several["ceiling"] == result["ceiling"], "a split is averaged with itself"


def test_standard_errors_give_every_score_a_ceiling_and_the_way_there(truth, screen):
    sd = 1.0
    observed = noisy(truth, sd, 3)
    errors = Noise(np.full(truth.shape, sd**2), np.zeros(GENES), np.ones(CONDITIONS))
    predictions = {"model": 0.5 * truth, **baselines(truth)}
    result = compare(observed, predictions, screen._replace(noise=errors))
    limit, ends = result["ceiling"]["test"], result["ceiling_interval"]["test"]
    perfect = compare(observed, {"model": truth, **baselines(truth)}, screen)["model"]["test"]
    assert set(limit) == set(METRICS)
    for name, value in limit.items():
        assert ends[name]["low"] <= value <= ends[name]["high"], name
        assert ends[name]["low"] <= perfect[name] <= ends[name]["high"], name
    assert limit["mse"] == pytest.approx(1.0)
    # The way from the best baseline to the ceiling, by hand.
    best = result["baselines"]["mean_perturbation"]["test"]["mse"]
    share = (best - result["model"]["test"]["mse"]) / (best - 1.0)
    assert result["progress"]["test"]["mse"] == {
        "baseline": "mean_perturbation",
        "share": pytest.approx(share),
    }
    assert 0 < share < 1


def test_a_score_that_cannot_tell_the_ceiling_from_the_mean_is_not_counted(truth, screen):
    sd = 4.0
    same = np.tile(truth[1:13].mean(0), (CONDITIONS, 1)) + 0.05 * truth
    same[0] = 0
    errors = Noise(np.full(truth.shape, sd**2), np.zeros(GENES), np.ones(CONDITIONS))
    result = compare(
        noisy(same, sd, 4),
        {"model": same, **baselines(truth)},
        screen._replace(noise=errors, reference=same[1:13].mean(0)),
    )
    of = result["calibration"]["test"]
    assert not of["ate_r2"]["counted"], "the effects are all but one profile"
    assert not result["claims"]["test"]["ate_r2"]["counted"]
    assert result["claims"]["test"]["ate_r2"]["outcome"] == "undecided"
    assert "Not counted is what cannot tell a perfect model from the mean" in result["verdict"]
    assert "ATE-R2 (" not in result["verdict"].partition("Not counted")[0]


def test_held_out_cells_are_one_more_subset_and_what_the_verdict_speaks_of(truth, screen):
    held_out = noisy(truth, 0.5, 9)
    held_out[:14] = np.nan
    result = compare(
        noisy(truth, 0.1), {"model": truth, **baselines(truth)}, screen, held_out=held_out
    )
    scores = result["model"]
    assert (
        list(scores) == ["all", "train", "test", "held_out"]
        and result["perturbations"]["held_out"] == 11
    )
    assert scores["held_out"]["ate_pearson"] < scores["test"]["ate_pearson"]
    assert scores["held_out"]["mse"] == pytest.approx(0.25, rel=0.15)
    assert "11 perturbations (test cells" in result["verdict"] and "p13" in result["notes"][0]


def test_unmeasured_perturbations_are_named_not_scored(truth, screen):
    observed = noisy(truth, 0.1)
    observed[[14, 15]] = np.nan
    result = compare(observed, {"model": truth, **baselines(truth)}, screen)
    assert result["perturbations"]["test"] == 10 and "p14, p15" in result["notes"][0]


def test_predictions_that_are_not_finite_are_refused(truth, screen):
    bad = truth.copy()
    bad[13, 4] = np.nan
    with pytest.raises(ValueError, match=r"model predicts .* p13"):
        compare(truth, {"model": bad}, screen)
    with pytest.raises(ValueError, match="'model'"):
        compare(truth, baselines(truth), screen)


def test_predictions_of_other_genes_are_refused(truth, screen, unchecked_shapes):
    """As for users, whose shapes nothing else checks."""
    with pytest.raises(ValueError) as error:
        compare(truth, {"model": truth[:, 1:]}, screen)
    assert str(error.value) == (
        f"model has shape {(CONDITIONS, GENES - 1)}, expected that of the observed effects "
        f"{truth.shape}: predict the same conditions and genes"
    )


def test_few_perturbations_give_no_interval_and_no_claim(truth, screen):
    few = screen._replace(subsets={"test": TEST[:3]})
    result = compare(noisy(truth, 0.1), {"model": truth, **baselines(truth)}, few)
    assert "fewer than 5" in result["verdict"] and "nothing is claimed" in result["verdict"]
    assert "beats" not in result["verdict"]


def test_nothing_to_score_is_said(truth, screen):
    result = compare(truth, {"model": truth, **baselines(truth)}, screen._replace(subsets={}))
    assert "No perturbation" in result["verdict"]
    assert "no baseline" in compare(truth, {"model": truth}, screen)["verdict"]


def test_subsets_hold_perturbations_with_a_cell_in_the_split():
    condition = np.array([0, 0, 1, 1, 2, 2, 3])
    split = np.array([0, 1, 0, 1, 2, 3, 3])
    data = Dataset(
        "toy",
        sparse.csr_matrix((7, 2)),
        np.arange(7),
        ("a", "b"),
        ("c", "a", "b", "a+b"),
        condition,
        0,
        ("a", "b"),
        np.zeros((4, 2)),
        ("s",),
        np.zeros(7, int),
        None,
        split,
    )
    members = {name: rows.tolist() for name, rows in subsets(data).items()}
    assert members == {"all": [1, 2, 3], "train": [1], "val": [1], "test": [2]}


def test_own_genes_mark_what_a_condition_perturbs():
    mask = own_genes(np.array([[0, 0], [1, 0], [1, 1.0]]), ("b", "drug"), ("a", "b", "c"))
    assert mask.tolist() == [[False] * 3, [False, True, False], [False, True, False]]


def test_json_safe_turns_what_is_not_finite_into_none():
    tree = {
        "a": np.float32("nan"),
        1: [np.int64(3), float("inf")],
        "d": Difference(1.0, float("nan"), 2.0),
    }
    assert json_safe(tree) == {
        "a": None,
        "1": [3, None],
        "d": {"difference": 1.0, "low": None, "high": 2.0, "p": None},
    }
    assert json_safe(np.array([1.0, np.nan])) == [1.0, None]
