"""screen_pairs: the scores of an explicit loop, additive predictions, triples, and what is
refused."""

from itertools import combinations

import numpy as np
import pytest

import jaxpert
from jaxpert.core.types import InputError
from jaxpert.evaluation.interactions.scores import score_pairs
from jaxpert.models.gears import predict_sets as gene_sets
from jaxpert.models.gears import screen_pairs as pair_screen
from jaxpert.models.gears import screened_sets
from support import pairs_screen

FEW = {"most_subsets": 40, "most_steps": 20}
GENES = ["g0", "g1", "X", "far"]


@pytest.fixture(scope="module")
def screen():
    return pairs_screen.dataset()


@pytest.fixture(scope="module")
def fitted():
    return pairs_screen.fitted(uncertainty="gaussian", uncertainty_head="gene")


@pytest.fixture(scope="module")
def table(fitted, screen):
    return jaxpert.screen_pairs(fitted, screen, GENES, chunk=4, **FEW)


@pytest.fixture(scope="module")
def effects(fitted, screen):
    """Effects on the scored genes, and uncertainty, of every set of the four genes by its sorted
    name."""
    sets = [one for size in (1, 2, 3) for one in combinations(GENES, size)]
    found = jaxpert.predict_sets(fitted, screen, sets)
    columns = pair_screen.scored_columns(screen)
    each = zip(
        found.layers["effect"][:, columns].astype(float), found.obs["uncertainty"], strict=True
    )
    return dict(zip(map(frozenset, sets), each, strict=True))


def test_the_table_is_that_of_an_explicit_loop(table, effects):
    assert len(table) == 6 and (np.diff(table["deviation"]) <= 0).all()
    for row in table.itertuples():
        a, b, ab = (
            effects[frozenset(one)][0]
            for one in ([row.first], [row.second], [row.first, row.second])
        )
        assert row.deviation == pytest.approx(np.sqrt(((ab - a - b) ** 2).mean()), rel=1e-3)
        assert row.uncertainty == pytest.approx(
            effects[frozenset([row.first, row.second])][1], rel=1e-4
        )
    pairs = list(zip(table["first"], table["second"], strict=True))
    columns = [[(a,) for a, _ in pairs], [(b,) for _, b in pairs], pairs]
    parts = [[effects[frozenset(one)][0] for one in column] for column in columns]
    own = score_pairs(*map(np.array, parts), **FEW, chunk=4)
    np.testing.assert_allclose(table["mag"], own.mag, rtol=1e-3)
    np.testing.assert_allclose(table["dcor"], own.dcor, rtol=1e-3)


def test_support_measured_and_the_note(table):
    rows = table.set_index("set")
    assert rows["support"].to_dict() == {
        "g0+g1": "trained",
        "g0+X": "new combination of trained genes",
        "g1+X": "new combination of trained genes",
        **{
            f"{gene}+far": "no training cells: far (2 trained graph neighbours)"
            for gene in ("g0", "g1", "X")
        },
    }
    assert rows.index[rows["measured"]].sort_values().tolist() == ["g0+X", "g0+g1"]
    assert "magnitude 1.41" in table.attrs["note"]


def test_order_of_a_pair_does_not_matter(fitted, screen):
    one, other = (
        jaxpert.screen_pairs(fitted, screen, sets=sets, **FEW) for sets in (["g0+X"], [("X", "g0")])
    )
    assert one["set"].tolist() == ["g0+X"] and other["set"].tolist() == ["X+g0"]
    for name in ("deviation", "uncertainty", "mag", "corr_fit", "dcor", "eq_contr"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-3)
    np.testing.assert_allclose(one[["c1", "c2"]], other[["c2", "c1"]], rtol=2e-3)


def test_triples_are_taken_apart_in_three_ways(fitted, screen, effects):
    table = jaxpert.screen_pairs(fitted, screen, sets=["g0+g1+X", "g0+g1"], **FEW)
    triple = table[table["set"] == "g0+g1+X"]
    parts = sorted(zip(triple["first"], triple["second"], strict=True))
    assert parts == [("X", "g0+g1"), ("g0", "g1+X"), ("g1", "g0+X")]
    assert triple["support"].unique().tolist() == ["new combination of trained genes"]

    def of(*names):
        return effects[frozenset(names)][0]

    alone = of("g0") + of("g1") + of("X")
    whole, pairs = of("g0", "g1", "X"), of("g0", "g1") + of("g0", "X") + of("g1", "X")
    np.testing.assert_allclose(
        triple["beyond_singles"], np.sqrt(((whole - alone) ** 2).mean()), rtol=1e-3
    )
    np.testing.assert_allclose(
        triple["beyond_pairs"], np.sqrt(((whole - pairs + alone) ** 2).mean()), rtol=1e-3
    )
    by_part = triple.set_index("first")["deviation"]
    expected = np.sqrt(((whole - of("X") - of("g0", "g1")) ** 2).mean())
    assert by_part["X"] == pytest.approx(expected, rel=1e-3)
    assert table.loc[table["set"] == "g0+g1", "beyond_pairs"].isna().all()


@pytest.fixture
def additive(monkeypatch):
    """In place of the network, one whose effects add up."""
    alone = np.random.default_rng(0).normal(size=(6, pairs_screen.GENES))

    def predictor(fitted, chunk=0):
        return lambda nodes, signs: gene_sets.Changes(
            (alone[nodes] * (nodes >= 0)[..., None]).sum(1), None
        )

    monkeypatch.setattr(gene_sets, "predictor", predictor)
    monkeypatch.setattr(pair_screen, "predictor", predictor)


def test_additive_predictions_do_not_deviate(additive, fitted, screen):
    table = jaxpert.screen_pairs(fitted, screen, sets=["g0+g1", "g1+g2", "g0+g1+X"], **FEW)
    np.testing.assert_allclose(table["deviation"], 0, atol=1e-12)
    np.testing.assert_allclose(table[["beyond_singles", "beyond_pairs"]].dropna(), 0, atol=1e-12)
    np.testing.assert_allclose(table["mag"], np.sqrt(2), rtol=1e-6)
    assert table["subtypes"].str.contains("synergy").all(), "as the note says"
    assert "uncertainty" not in table


def test_default_genes_and_the_genes_scored_on(additive, fitted, screen):
    assert screened_sets.measured_singles(screen) == list(pairs_screen.PERTURBED)
    table = jaxpert.screen_pairs(
        fitted, screen, score_on=["g3", "g7", "g5"], most_subsets=3, most_steps=5
    )
    assert len(table) == 6 and set(table["first"]) | set(table["second"]) == set(
        pairs_screen.PERTURBED
    )
    mean = np.asarray(screen.counts.mean(0)).ravel()
    assert pair_screen.scored_columns(screen).tolist() == np.flatnonzero(mean > 0.5).tolist()
    assert pair_screen.scored_columns(screen, ["g7", "g3"]).tolist() == [7, 3]


def test_genes_in_no_graph(fitted, screen):
    with pytest.raises(InputError, match=r"in no perturbation graph \(nowhere\)"):
        jaxpert.screen_pairs(fitted, screen, ["g0", "nowhere"])
    table = jaxpert.screen_pairs(fitted, screen, ["g0", "nowhere"], absent="average", **FEW)
    assert table["support"].tolist() == [
        "no training cells: nowhere (in no graph, average stands in)"
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"genes": ["g0"]}, "to pair are 1"),
        ({"genes": ["g0", "g0+ctrl"]}, "1 of them different"),
        ({"genes": ["g0", "g1+g2"]}, r"1 no single gene \(g1\+g2\)"),
        ({"genes": ["g0", "g1"], "sets": ["g0+g1"]}, "both given"),
        ({"sets": ["g0"]}, "g0 cannot be screened, expected pairs and triples"),
        ({"sets": ["g0+g1", "g1+g0"]}, "given twice"),
        ({"score_on": ["g3", "X"]}, r"1 not measured \(X\)"),
    ],
)
def test_what_cannot_be_screened(fitted, screen, arguments, said):
    with pytest.raises(InputError, match=said):
        jaxpert.screen_pairs(fitted, screen, **arguments)
