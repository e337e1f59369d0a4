"""The four baselines of the CRADLE-VAE paper on each of its four screens; the variant names model
and screen.

Paper: SAMS-VAE's settings on Norman (30,000 steps, clip 100) and Replogle (150,000 steps, no clip);
Dixit as Norman, Adamson as Replogle, since nothing is published for them. Trained on all cells,
failed ones included. Command: python experiments/main.py
--config=configs/cradle_baselines.py:sams_vae,norman --workdir=runs/sams_norman Variants:
MODEL,SCREEN with sams_vae, cpa_vae, svae_plus or conditional_vae, and norman, dixit, replogle,
adamson, or `demo` (the simulated screen in minutes on two cores) or `test` (seconds), whose decoder
is as deep as CRADLE-VAE's.
"""

from ml_collections import ConfigDict

from jaxpert.core import config as keys

COMBINATIONS, CELLS = ("norman", "dixit"), ("replogle", "adamson")
SCREENS = (*COMBINATIONS, *CELLS, "demo", "test")
OWN = {
    "sams_vae": {"guide": "correlated", "mean_field_encoder": False},
    "cpa_vae": {"embedding_prior_scale": 1.0, "mean_field_encoder": False},
    "svae_plus": {"mask_beta": 2.0, "temperature": 1.0, "combinations": "own"},
    "conditional_vae": {},
}


def get_config(variant: str = "sams_vae,norman") -> ConfigDict:
    model, _, screen = variant.partition(",")
    if model not in OWN or screen not in SCREENS:
        raise ValueError(
            f"variant is {variant!r}, expected MODEL,SCREEN with a model of {', '.join(OWN)} and "
            "a screen of "
            f"{', '.join(SCREENS)}"
        )
    size = screen if screen in ("demo", "test") else "full"
    config = ConfigDict(keys.defaults(size))
    config.model.name = model
    masks = keys.mask_settings(size) if model == "sams_vae" else {}
    config.model.kwargs = ConfigDict(keys.vae_sizes(size) | masks | OWN[model])
    if size != "full":
        config.model.kwargs.decoder_layers = 2
        return config
    config.data.source = config.data.preset = screen
    config.train.update(epochs=100_000, max_steps=30_000, patience=0)
    if screen in CELLS:
        config.split.kind = "cells"
        config.train.update(max_steps=150_000, clip=0.0)
        if masks:
            config.model.kwargs.update(
                embedding_layers=2, embedding_hidden_dim=200, mask_prior=0.001
            )
    return config
