"""The four baselines of the CRADLE-VAE paper on each of its four screens; the variant names model
and screen.

Paper: SAMS-VAE's settings on Norman (30,000 steps, clip 100) and Replogle (150,000 steps, no clip);
    Dixit as Norman, Adamson as Replogle, since nothing is published for them. Trained on all cells,
    failed ones included.
Command: python experiments/main.py --config=configs/cradle_baselines.py:sams_vae,norman
    --workdir=runs/sams_norman
Variants: MODEL,SCREEN with sams_vae, cpa_vae, svae_plus or conditional_vae, and norman, dixit,
    replogle, adamson, or `demo` (the simulated screen in minutes on two cores) or `test` (seconds),
    whose decoder is as deep as CRADLE-VAE's.
"""

from ml_collections import ConfigDict

from jaxpert.models.cradle import settings

MODELS = tuple(name for name in settings.MODELS if name != "cradle_vae")
COMBINATIONS, CELLS, SMALL = ("norman", "dixit"), ("replogle", "adamson"), ("demo", "test")
SCREENS = (*COMBINATIONS, *CELLS, *SMALL)


def get_config(variant: str = "sams_vae,norman") -> ConfigDict:
    model, _, screen = variant.partition(",")
    if model not in MODELS or screen not in SCREENS:
        raise ValueError(
            f"variant is {variant!r}, expected MODEL,SCREEN with a model of {', '.join(MODELS)} "
            f"and a screen of {', '.join(SCREENS)}"
        )
    config = ConfigDict(settings.defaults(model, screen if screen in SMALL else "full"))
    if model == "svae_plus":
        config.model.kwargs.combinations = "own"
    if screen in SMALL:
        config.model.kwargs.decoder_layers = 2
        return config
    config.data.source = config.data.preset = screen
    config.train.update(epochs=100_000, max_steps=30_000, patience=0)
    if screen in CELLS:
        config.split.kind = "cells"
        config.train.update(max_steps=150_000, clip=0.0)
        if model == "sams_vae":
            config.model.kwargs.update(
                embedding_layers=2, embedding_hidden_dim=200, mask_prior=0.001
            )
    return config
