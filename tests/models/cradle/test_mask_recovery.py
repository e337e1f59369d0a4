"""Recovery of planted masks: perfect knowledge scores 1 in any order and sign, none scores what
chance does."""

import numpy as np
import pandas as pd
import pytest

from jaxpert.core.errors import InputError
from jaxpert.models.cradle import mask_recovery as masks
from jaxpert.models.cradle.interpret import Interpretation

T, K, G = 20, 6, 80
LOADINGS = np.random.default_rng(0).normal(size=(4, 6))


@pytest.fixture
def planted() -> tuple[np.ndarray, np.ndarray]:
    """Masks in which every program is moved by some targets and spared by others, and loadings."""
    rng = np.random.default_rng(0)
    found = rng.random((T, K)) < 0.3
    found[0], found[1] = True, False
    return found, rng.normal(size=(K, G))


def test_factors_are_matched_by_genes_in_any_order_sign_and_scale(planted):
    _, loadings = planted
    order = np.array([3, 0, 5, 1, 4, 2])
    change = loadings[order] * np.array([1, -2, 3, -1, 0.1, 1])[:, None] + 7
    noise = 5 * np.random.default_rng(1).normal(size=(2, G))
    found = masks.match_factors(np.concatenate([noise, change]), loadings)
    assert dict(zip(found.factor - 2, found.program, strict=True)) == dict(enumerate(order))
    np.testing.assert_allclose(found.correlation, [1, -1, 1, -1, 1, 1])


def test_what_moves_no_gene_is_matched_with_nothing(planted):
    _, loadings = planted
    found = masks.match_factors(np.array([np.zeros(G), loadings[2], np.full(G, 0.5)]), loadings)
    assert found.factor.tolist() == [1] and found.program.tolist() == [2]
    assert len(masks.match_factors(np.zeros((0, G)), loadings).factor) == 0


def test_perfect_and_absent_knowledge(planted):
    truth, _ = planted
    perfect = masks.entry_score(truth.astype(float), truth)
    assert perfect.auroc == 1 > perfect.chance_high >= perfect.chance >= perfect.chance_low
    blind = masks.entry_score(np.zeros((T, K)), truth)
    assert blind == (0.5, 0.5, 0.5, 0.5)


def test_what_a_common_program_earns_is_chance(planted):
    """Scores that know nothing but how often each program is planted stand above 0.5, and so does
    their chance."""
    truth = np.random.default_rng(2).random((200, K)) < np.linspace(0.05, 0.9, K)
    rates = np.broadcast_to(truth.mean(0), truth.shape)
    found = masks.entry_score(rates, truth)
    assert found.auroc > 0.75 and found.chance == pytest.approx(found.auroc, abs=1e-12)


def test_noise_lies_in_the_range_of_chance():
    rng = np.random.default_rng(3)
    inside = 0
    for seed in range(20):
        found = masks.entry_score(
            rng.random((T, K)), rng.random((T, K)) < 0.3, shuffles=60, seed=seed
        )
        inside += found.chance_low <= found.auroc <= found.chance_high
    assert 15 <= inside <= 20


def test_programs_without_a_factor_are_missed():
    """Two programs, one factor that is right about the first: by hand 2 of 4 planted entries are
    above all 6 empty ones, the other 2 tie with them."""
    truth = np.array([[1, 1], [1, 0], [0, 1], [0, 0], [0, 0]], bool)
    matching = masks.Matching(np.array([1]), np.array([0]), np.array([0.9]))
    scores = masks.matched_scores(
        np.array([[9, 1], [9, 1], [9, 0], [9, 0], [9, 0]], float), matching, 2
    )
    np.testing.assert_array_equal(scores, [[1, 0], [1, 0], [0, 0], [0, 0], [0, 0]])
    assert masks.entry_score(scores, truth).auroc == pytest.approx((2 * 6 + 2 * 6 * 0.5) / 24)
    np.testing.assert_array_equal(masks.program_scores(scores, truth), [1, 0.5])


def test_programs_that_no_or_every_target_moves_have_no_score_of_their_own():
    truth = np.array([[1, 0, 1], [1, 0, 0]], bool)
    np.testing.assert_array_equal(
        masks.program_scores(np.ones((2, 3)), truth), [np.nan, np.nan, 0.5]
    )


def test_pairs(planted):
    truth, _ = planted
    share = truth.astype(float) @ truth.T
    assert masks.pair_score(share, truth).auroc == 1
    assert masks.pair_score(-share, truth).auroc == 0
    found = masks.pair_score(share, truth)
    assert found.chance_high < 1 and abs(found.chance - 0.5) < 0.05


def test_shuffles_repeat_with_the_seed(planted):
    truth, _ = planted
    noise = np.random.default_rng(4).random((T, K))
    assert masks.entry_score(noise, truth, seed=1) == masks.entry_score(noise, truth, seed=1)
    assert masks.entry_score(noise, truth, seed=1) != masks.entry_score(noise, truth, seed=2)


@pytest.mark.parametrize(
    "truth", [np.ones((9, 2), bool), np.zeros((9, 2), bool), np.eye(4, dtype=bool)]
)
def test_masks_that_cannot_be_scored(truth):
    with pytest.raises(InputError, match="expected at least 5 treatments"):
        masks.entry_score(np.zeros(truth.shape), truth)
    with pytest.raises(InputError, match="expected at least 5 treatments"):
        masks.pair_score(np.zeros((len(truth),) * 2), truth)


def test_a_score_in_words():
    assert str(masks.Score(0.7, 0.5, 0.4, 0.6)) == "0.700 against 0.500 (0.400 to 0.600) by chance"


class Planted:
    """The parts of a `Truth` that recovery reads: the transparent model's own programs in another
    order."""

    def __init__(self, masks: np.ndarray, treatments: list[str]):
        self.masks, self.treatments = masks, np.array(treatments)
        self.genes = np.array([f"g{i}" for i in reversed(range(6))])
        self.loadings = np.concatenate([LOADINGS[[2, 0]], np.ones((2, 6))])[:, ::-1]


def test_recovery_finds_its_own_programs_by_name():
    """Six perturbations; masks as planted, read through other orders of genes, treatments and
    programs."""
    rng = np.random.default_rng(1)
    planted = rng.random((6, 2)) < 0.5
    planted[0], planted[1], planted[2], planted[3] = True, False, (True, False), (False, True)
    names = [f"p{i}" for i in range(6)]
    inclusion = pd.DataFrame(0.1 + 0.8 * planted[:, ::-1], names, ["z0", "z2"])
    change = pd.DataFrame(LOADINGS[[0, 2]], ["z0", "z2"], [f"g{i}" for i in range(6)])
    overlap = pd.DataFrame(planted.astype(float) @ planted.T, names, names)
    table = pd.DataFrame({"learned": [True] * 6}, names)
    found = Interpretation(
        inclusion, -inclusion, inclusion, -overlap, overlap, table, pd.DataFrame(), change, ()
    )
    order = [3, 1, 0, 5, 2, 4]
    recovery = masks.recover_masks(found, Planted(planted[order], [names[i] for i in order]))
    assert recovery.programs["factor"].tolist() == ["z2", "z0"]
    np.testing.assert_allclose(recovery.programs["correlation"], 1)
    assert {name: score.auroc for name, score in recovery.entries.items()} == {
        "inclusion": 1,
        "embedding": 1,
    }
    assert {name: score.auroc for name, score in recovery.pairs.items()} == {
        "overlap": 1,
        "cosine": 1,
    }
    with pytest.raises(InputError, match="no perturbation 'p0'"):
        masks.recover_masks(found, Planted(planted, ["other", *names[1:]]))
