"""The ranked table of pairs: the same from arrays and from a predictor, in any chunks, best
first."""

import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.evaluation.interactions import screen as screens
from jaxpert.evaluation.interactions.scores import score_pairs

NAMES = ["A", "B", "C", "D", "E"]
G = 40


@pytest.fixture
def effects() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    singles, pairs = rng.normal(size=(5, G)), screens.all_pairs(5)
    slope = np.linspace(0.3, 2, len(pairs))[:, None]
    both = slope * (singles[pairs[:, 0]] + singles[pairs[:, 1]]) + 0.2 * rng.normal(
        size=(len(pairs), G)
    )
    return singles, pairs, both


def test_all_pairs():
    assert (
        screens.all_pairs(3).tolist() == [[0, 1], [0, 2], [1, 2]]
        and len(screens.all_pairs(105)) == 5460
    )


@pytest.mark.parametrize("chunk", [3, 256])
def test_a_predictor_gives_the_table_of_its_arrays(effects, chunk):
    singles, pairs, both = effects
    unsure = np.arange(10.0)
    seen = []

    def predict(part):
        seen.append(len(part))
        rows = [pairs.tolist().index(pair) for pair in part.tolist()]
        return screens.Prediction(both[rows], unsure[rows])

    whole = screens.screen(NAMES, singles, both, uncertainty=unsure)
    parts = screens.screen(NAMES, singles, predict, chunk=chunk)
    assert max(seen) == min(chunk, 10) and sum(seen) == 10
    assert list(whole.columns) == list(parts.columns) and (whole["pair"] == parts["pair"]).all()
    for name in ("mag", "deviation", "uncertainty"):
        np.testing.assert_allclose(whole[name], parts[name], rtol=1e-10)


def test_rows_are_the_pairs_own_scores_and_the_best_stand_first(effects):
    singles, pairs, both = effects
    table = screens.screen(NAMES, singles, both, rank_by="synergy")
    assert (np.diff(table["mag"]) <= 0).all() and "uncertainty" not in table
    assert (np.diff(screens.screen(NAMES, singles, both, rank_by="suppression")["mag"]) >= 0).all()
    direct = score_pairs(singles[pairs[:, 0]], singles[pairs[:, 1]], both, chunk=10)
    by_pair = table.set_index("pair").loc[[f"{NAMES[a]}+{NAMES[b]}" for a, b in pairs]]
    np.testing.assert_allclose(by_pair["dcor"], direct.dcor, rtol=1e-10)
    rms = np.sqrt(((both - singles[pairs[:, 0]] - singles[pairs[:, 1]]) ** 2).mean(1))
    np.testing.assert_allclose(by_pair["deviation"], rms)
    ranked = screens.screen(NAMES, singles, both)
    assert (np.diff(ranked["deviation"]) <= 0).all() and ranked["subtypes"].str.len().min() > 0


def test_given_pairs_and_combinations_as_members(effects):
    singles, _, both = effects
    units = np.concatenate([singles, both[:1]])
    triple = both[:1] + singles[2]
    table = screens.screen([*NAMES, "A+B"], units, triple, pairs=np.array([[5, 2]]))
    assert table["pair"].tolist() == ["A+B+C"] and table["deviation"][0] == pytest.approx(
        0, abs=1e-9
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank_by": "lethality"}, "ranked by 'lethality', expected one of deviation, synergy"),
        ({"names": ["A"]}, "1 names were given for 5 single effects"),
        ({"pairs": np.array([[0, 7]])}, "positions from 0 to 7, expected 0 to 4"),
        ({"pairs": np.zeros((0, 2), int)}, "no pair among 5"),
        ({"both": np.zeros((3, G))}, r"shape \(3, 40\), expected \(10, 40\)"),
        ({"uncertainty": np.zeros(4)}, "4 uncertainties were given for 10 pairs"),
    ],
)
def test_what_does_not_fit_together_is_named(effects, arguments, message):
    singles, _, both = effects
    with pytest.raises(InputError, match=message):
        screens.screen(**{"names": NAMES, "singles": singles, "both": both} | arguments)


def test_uncertainty_for_some_pairs_only(effects):
    singles, _, both = effects

    def predict(part):
        return screens.Prediction(
            both[: len(part)], np.zeros(len(part)) if len(part) == 3 else None
        )

    with pytest.raises(InputError, match="for some pairs only"):
        screens.screen(NAMES, singles, predict, chunk=3)
