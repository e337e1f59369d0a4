"""What the CRADLE-VAE paper's figures and tables call its models."""

from __future__ import annotations

from jaxpert.tasks.screen.keys import ScreenConfig

TITLES = {
    "conditional_vae": "Conditional VAE",
    "svae_plus": "sVAE+",
    "cpa_vae": "CPA-VAE",
    "sams_vae": "SAMS-VAE",
    "cradle_vae": "CRADLE-VAE",
}
"""In the order of the tables."""


def label_of(config: ScreenConfig) -> str:
    """The model of a run as the paper's figures call it, with its ablation and the cells it was
    trained on."""
    name, settings = config.model.name, config.model.kwargs
    label = TITLES.get(name, name.replace("_", " "))
    if getattr(settings, "cf_weight", None) == 0:
        label += " w/o CF"
    if getattr(settings, "causal_artifact", True) is False:
        label += " w/o causal"
    if config.quality.training_cells == "passed":
        label += ", passed cells"
    return label
