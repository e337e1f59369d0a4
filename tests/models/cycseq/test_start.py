"""A finished run as the start of another: what it hands on, and what it cannot."""

import pytest

from jaxpert import simulate
from jaxpert.core.types import InputError
from jaxpert.models.cycseq import start
from jaxpert.tasks.translation.load import load_rows
from support.cycseq_runs import config, prepare, problem

REFERENCE = "combat_reference"


@pytest.fixture(scope="module")
def pretrained(run_of):
    return run_of("cycseq_pretrain:test")


@pytest.fixture(scope="module")
def begun(pretrained):
    return start.read(pretrained, config().model.kwargs)


def changed(begun, **network):
    """The run with other things kept beside its parameters; None for nothing of that name."""
    kept = {name: value for name, value in begun.network.items() if name not in network}
    return begun._replace(network=kept | network)


def older(begun):
    """A run that kept nothing of its reference."""
    without = {name: value for name, value in begun.network.items() if name != REFERENCE}
    return begun._replace(network=without)


def test_a_config_says_what_is_gone_on_from(pretrained, begun):
    assert start.start(config()) is None
    asked = start.start(config("finetune", train__start=str(pretrained)))
    assert asked.reference.name == begun.network[REFERENCE]["name"]
    given = {"train__start": str(pretrained), "data__combat_reference": "largest"}
    assert start.start(config("finetune", **given)).reference is None


def test_references_that_a_run_cannot_give(pretrained, begun):
    for run, said in (
        (older(begun), "of an older version that kept no moments"),
        (changed(begun, combat_reference=None), "trained without ComBat"),
    ):
        with pytest.raises(InputError, match=f"the run in train.start, which .*{said}"):
            start.reference_of(run)
    other = config("finetune", train__start=str(pretrained), data__combat_cells="all")
    said = "fitted with data.combat_cells=controls and here it is all"
    with pytest.raises(InputError, match=said):
        load_rows(other, start.start(other).reference)


def test_a_run_aligned_otherwise_than_its_start_is_noted(begun):
    here = problem().details.aligned_to
    without = changed(begun, combat_reference=None)
    for run, asked, aligned_to, said in (
        (
            begun,
            "largest",
            here,
            "aligned to line1 by ComBat, and rows here are aligned to line1 of these data",
        ),
        (begun, "", None, "aligned to line1 by ComBat, and rows here are not aligned"),
        (without, "largest", here, "not aligned by ComBat, and rows here are aligned to line1"),
        (older(begun), "largest", here, "aligned to a batch of which it kept nothing"),
        (without, "", None, None),
        (begun, "start", start.reference_of(begun), None),
    ):
        notes = start.alignment_notes(run, asked, aligned_to)
        assert [said in note for note in notes] == ([True] if said else [])


def test_the_scale_of_rows_is_handed_on(begun):
    own, spec = config(kwargs__expression_head="tanh").model.kwargs, problem().spec
    made = prepare(kwargs__expression_head="tanh")
    scale = made.ready.model.details.unit_scale
    assert scale.shape == (len(spec.genes),) and (scale > 0).all()
    network = made.ready.meta["network"]
    assert "unit_scale" not in network["settings"] and network["unit_scale"] == scale.tolist()
    assert own.unit_scale is None and begun.net.unit_scale is None


def test_runs_that_cannot_be_gone_on_from(pretrained, tmp_path):
    given = {"train__start": str(pretrained), "data__lines": ""}
    cells, _ = simulate.simulate(
        "lines_tiny", cells=400, genes=130, lines=2, singles=3, line_log_sd=0.3
    )
    cells.write_h5ad(tmp_path / "fewer.h5ad")
    for align, said in (
        ("start", "kept ComBat reference 'line1' 200"),
        ("largest", "trained model 200"),
    ):
        changes = {"data__combat_reference": align, "data__source": f"{tmp_path}/fewer.h5ad"}
        with pytest.raises(InputError, match=f"the data have 130 genes and the {said}"):
            prepare("finetune", **changes, **given)
    with pytest.raises(InputError, match="hidden .* there and .* here.*same shape"):
        prepare("finetune", kwargs__hidden=(32, 8, 8), train__start=str(pretrained))
    cells, _ = simulate.simulate("lines_tiny", lines=2)
    cells.obs["line"] = [f"new{i % 3}" for i in range(cells.n_obs)]
    cells.write_h5ad(tmp_path / "many.h5ad")
    with pytest.raises(InputError, match="needs a placeholder batch column, but all are used up"):
        prepare("finetune", data__source=f"{tmp_path}/many.h5ad", **given)
