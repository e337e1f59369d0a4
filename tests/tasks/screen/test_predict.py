"""What predictions say of themselves."""

import numpy as np
import pytest

import jaxpert
from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.models.cradle import cpa_vae, svae_plus
from jaxpert.tasks.screen import predict as workflow

SIZES = {"latent_dim": 4, "hidden_dim": 8}


@pytest.fixture(scope="module")
def screen():
    """No training cell received PERT001: its own cells and those of its pairs are in no split."""
    cells, _ = data.simulate("tiny", cells=300, genes=120)
    labels = cells.obs["perturbation"].astype(str)
    parts = ("train", "train", "val", "test")
    cells.obs["part"] = [
        "dropped" if "PERT001" in label else parts[i % 4] for i, label in enumerate(labels)
    ]
    dataset = data.add_quality(
        data.read(cells, perturbation="perturbation", control="ctrl"), doublets="none"
    )
    return data.add_split(dataset, kind="column", column="part")


def fitted(module, dataset, **settings):
    model = module.build(data.make_spec(dataset), **SIZES, **settings)
    return jaxpert.fit(model, dataset, epochs=1, batch_size=64, devices=1)


@pytest.fixture(scope="module")
def cpa(screen):
    return fitted(cpa_vae, screen)


def test_predictions_name_treatments_without_training_cells(screen, cpa):
    names = ["PERT001", "PERT002", "PERT001+PERT002"]
    predicted = workflow.predict(cpa, screen, names, particles=40)
    assert dict(predicted.obs["support"]) == {
        "ctrl": "trained",
        "PERT001": "no training cells: PERT001",
        "PERT002": "trained",
        "PERT001+PERT002": "no training cells: PERT001",
    }


def test_svae_plus_predicts_the_screens_conditions_only(screen):
    model = fitted(svae_plus, screen, combinations="own")
    new = next(
        f"{a}+{b}"
        for a in screen.treatments
        for b in screen.treatments
        if a < b and f"{a}+{b}" not in screen.conditions and f"{b}+{a}" not in screen.conditions
    )
    with pytest.raises(InputError, match="has no latents for"):
        workflow.predict(model, screen, [new], particles=40)
    predicted = workflow.predict(model, screen, ["PERT002"], particles=40)
    assert predicted.obs["support"].tolist() == ["trained", "trained"]


def test_particles_that_make_no_groups_are_refused(screen, cpa):
    for particles in (0, 1, 50):
        with pytest.raises(InputError, match=f"is {particles}, expected a multiple of 20"):
            workflow.predict(cpa, screen, ["PERT002"], particles=particles)


def test_a_pair_never_trained_is_no_trained_one(screen):
    held_out = data.add_split(screen, kind="combinations")
    rows = held_out.rows("train")
    trained = set(np.asarray(held_out.condition)[rows])
    tested = [c for c in set(held_out.condition[held_out.rows("test")]) - trained]
    model = cpa_vae.build(data.make_spec(held_out), **SIZES)
    words = model.support(held_out.condition_treatments)
    assert tested and {words[c] for c in tested} == {"new combination of trained treatments"}
    assert {words[c] for c in trained} == {"trained"}
