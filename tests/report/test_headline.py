"""The top of the page: a word, a sentence, three numbers."""

import pytest

from jaxpert.report.glance import beside
from jaxpert.report.headline import headline


def metrics(size=20, **outcomes):
    """With the outcomes of some headline scores."""
    names = {"rho": "ate_pearson", "r2": "ate_r2", "mse": "mse"}
    claims = {
        names[name]: {"outcome": outcome, "rival": "additive", "counted": True}
        for name, outcome in outcomes.items()
    }
    scores = {"ate_pearson": 0.5, "ate_r2": 0.25, "mse": 0.1}
    return {
        "model": {"test": scores},
        "baselines": {"additive": {"test": {name: 0.4 for name in scores}}, "flat": {"test": {}}},
        "ceiling": {"test": {"ate_pearson": 0.9}},
        "ceiling_interval": {"test": {}},
        "perturbations": {"test": size},
        "subsets": {"test": "perturbations never trained"},
        "claims": {"test": claims},
    }


@pytest.mark.parametrize(
    ("outcomes", "light", "word", "said"),
    [
        ({"rho": "better", "r2": "better"}, "better", "better than every baseline",
         "better than every simple baseline by ATE-rho and ATE-R2."),
        ({"rho": "better", "r2": "undecided"}, "better",
         "better than every baseline on 1 of 2 main scores",
         "by ATE-rho; by ATE-R2 no difference could be shown."),
        ({"rho": "worse", "r2": "undecided"}, "worse", "worse than additive",
         "worse than the simple baseline “additive” by ATE-rho;"),
        ({"rho": "better", "mse": "worse"}, "mixed",
         "worse than additive by some scores, better than all by others",
         "by MSE, and better than every baseline by ATE-rho."),
        ({"rho": "undecided", "r2": "undecided"}, "even", "as good as the best baseline",
         "on none of 2 main scores could a difference be shown"),
    ],
)  # fmt: skip
def test_the_word_is_what_is_claimed(outcomes, light, word, said):
    top = headline(metrics(**outcomes))
    assert (top.light, top.word) == (light, word)
    assert said in top.sentence
    assert top.sentence.startswith("On 20 perturbations never trained the model ")


def test_of_too_few_nothing_is_said():
    top = headline(metrics(4, rho="better"))
    assert (top.light, top.word) == ("unknown", "too few to say") and "fewer than 5" in top.sentence
    whole = metrics(rho="undecided")
    whole["claims"]["test"]["ate_pearson"]["counted"] = False
    assert headline(whole).word == "too few to say"


def test_three_numbers_of_the_first_score_that_counts():
    top = headline(metrics(rho="better", r2="better"))
    assert [number.text for number in top.numbers] == ["0.50", "0.40", "0.90"]
    assert top.numbers[1].note == "additive" and "ATE-rho" in top.of
    whole = metrics(rho="undecided", r2="better")
    whole["claims"]["test"]["ate_pearson"]["counted"] = False
    top = headline(whole)
    assert [number.text for number in top.numbers] == ["0.25", "0.40", "?"] and "ATE-R2" in top.of


@pytest.mark.parametrize("part", ["model", "baselines", "claims", "perturbations", "subsets"])
def test_any_part_may_be_missing(part):
    for other in (None, {}):
        top = headline(metrics(rho="better") | {part: other})
        assert top.word and top.sentence
        if part != "subsets":
            assert top.light == "unknown"


@pytest.mark.parametrize(
    ("outcomes", "light", "word"),
    [
        (["better", "undecided"], "better", "B is better than A"),
        (["worse", "undecided"], "worse", "B is worse than A"),
        (["better", "worse"], "mixed", "B: better by some scores, worse by others"),
        (["undecided"] * 2, "even", "B is as good as A"),
    ],
)
def test_one_entry_beside_another(outcomes, light, word):
    glance = beside("B", "A", outcomes, 12)
    assert (glance.light, glance.word) == (light, word) and "of 2 main scores" in glance.sentence
    assert beside("B", "A", outcomes, 4).light == "unknown"
