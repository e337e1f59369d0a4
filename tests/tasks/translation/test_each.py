"""What is said of every pair of perturbation and line by itself."""

import numpy as np

from jaxpert.tasks.translation import effects
from jaxpert.tasks.translation.groups import find_effect_groups, group_means


def test_pairs_have_their_cells_split_and_effect(prepared):
    groups = find_effect_groups(prepared)
    means = group_means(prepared, groups)

    def model(rows):
        return {"n2p": rows.control + 0.5 * (rows.x - rows.control)}

    changes = effects.changes(prepared, groups, means, model)
    screen = effects.screen_of(prepared, groups, means, changes)
    part = effects.each(prepared, groups, changes, screen)
    columns = part["columns"]
    assert columns["perturbation"] == list(groups.names)
    assert columns["split"] == effects.splits_of(prepared, groups)
    sizes = np.diff(prepared.pseudobulk.start)
    assert columns["cells"] == sizes[groups.upper].tolist() and min(columns["cells"]) > 0
    # Half of every change is in the right direction everywhere.
    np.testing.assert_allclose(columns["match"], 1, atol=1e-3)
    assert set(columns["best_baseline"]) <= {"mean_perturbation", "mean_change"}
    arrays = effects.effects_arrays(prepared, changes, 7)
    assert arrays["conditions"].tolist() == list(groups.names) and arrays["seeds"] == [7]
    np.testing.assert_allclose(arrays["effect"][0], arrays["measured"] / 2, atol=1e-4)
