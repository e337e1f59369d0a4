"""What stands first on the page of a leaderboard."""

import pytest

from jaxpert.evaluation.claims import HEADLINE, Claim
from jaxpert.evaluation.intervals import Difference
from jaxpert.study import board_page, leaderboard
from jaxpert.study.leaderboard import Board
from jaxpert.study.standing import Against, Place, Standing, Value
from support.report_work import SCRIPT


def place(name, value, seeds=0, **outcomes):
    """A row with the same value for every main score."""
    against = {}
    for score, outcome in outcomes.items():
        claim = Claim(outcome, 0.01, "additive", True)
        against[score] = Against("additive", Difference(0.1, 0.05, 0.2), claim)
    scores = {score: Value(value, 0.02 if seeds else float("nan")) for score in HEADLINE}
    return Place(name, scores, against, seeds, 12.0)


def standing(*places, perturbations=20):
    ceiling = dict.fromkeys(HEADLINE, 0.9)
    words = "perturbations never trained"
    return Standing("test", words, perturbations, ceiling, (), list(places), [], {})


ADDITIVE = place("scaled_additive", 0.5)
WON = place("set_gp", 0.75, 2, ate_pearson="better", mse="undecided")
BOTH = place("gears", 0.6, 2, ate_pearson="better", mse="worse")
LOST = place("scgen", 0.25, 2, ate_pearson="worse")


@pytest.mark.parametrize(
    ("places", "light", "word"),
    [
        ([WON, BOTH, ADDITIVE], "better", "better than every baseline: set_gp"),
        ([BOTH, LOST, ADDITIVE], "mixed",
         "better than every baseline by some scores, worse by others: gears"),
        ([ADDITIVE, LOST], "worse", "no model is better than every baseline"),
        ([ADDITIVE, place("cpa", 0.4, 1, mse="undecided"), LOST], "even",
         "no model is better than every baseline"),
    ],
)  # fmt: skip
def test_the_word_is_that_of_the_claims(places, light, word):
    glance = board_page.glance(standing(*places))
    assert (glance.light, glance.word) == (light, word)
    assert "the best baseline is scaled additive (0.500)" in glance.sentence


def test_of_too_few_nothing_is_said():
    glance = board_page.glance(standing(WON, ADDITIVE, perturbations=4))
    assert (glance.light, glance.word) == ("unknown", "too few to say")


def test_charts_show_every_row_the_best_first():
    charts = board_page.score_charts(standing(ADDITIVE, LOST, WON), 0)
    assert [chart.name for chart in charts] == [f"split0score{n}" for n in range(len(HEADLINE))]
    rows = [row for layer in charts[0].spec["layer"] for row in layer["data"]["values"]]
    dots = [row for row in rows if "kind" in row and "low" not in row]
    spans = {row["name"]: (row["low"], row["high"]) for row in rows if "low" in row}
    assert [row["name"] for row in dots] == ["scaled additive"]
    assert spans == {"set_gp": (0.73, 0.77), "scgen": pytest.approx((0.23, 0.27))}
    ((order,),) = {
        (tuple(layer["encoding"]["y"]["sort"]),)
        for layer in charts[0].spec["layer"]
        if "y" in layer["encoding"]
    }
    assert order == ("set_gp", "scaled additive", "scgen")


def test_names_stay_text(tmp_path):
    evil = place(SCRIPT, 0.6, 1, mse="better")
    board = Board("auto", standing(evil, ADDITIVE), {"cpa": f"refused: {SCRIPT}"})
    html, *_ = leaderboard.write(SCRIPT, [SCRIPT], [board], tmp_path)
    page = html.read_text()
    assert page.count(SCRIPT) == 0 and page.count("&lt;/script&gt;&lt;script&gt;") >= 4
