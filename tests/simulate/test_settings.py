"""Settings of the simulated screen: bad ones are named, extreme ones work, presets have their
sizes."""

import numpy as np
import pytest

from jaxpert.core.errors import InputError
from jaxpert.simulate import PRESETS, Settings, simulate
from jaxpert.simulate.settings import resolve


@pytest.mark.parametrize(
    ("preset", "override", "message"),
    [
        ("jurkat", {}, "tiny, demo, norman"),
        ("tiny", {"cell": 5}, "no setting 'cell'.*cells, genes"),
        (
            "tiny",
            {"cells": "many"},
            "simulation.cells is 'many', expected a whole number, at least",
        ),
        ("tiny", {"cells": 1.5}, "whole number, at least 1 and at most 10,000,000"),
        ("tiny", {"cells": True}, "simulation.cells is True"),
        ("tiny", {"cells": 10**12}, "at most 10,000,000"),
        ("tiny", {"umis": float("nan")}, "finite number"),
        ("tiny", {"umis_log_sd": 1e6}, "above 0 and at most 5"),
        ("tiny", {"cells": 40}, "raise `cells`"),
        ("tiny", {"pairs": 29}, "29 pairs are asked for, expected at most the 28"),
        ("tiny", {"genes": 60}, "at least 100"),
        ("tiny", {"control_share": 1.0}, "above 0 and below 1"),
        ("tiny", {"batches": 0}, "at least 1"),
        ("tiny", {"pairs": -1}, "at least 0"),
        ("tiny", {"programs": 8}, "programs"),
        ("genome", {"triples": 5}, "too many to choose from, expected fewer"),
        ("tiny", {"seed": -1}, "seed is -1"),
        ("genome", {"cells": 2_000_000}, "simulate_chunks"),
        ("lines_tiny", {"lines": 0}, "lines is 0, expected a whole number, at least 1"),
        ("lines_tiny", {"line_share": 1.5}, "line_share is 1.5"),
        ("lines_tiny", {"pairs": 3}, "3 pairs and 0 triples in 3 lines"),
        ("lines_tiny", {"cells": 300}, r"in each of 3 lines \(the smallest has 28\)"),
        ("doses_tiny", {"doses": 5}, r"doses is 5, expected a whole number, .* at most 4"),
    ],
)
def test_bad_settings_are_named(preset, override, message):
    with pytest.raises(InputError, match=message):
        simulate(preset, **override)


def test_numbers_of_numpy_are_numbers():
    settings = resolve("tiny", {"cells": np.int64(700), "umis": np.float32(50), "own_effect": 1})
    assert (settings.cells, settings.umis, settings.own_effect) == (700, 50.0, 1.0)
    assert type(settings.cells) is int and type(settings.own_effect) is float


@pytest.mark.parametrize(
    "override",
    [
        {"pathway_share": 0.0},
        {"mask_share": 0.95, "pairs": 28},
        {"mask_share": 1e-6, "response_share": 0.0},
        {"singles": 1, "pairs": 0, "toxic_share": 0.0},
        {"cells": 75, "control_share": 0.2},
        {
            "condition_log_sd": 0.0,
            "batch_gene_sd": 0.0,
            "batch_depth_sd": 0.0,
            "batches": 1,
            "artifact_share": 0.0,
        },
    ],
)
def test_extreme_settings_still_make_a_screen(override):
    adata, truth = simulate("tiny", reference_cells=2, **override)
    assert np.bincount(truth.condition).min() >= 4
    assert np.isfinite(truth.mean_log2).all() and np.asarray(adata.X.sum(1)).min() > 0


def test_presets_have_the_published_sizes():
    assert set(PRESETS) == {
        "tiny",
        "demo",
        "norman",
        "dixit",
        "replogle",
        "adamson",
        "genome",
        "lines",
        "lines_tiny",
        "doses",
        "doses_tiny",
    }
    norman, genome = PRESETS["norman"], PRESETS["genome"]
    assert (norman.cells, norman.genes, norman.singles, norman.pairs) == (111_255, 19_018, 105, 131)
    assert (genome.cells, genome.genes) == (1_000_000, 8_000)
    assert PRESETS["demo"] == Settings()
