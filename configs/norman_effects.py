"""GEARS or SAMS-VAE on cells drawn around measured effects: real singles and pairs at full size,
with a known truth (docs/simulator.md, Effects of a file).

The effects are a table of log fold changes, such as a pseudo-bulk of Norman et al. 2019 with 104
    singles and 130 pairs over 2,000 genes. `:full` names it by --config.data.effects, with its
    logarithm by --config.data.effects_scale and the control's means by
    --config.data.control_profile (here drawn); cells for each perturbation stand in
    --config.data.simulation.
Expected: not run at full size yet.
Command: python experiments/main.py --config=configs/norman_effects.py:gears,full
    --config.data.effects=FILE.h5ad --workdir=runs/norman_effects
Variants: MODEL,SIZE with gears or sams_vae, and full (the models' settings for Norman), demo
    (minutes on two cores) or test (seconds); the last two draw around the small table that comes
    with the simulator.
"""

from ml_collections import ConfigDict

from jaxpert.models.cradle import settings as cradle
from jaxpert.models.gears import settings as gears

MODELS, SIZES = ("gears", "sams_vae"), ("full", "demo", "test")


def get_config(variant: str = "gears,full") -> ConfigDict:
    model, _, size = variant.partition(",")
    if model not in MODELS or size not in SIZES:
        raise ValueError(
            f"variant is {variant!r}, expected MODEL,SIZE with a model of {', '.join(MODELS)} and "
            f"a size of {', '.join(SIZES)}"
        )
    if model == "gears":
        config = ConfigDict(gears.defaults(variant=size))
    else:
        config = ConfigDict(cradle.defaults(model, size))
    config.data.update(source="simulated", perturbation="perturbation", control_profile="drawn")
    if size == "full":
        config.data.update(
            effects="norman2019_k562_pseudobulk_lfc_2000g.h5ad",
            effects_scale="ln",
            simulation="cells=100",
        )
        if model == "gears":
            config.graphs.ontology = "human"
        return config
    config.data.update(effects="example", effects_scale="log2")
    config.data.simulation = "cells=100" if size == "demo" else "cells=20,reference_cells=8"
    if model == "gears":
        # The invented targets of the small table have no annotations.
        config.model.kwargs.perturbation_graphs = "none"
    return config
