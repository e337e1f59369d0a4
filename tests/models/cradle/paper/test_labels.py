"""What the paper's figures and tables call models."""

from jaxpert.core import config
from jaxpert.models.cradle import settings
from jaxpert.models.cradle.paper import labels


def label(model: str, training_cells: str = "all", **kwargs) -> str:
    raw = settings.defaults(model, "test")
    raw["model"]["kwargs"] |= kwargs
    raw["quality"]["training_cells"] = training_cells
    return labels.label_of(config.read(settings.KEYS, settings.MODELS[model], raw))


def test_labels_name_model_ablation_and_cells():
    assert label("cradle_vae") == "CRADLE-VAE"
    assert label("cradle_vae", cf_weight=0.0) == "CRADLE-VAE w/o CF"
    assert label("cradle_vae", causal_artifact=False) == "CRADLE-VAE w/o causal"
    assert label("sams_vae", "passed") == "SAMS-VAE, passed cells"
    assert label("conditional_vae") == "Conditional VAE"


def test_every_model_has_a_title():
    assert set(labels.TITLES) == set(settings.MODELS)
