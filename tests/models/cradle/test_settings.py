"""Settings of the family: small variants, ranges, and configs made of them."""

import pytest

from jaxpert.core import config
from jaxpert.core.errors import InputError
from jaxpert.models.cradle import settings


@pytest.mark.parametrize("variant", config.VARIANTS)
@pytest.mark.parametrize("model", settings.MODELS)
def test_every_variant_is_a_config_that_can_be_read(model, variant):
    entry = settings.MODELS[model]
    checked = config.read(settings.KEYS, entry, settings.defaults(model, variant))
    assert checked.model.name == model
    assert checked.model.kwargs == entry.settings(**entry.variants.get(variant, {}))


def test_the_demo_takes_the_plain_likelihood_and_a_small_counterfactual_term():
    settings_of_demo = settings.defaults("cradle_vae", "demo")["model"]["kwargs"]
    assert settings_of_demo["recon_weight"] == "none" and settings_of_demo["cf_weight"] == 0.02


def test_unknown_variants_are_listed():
    with pytest.raises(ValueError, match="variant is 'tset', expected one of full, demo, test"):
        settings.defaults("sams_vae", "tset")


@pytest.mark.parametrize(
    ("model", "key", "value"),
    [
        ("cradle_vae", "mask_prior", 0.0),
        ("cradle_vae", "mask_prior", 1.0),
        ("cradle_vae", "cf_weight", -0.1),
        ("cradle_vae", "temperature", 0.0),
        ("cradle_vae", "compat", "published"),
        ("sams_vae", "embedding_layers", 0),
        ("cpa_vae", "embedding_prior_scale", float("nan")),
        ("svae_plus", "mask_beta", 0.0),
        ("conditional_vae", "particles", 0),
    ],
)
def test_values_out_of_range_are_refused(model, key, value):
    raw = settings.defaults(model, "test")
    raw["model"]["kwargs"][key] = value
    with pytest.raises(InputError, match=f"model.kwargs.{key} is {value!r}, expected"):
        config.read(settings.KEYS, settings.MODELS[model], raw)


def test_what_is_for_code_alone_is_no_key_of_configs():
    raw = settings.defaults("cradle_vae")
    assert "recon_alpha" not in raw["model"]["kwargs"]
    raw["model"]["kwargs"]["recon_alpha"] = 0.3
    with pytest.raises(InputError, match="model.kwargs.recon_alpha is no setting"):
        config.read(settings.KEYS, settings.MODELS["cradle_vae"], raw)
