"""Every config: the same keys in all variants, documented, and a `test` variant that runs from data
to report."""

import runpy

import jax
import pytest

from jaxpert.app import families, run
from jaxpert.core import fit, settings, train
from jaxpert.core.config import flatten, listed
from support.paths import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.py"))
BASELINES = ("sams_vae", "cpa_vae", "svae_plus", "conditional_vae")
VAES = ("cradle_vae", *BASELINES)
SCREENS = ("norman", "dixit", "replogle", "adamson")
VARIANTS = {
    "cradle_baselines": [
        f"{model},{screen}" for model in BASELINES for screen in (*SCREENS, "demo", "test")
    ]
}
VARIANTS["norman_effects"] = [
    f"{model},{size}" for model in ("gears", "sams_vae") for size in ("full", "demo", "test")
]
VARIANTS |= {
    f"cycseq_{stage}": ["full", "demo", "test", "paper", "reference"]
    for stage in ("pretrain", "finetune", "dose")
}
"""Of configs that have others than full, demo and test."""
LEAN = {
    "quality": {"doublets": "none"},
    "evaluation": {"pass_cells": 0, "likelihood": "", "umap_cells": 0},
}
"""Without the slower parts of reading and evaluation."""
CASES = [
    (path, variant)
    for path in CONFIGS
    for variant in VARIANTS.get(path.stem, ("full", "demo", "test"))
]


def named(case):
    return f"{case[0].stem}:{case[1]}"


def config_of(path, variant=None):
    get_config = runpy.run_path(str(path))["get_config"]
    return get_config() if variant is None else get_config(variant)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_config_has_every_key_and_every_value_is_in_range(case):
    config = config_of(*case).to_dict()
    name = config["model"]["name"]
    keys, entry = families.keys_of(name), families.entry_of(name)
    assert set(flatten(config)) == {key.key for key in listed(keys, entry)} | {"model.name"}
    checked, family = run.read(config)
    assert family.name == families.family_name_of(name) and checked.model.name == name
    assert settings.plain(checked.model.kwargs) == config["model"]["kwargs"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_the_first_variant_is_the_default_and_others_are_refused(path):
    first = VARIANTS.get(path.stem, ("full",))[0]
    assert config_of(path).to_dict() == config_of(path, first).to_dict()
    with pytest.raises(ValueError, match="'nope', expected .*demo, test"):
        config_of(path, "nope")


def test_full_variants_hold_the_papers_settings():
    """Learning rate, counterfactual weight, latents, mask prior and patience of the paper's sweep
    files."""
    expected = {
        "cradle_norman": (3e-4, 0.5, 200, 0.01, 50),
        "cradle_dixit": (3e-4, 0.5, 200, 0.01, 50),
        "cradle_replogle": (1e-3, 0.05, 200, 0.001, 100),
        "cradle_adamson": (1e-4, 0.1, 100, 0.001, 50),
    }
    for name, values in expected.items():
        c = config_of(ROOT / f"configs/{name}.py")
        kwargs, train = c.model.kwargs, c.train
        found = (
            train.learning_rate,
            kwargs.cf_weight,
            kwargs.latent_dim,
            kwargs.mask_prior,
            train.patience,
        )
        assert found == values
        assert (train.batch_size, train.epochs, kwargs.particles, train.clip) == (
            512,
            2000,
            5,
            100.0,
        )


def test_gears_holds_its_papers_settings():
    for screen in ("norman", "adamson", "dixit"):
        c = config_of(ROOT / f"configs/gears_{screen}.py")
        t = c.train
        assert (t.learning_rate, t.decay, t.decay_every, t.batch_size, t.epochs) == (
            1e-3,
            0.5,
            1,
            32,
            20,
        )
        assert (t.weight_decay, t.clip, t.clip_kind, t.drop_last, t.pairing) == (
            5e-4,
            1.0,
            "value",
            True,
            "cell",
        )
        assert (c.model.kwargs.hidden_dim, c.data.variable_genes, c.graphs.neighbours) == (
            64,
            5000,
            20,
        )
        assert (c.data.source, c.graphs.ontology, c.graphs.jaccard, c.graphs.correlation) == (
            screen,
            "human",
            0.1,
            0.4,
        )


def test_cycseq_holds_its_papers_settings_of_each_stage():
    t = config_of(ROOT / "configs/cycseq_pretrain.py").train
    assert (t.optimizer, t.learning_rate, t.b1, t.batch_size, t.epochs, t.patience) == (
        "adam",
        2e-4,
        0.5,
        512,
        100,
        30,
    )
    f = config_of(ROOT / "configs/cycseq_finetune.py").train
    assert (f.optimizer, f.learning_rate, f.batch_size, f.epochs, f.patience) == (
        "rmsprop",
        1e-5,
        64,
        30,
        10,
    )
    for keys in (t, f):
        found = (
            keys.decay,
            keys.decay_every,
            keys.clip,
            keys.clip_kind,
            keys.clip_parts,
            keys.weight_decay,
        )
        assert found == (0.9, 0, 1.0, "norm", "generators", 0.0)


def test_baselines_hold_their_papers_settings():
    path = ROOT / "configs/cradle_baselines.py"
    for screen, steps, clip in (("norman", 30_000, 100.0), ("replogle", 150_000, 0.0)):
        c = config_of(path, f"sams_vae,{screen}")
        assert (c.train.max_steps, c.train.clip, c.train.patience) == (steps, clip, 0)
        assert c.data.source == screen and c.model.kwargs.latent_dim == 200
        found = (
            c.model.kwargs.embedding_layers,
            c.model.kwargs.embedding_hidden_dim,
            c.model.kwargs.mask_prior,
        )
        assert found == {"norman": (4, 400, 0.01), "replogle": (2, 200, 0.001)}[screen]


@pytest.mark.parametrize("case", [case for case in CASES if case[1].endswith("test")], ids=named)
def test_test_variant_reads_its_data_and_builds_its_model(case, run_of):
    """Training and reports are shown once for each family (test_families.py); here, that every
    config comes as far as the first step."""
    config = config_of(*case).to_dict()
    for section, values in LEAN.items():
        for key, value in values.items():
            if key in config.get(section, {}):
                config[section][key] = value
    if config["train"].get("start"):
        config["train"]["start"] = str(run_of("cycseq_pretrain:test"))
    checked, family = run.read(config)
    prepared = run.prepare(checked, family)
    model = prepared.ready.model
    state = train.shapes(
        model,
        fit.make_optimizer(checked.train, 10),
        prepared.problem.sample(model),
        fit.root_key(checked.seed),
    )
    sizes = [leaf.size for leaf in jax.tree.leaves(state.params)]
    # What is computed from means has nothing to learn.
    learns = not family.effects
    assert (sum(sizes) > 100) == learns and state.step.shape == ()
