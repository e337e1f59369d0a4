"""Every config: the same keys in all variants, documented, and a `test` variant that runs from data
to report."""

import dataclasses
import importlib
import json
import pathlib
import runpy

import pytest

import main as cli
from jaxpert.app.families import MODULES
from jaxpert.core.config import KEYS, MEANINGS
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
VARIANTS |= {
    f"cycseq_{stage}": ["full", "demo", "test", "paper", "reference"]
    for stage in ("pretrain", "finetune", "dose")
}
"""Of configs that have others than full, demo and test."""
OPTIONAL = {"recon_alpha", "signs", "profile", "residual_dropout", "lines", "targets"}
"""Settings that no config sets (profiles are variants of the CycSeq configs)."""
SAME_MODEL = {"cradle_dixit", "cradle_replogle", "cradle_adamson", "gears_dixit", "gears_adamson"}
"""Configs that differ from those of Norman in settings only; without the slower parts of an
evaluation these are shown there."""
LEAN = [
    "--config.evaluation.pass_cells=0",
    "--config.evaluation.likelihood=",
    "--config.quality.doublets=none",
]
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
def test_keys_are_those_of_the_help(case):
    from jaxpert.core.workdir import flatten

    config = config_of(*case)
    keys = flatten(config.to_dict())
    assert set(KEYS) <= set(keys) <= set(MEANINGS)
    settings = importlib.import_module(MODULES[config.model.name]).Settings
    own = {field.name for field in dataclasses.fields(settings)} - OPTIONAL
    assert set(config.model.kwargs) == own | (
        {"particles", "score_particles"} if config.model.name in VAES else set()
    )


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
    for train in (t, f):
        found = (
            train.decay,
            train.decay_every,
            train.clip,
            train.clip_kind,
            train.clip_parts,
            train.weight_decay,
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


@pytest.fixture(scope="module")
def work_of(tmp_path_factory):
    """(path, variant, flags) -> its finished work directory; configs that say the same are run
    once."""
    done: dict[str, pathlib.Path] = {}

    def run(path, variant, *flags) -> pathlib.Path:
        said = json.dumps([config_of(path, variant).to_dict(), flags], sort_keys=True)
        if said not in done:
            work = tmp_path_factory.mktemp("run") / "work"
            # The UMAP is drawn in the command line's own tests.
            argv = [f"--config={path}:{variant}", "--config.evaluation.umap_cells=0", *flags]
            assert cli.main(["main.py", *argv, f"--workdir={work}"]) == 0
            done[said] = work
        return done[said]

    return run


@pytest.mark.parametrize("case", [case for case in CASES if case[1].endswith("test")], ids=named)
def test_test_variant_runs_to_a_report(case, work_of):
    flags = LEAN if case[0].stem in SAME_MODEL else []
    if case[0].stem == "cycseq_finetune":
        flags = [f"--config.train.start={work_of(case[0].with_stem('cycseq_pretrain'), 'test')}"]
    work = work_of(*case, *flags)
    metrics = json.loads((work / "metrics.json").read_text())
    assert metrics["model"]["all"]["mse"] > 0
    assert (work / "report.html").stat().st_size > 50_000
