"""The comparisons of the CRADLE-VAE paper: its models and ablations, and its Tables 2 to 5."""

from __future__ import annotations

from pathlib import Path

from jaxpert.models.cradle.paper.labels import TITLES
from jaxpert.report.layout import QCPR, QCPR_RESAMPLED, Layout, Reported, Study, Variant

# The order of the paper's tables, with its own model last.
MODELS = tuple(TITLES)
ABLATIONS = ("cradle_vae_without_counterfactual", "cradle_vae_without_causal")
EFFECTS = ("ate_pearson", "ate_r2", "jaccard_top50")


def config(model: str, data: str, variant: str) -> tuple[str, str]:
    """The config file of a model on a screen, and the variant of it."""
    if model == "cradle_vae":
        return f"cradle_{data}", variant
    # The baselines share one file, whose variants name the screen or the size.
    return "cradle_baselines", f"{model},{data if variant == 'full' else variant}"


STUDY = Study(
    title="CRADLE-VAE and its baselines",
    paper="CRADLE-VAE, AAAI 2025",
    subject="cradle_vae",
    variants={
        "cradle_vae": Variant(TITLES["cradle_vae"], "cradle_vae"),
        "cradle_vae_without_counterfactual": Variant(
            "CRADLE-VAE w/o counterfactual", "cradle_vae", {"model.kwargs.cf_weight": 0.0}
        ),
        "cradle_vae_without_causal": Variant(
            "CRADLE-VAE w/o causal artifact", "cradle_vae", {"model.kwargs.causal_artifact": False}
        ),
        "sams_vae": Variant(TITLES["sams_vae"], "sams_vae", per_threshold=False),
        "cpa_vae": Variant(TITLES["cpa_vae"], "cpa_vae", per_threshold=False),
        "svae_plus": Variant(TITLES["svae_plus"], "svae_plus", per_threshold=False),
        "conditional_vae": Variant(
            TITLES["conditional_vae"], "conditional_vae", per_threshold=False
        ),
        "sams_vae_passed": Variant(
            "SAMS-VAE, passed cells only", "sams_vae", {"quality.training_cells": "passed"}
        ),
    },
    layouts=(
        Layout(
            "2",
            "Effects and quality of generated cells",
            MODELS,
            (*EFFECTS, QCPR, QCPR_RESAMPLED),
            baselines=True,
        ),
        Layout("3", "Ablations", ("cradle_vae", *ABLATIONS), (*EFFECTS, QCPR)),
        Layout(
            "4",
            "The 20 genes that each perturbation moves most",
            MODELS,
            ("ate_pearson_top20", "ate_r2_top20", "jaccard_top20"),
            baselines=True,
        ),
        Layout(
            "5",
            "Training on passed cells only",
            ("sams_vae_passed", "cradle_vae"),
            (*EFFECTS, QCPR),
        ),
    ),
    data={
        "norman": Reported(subset="test", vary="split"),
        "dixit": Reported(subset="test", vary="split"),
        "replogle": Reported(subset="all", vary="train"),
        "adamson": Reported(subset="all", vary="train"),
    },
    config=config,
    published=Path(__file__).with_name("published.csv"),
)
