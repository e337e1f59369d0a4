"""Figures of genetic interactions: alike genes side by side, thresholds and sub-types shown,
nothing invented."""

import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.models.gears.paper import plots_interactions
from jaxpert.report.plots import style
from support.pictures import colour_share, ink

NAMES = ["A", "B", "C", "D", "E", "$F_{"]
PAIRS = np.stack(np.triu_indices(6, 1), axis=1)


def scores(count: int = len(PAIRS)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    ranges = {"mag": (0.4, 1.6), "corr_fit": (0.6, 1), "dcor": (0.5, 1), "eq_contr": (0.1, 1)}
    return {name: rng.uniform(*bounds, size=count) for name, bounds in ranges.items()}


def test_the_map_shows_what_there_is(tmp_path):
    values = np.where(np.arange(len(PAIRS)) % 2, 1.5, 0.5)
    path = plots_interactions.interaction_map(NAMES, PAIRS, values, tmp_path / "new/map.png")
    assert colour_share(path, style.VERMILLION) > 0.05 < colour_share(path, style.BLUE)
    some = plots_interactions.interaction_map(NAMES, PAIRS[:2], values[:2], tmp_path / "some.png")
    assert colour_share(some, plots_interactions.UNMEASURED) > 0.2 > colour_share(some, style.BLUE)
    again = plots_interactions.interaction_map(NAMES, PAIRS, values, tmp_path / "again.png")
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("score", ["mag", "dcor"])
def test_maps_with_undefined_values_and_of_two_genes(tmp_path, score):
    values = np.full(len(PAIRS), np.nan)
    assert (
        ink(
            plots_interactions.interaction_map(
                NAMES, PAIRS, values, tmp_path / "nan.png", score=score
            )
        )
        > 0.01
    )
    assert (
        ink(
            plots_interactions.interaction_map(
                NAMES[:2], PAIRS[:1], np.ones(1), tmp_path / "two.png", score=score
            )
        )
        > 0.01
    )


def test_alike_genes_stand_side_by_side():
    profiles = np.repeat(np.eye(2), 3, axis=0)[[0, 3, 1, 4, 2, 5]]
    assert np.count_nonzero(np.diff(plots_interactions.clustered(profiles) % 2)) == 1


def test_the_space_of_scores(tmp_path):
    table = scores()
    names = [f"{NAMES[a]}+{NAMES[b]}" for a, b in PAIRS]
    path = plots_interactions.interaction_space(table, names, tmp_path / "space.png")
    assert ink(path) > 0.01 and colour_share(path, style.VERMILLION) > 1e-4
    undefined = {name: np.full(len(names), np.nan) for name in table}
    assert ink(plots_interactions.interaction_space(undefined, names, tmp_path / "nan.png")) > 0.005
    many = scores(1200)
    assert (
        ink(
            plots_interactions.interaction_space(
                many, [str(k) for k in range(1200)], tmp_path / "many.png"
            )
        )
        > 0.01
    )


def test_a_pair_of_several_subtypes_has_the_first_ones_colour():
    found = {
        "synergy": np.array([True, False, False]),
        "neomorphism": np.array([True, True, False]),
    }
    assert plots_interactions.first_of(found, ["synergy", "neomorphism"], 3).tolist() == [
        "synergy",
        "neomorphism",
        "none",
    ]


def test_genes_that_do_not_add_up(tmp_path):
    rng = np.random.default_rng(0)
    a, b, noise = rng.normal(size=(3, 2, 30))
    genes = [f"GENE{g}" for g in range(30)]
    path = plots_interactions.non_additive(
        a + b + noise, a, b, ["A+B", "C+D"], genes, tmp_path / "genes.png", predicted=a
    )
    without = plots_interactions.non_additive(
        a + b + noise, a, b, ["A+B", "C+D"], genes, tmp_path / "without.png", k=50
    )
    assert colour_share(path, style.BLUE) > 1e-3 > colour_share(without, style.BLUE)


def test_arrays_that_do_not_belong_together(tmp_path):
    with pytest.raises(InputError, match="interaction_map .* a value per pair"):
        plots_interactions.interaction_map(NAMES, PAIRS, np.ones(3), tmp_path / "a.png")
    with pytest.raises(InputError, match="interaction_space .* one name for each pair"):
        plots_interactions.interaction_space(scores(), ["A+B"], tmp_path / "a.png")
    with pytest.raises(InputError, match="non_additive .* one name for each pair"):
        plots_interactions.non_additive(
            np.zeros((1, 3)), np.zeros((1, 3)), np.zeros((1, 3)), [], ["A"] * 3, tmp_path / "a.png"
        )
    assert not list(tmp_path.iterdir())
