"""PHATE maps and preranked enrichment: against the packages where they are installed, and what is
said without them."""

import sys

import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.models.cycseq.paper import dose_map, enrichment

GENES = [f"G{i}" for i in range(300)]


def ranking(seed=0):
    """A signal that lifts the first 30 genes and lowers the next 30, and the sets behind it."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(0, 0.5, 300)
    signal[:30] += 1.5
    signal[30:60] -= 1.5
    sets = {
        "up": GENES[:30],
        "down": [*GENES[30:60], "elsewhere"],
        "null": GENES[60:300:8],
        "few": GENES[:5],
    }
    return signal, sets


def extreme(running):
    """The enrichment score: the running score farthest from 0, with its sign."""
    return running[np.abs(running).argmax()]


def test_the_running_score_by_hand():
    running, hits = enrichment.running_score(
        np.array([0.5, 3.0, -2.0, 1.0]), list("abcd"), {"b", "a", "x"}
    )
    assert hits.tolist() == [True, False, True, False]
    assert running == pytest.approx([3 / 3.5, 3 / 3.5 - 0.5, 0.5, 0])
    assert extreme(running) == pytest.approx(3 / 3.5)
    low, _ = enrichment.running_score(np.array([0.5, 3.0, -2.0, 1.0]), list("abcd"), ["c"])
    assert extreme(low) == pytest.approx(-1)
    flat, _ = enrichment.running_score(np.array([0.0, 1.0, 0.0]), list("abc"), ["a", "c"])
    assert np.isfinite(flat).all()


def test_enrichment_agrees_with_the_formula():
    pytest.importorskip("gseapy")
    signal, sets = ranking()
    found = {term.name: term for term in enrichment.prerank(signal, GENES, sets, permutations=100)}
    assert set(found) == {"up", "down", "null"}, "a set of five genes is too small"
    for name, term in found.items():
        running, _ = enrichment.running_score(signal, GENES, sets[name])
        assert term.es == pytest.approx(extreme(running), abs=1e-6)
        assert term.genes == 30 and set(term.leading) <= set(sets[name])
    assert (
        found["up"].nes > 1
        and found["down"].nes < -1
        and abs(found["null"].nes) < abs(found["up"].nes)
    )
    assert found["up"].fdr < 0.05 < found["null"].fdr
    again = enrichment.prerank(signal, GENES, sets, permutations=100)
    assert again == list(found.values())


def test_maps_keep_doses_apart_and_repeat():
    pytest.importorskip("phate")
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(2, 40)) * 0.6
    lower, higher, predicted = (rng.normal(size=(25, 40)) + centre[i] for i in (0, 1, 1))
    rows = np.concatenate([lower, higher, predicted])
    places = dose_map.phate(rows)
    assert places.shape == (75, 2)
    means = places.reshape(3, 25, 2).mean(1)
    assert np.linalg.norm(means[2] - means[1]) < 0.5 * np.linalg.norm(means[2] - means[0])
    np.testing.assert_allclose(dose_map.phate(rows), places, atol=1e-8)


def test_missing_packages_name_the_extra(monkeypatch):
    signal, sets = ranking()
    for name in ("phate", "gseapy"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"phate is not installed.*jaxpert\[phate\]"):
        dose_map.phate(np.random.default_rng(0).normal(size=(30, 8)))
    with pytest.raises(InputError, match=r"gseapy is not installed.*jaxpert\[enrichment\]"):
        enrichment.prerank(signal, GENES, sets)


def test_bad_rankings_and_rows_are_named():
    signal, sets = ranking()
    with pytest.raises(
        InputError, match="none of the 4 gene sets has 200 to 500 members .* largest has 30"
    ):
        enrichment.prerank(signal, GENES, sets, smallest=200)
    with pytest.raises(InputError, match="1 undefined"):
        enrichment.prerank(np.where(np.arange(300) == 3, np.nan, signal), GENES, sets)
    with pytest.raises(InputError, match="2 named again"):
        enrichment.running_score(signal, [*GENES[:298], "G0", "G1"], sets["up"])
    with pytest.raises(InputError, match="0 of the 300 ranked genes"):
        enrichment.running_score(signal, GENES, ["ENSG1"])
    rows = np.ones((12, 5))
    with pytest.raises(InputError, match="9 rows"):
        dose_map.phate(rows[:9])
    rows[2, 2] = np.nan
    with pytest.raises(InputError, match="12 rows, 1 of them with undefined"):
        dose_map.phate(rows)
