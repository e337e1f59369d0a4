"""Every config: the same keys in all variants, documented, and a `test` variant that runs from data to report."""

import json
import pathlib
import runpy
import sys

import pytest

from jaxpert.keys import MEANINGS

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.py"))
sys.path.insert(0, str(ROOT / "experiments"))
import main as cli  # noqa: E402


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_keys_are_those_of_the_help(path):
    from jaxpert.folder import flatten

    get_config = runpy.run_path(str(path))["get_config"]
    variants = {name: flatten(get_config(name).to_dict()) for name in ("full", "demo", "test")}
    assert flatten(get_config().to_dict()) == variants["full"]
    for keys in variants.values():
        assert set(keys) == set(MEANINGS)
    with pytest.raises(ValueError, match="'nope', expected one of full, demo, test"):
        get_config("nope")


def test_full_variants_hold_the_papers_settings():
    """Learning rate, counterfactual weight, latents, mask prior and patience of the paper's sweep files."""
    expected = {
        "cradle_norman": (3e-4, 0.5, 200, 0.01, 50),
        "cradle_dixit": (3e-4, 0.5, 200, 0.01, 50),
        "cradle_replogle": (1e-3, 0.05, 200, 0.001, 100),
        "cradle_adamson": (1e-4, 0.1, 100, 0.001, 50),
    }
    for name, values in expected.items():
        c = runpy.run_path(str(ROOT / f"configs/{name}.py"))["get_config"]()
        kwargs, train = c.model.kwargs, c.train
        found = train.learning_rate, kwargs.cf_weight, kwargs.latent_dim, kwargs.mask_prior, train.patience
        assert found == values
        assert (train.batch_size, train.epochs, kwargs.particles, train.clip) == (512, 2000, 5, 100.0)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_test_variant_runs_to_a_report(path, tmp_path):
    # The UMAP is drawn in the command line's own tests.
    argv = ["main.py", f"--config={path}:test", f"--workdir={tmp_path}/work", "--config.evaluation.umap_cells=0"]
    assert cli.main(argv) == 0
    metrics = json.loads((tmp_path / "work/metrics.json").read_text())
    assert metrics["model"]["all"]["mse"] > 0
    assert (tmp_path / "work/report.html").stat().st_size > 50_000
