"""Cells around the effects of a file, through a config and through the command."""

import dataclasses

import numpy as np
import pytest

from jaxpert.app import cli
from jaxpert.core.types import InputError
from jaxpert.simulate import EffectsTruth, load_truth
from jaxpert.tasks.screen.graphs import terms_of
from jaxpert.tasks.screen.keys import DataKeys, GraphKeys, QualityKeys, ScreenConfig
from jaxpert.tasks.screen.load import read_source
from jaxpert.tasks.screen.measured import planted_effects

AROUND = {
    "effects": "example",
    "effects_scale": "log2",
    "control_profile": "drawn",
    "simulation": "cells=6,reference_cells=2",
    "perturbation": "perturbation",
}
LEAN = QualityKeys(doublets="none")


def config(**changes):
    return ScreenConfig(data=DataKeys(**(AROUND | changes)), quality=LEAN)


def test_a_config_draws_around_a_file_and_knows_its_effects():
    dataset, truth = read_source(config())
    assert isinstance(truth, EffectsTruth) and len(dataset.conditions) == 15
    planted = planted_effects(dataset, truth)
    assert planted.shape == (15, 200) and not planted[dataset.control].any()
    # A target's gene goes up by more than e in its own condition.
    row, gene = dataset.conditions.index("PERT003"), dataset.genes.index("PERT003")
    assert planted[row].argmax() == gene
    again, _ = read_source(config())
    assert (again.counts != dataset.counts).nnz == 0


def test_graphs_need_annotations_of_their_own():
    dataset, truth = read_source(config())
    with pytest.raises(InputError, match="effects of a file bring no annotations"):
        terms_of(GraphKeys(), "", truth, dataset)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "cells.h5ad"}, "'example' beside data.source=cells.h5ad"),
        ({"effects": ""}, "data.effects_scale is 'log2' without data.effects"),
        ({"effects": "", "effects_scale": ""}, "data.control_profile is 'drawn' without"),
        ({"effects_scale": ""}, "scale of effects is ''"),
        ({"control_profile": ""}, "no control profile"),
        ({"simulation": "singles=3"}, "no setting 'singles'"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        read_source(config(**changes))


def test_the_command_writes_the_same_cells(tmp_path, capsys):
    import anndata

    output = tmp_path / "around.h5ad"
    flags = ["--effects=example", "--scale=log2", "--control-profile=drawn", "--cells=6"]
    asked = ["simulate", *flags, "--settings=reference_cells=2", f"--output={output}"]
    assert cli.main(asked) == 0
    assert capsys.readouterr().out.split() == [str(output), str(tmp_path / "around.truth.npz")]
    truth = read_source(config())[1]
    back = load_truth(tmp_path / "around.truth.npz")
    for field in dataclasses.fields(truth):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(truth, field.name))
    assert anndata.read_h5ad(output).shape == (6 * 14 + 22, 200)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "a preset (none) and --effects (none)"),
        (["tiny", "--effects=example"], "a preset (tiny) and --effects (example)"),
        (["tiny", "--scale=ln"], "with a preset, expected --effects"),
        (["tiny", "--cells=many"], "--cells is 'many'"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags, message, tmp_path, capsys):
    assert cli.main(["simulate", *flags, f"--output={tmp_path / 'x.h5ad'}"]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
