"""Settings of CycSeq: defaults, meanings and ranges, the profiles of the paper, and the configs of
both stages of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxpert.core import config
from jaxpert.core.config import Config, ModelEntry
from jaxpert.core.errors import InputError
from jaxpert.core.ranges import DEEPEST, HEAVIEST, MOST, WIDEST
from jaxpert.core.settings import setting
from jaxpert.tasks.translation import keys

NONE = "none"
STAGES = ("pretrain", "finetune")


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of CycSeq; the defaults are ours (docs/models/cycseq.md says where and why
    they differ from the paper and from the published code)."""

    profile: str = setting(
        "default",
        "where the other defaults come from: ours, the printed equations, or the published code",
        choices=("default", "paper", "reference"),
        internal=True,
    )
    columns: str = setting(
        "genes",
        "perturbation columns: genes (any gene can be asked for) or perturbed",
        choices=("genes", "perturbed"),
    )
    hidden: tuple[int, ...] = setting(
        (1024, 512, 256),
        "widths of the linear layers of generators and critics",
        at_least=1,
        at_most=WIDEST,
        filled=True,
    )
    latent_dim: int = setting(128, "width of each of the three latents", at_least=1, at_most=WIDEST)
    embedding_dim: int = setting(32, "width of the embedded conditions", at_least=1, at_most=WIDEST)
    blocks: int = setting(
        2, "residual blocks of encoder and decoder each", at_least=0, at_most=DEEPEST
    )
    residual: str = setting(
        "normalized",
        "residual blocks: normalized (as published), or plain ones as printed, which have no "
        "normalisation and no dropout at the end",
        choices=("normalized", "plain"),
    )
    attention: str = setting(
        "single",
        "single (over one token, as published: a gated linear layer), tokens (over parts of the "
        "row), or none",
        choices=("single", "tokens", NONE),
    )
    tokens: int = setting(16, "tokens of attention=tokens", at_least=1, at_most=WIDEST)
    batch_norm: bool = setting(False, "also normalise the encoder's linear layers")
    lookup: bool = setting(False, "embed conditions by tables without bias")
    dropout: float = setting(0.2, "share of hidden values dropped in training", at_least=0, below=1)
    residual_dropout: float | None = setting(
        None,
        "the same in residual blocks; None for `dropout` (the published switch turns off only "
        "that of the linear layers)",
        at_least=0,
        below=1,
        internal=True,
    )
    expression_head: str = setting(
        "prelu",
        "prelu, or tanh on rows scaled by each gene's largest training value",
        choices=("prelu", "tanh"),
    )
    condition_head: str = setting(
        "identity", "of the predicted conditions", choices=("identity", "tanh")
    )
    clamp: bool = setting(True, "keep log variances of the latents within [-20, 10]")
    dose: bool = setting(False, "read log10 of the dose, in generators and critics")
    gan: str = setting(
        "log", "adversarial loss: log, or lsgan as published", choices=("log", "lsgan")
    )
    penalty_weight: float = setting(
        1.0, "of the critics' gradient penalty", at_least=0, at_most=HEAVIEST
    )
    penalty_of: str = setting(
        "logit", "whose slope it draws towards 1", choices=("logit", "probability")
    )
    expression_loss: str = setting(
        "scaled",
        "scaled (squared error over the batch's variance) or mse",
        choices=("scaled", "mse"),
    )
    condition_loss: str = setting(
        "cross_entropy",
        "cross_entropy, binary (as published, its arguments in the right order), or swapped (in "
        "the published order)",
        choices=("cross_entropy", "binary", "swapped"),
    )
    kl: str = setting("mean", "over the dimensions of a latent", choices=("mean", "sum"))
    adversarial_weight: float = setting(
        1.0, "of the adversarial term", at_least=0, at_most=HEAVIEST
    )
    cycle_weight: float = setting(10.0, "of the cycle term", at_least=0, at_most=HEAVIEST)
    kl_weight: float = setting(0.01, "of the KL term", at_least=0, at_most=HEAVIEST)
    target_weight: float = setting(
        0.1,
        "of the perturbation in the cycle term, beside 1 for expression",
        at_least=0,
        at_most=HEAVIEST,
    )
    stratum_weight: float = setting(
        0.1, "of the line in the cycle term", at_least=0, at_most=HEAVIEST
    )
    samples: int = setting(
        0, "draws of the latents behind a prediction; 0: their means", at_least=0, at_most=MOST
    )
    placeholders: int = setting(
        2, "batch columns kept free for lines of later data", at_least=0, at_most=1_000
    )
    lines: tuple[str, ...] | None = setting(
        None, "names of the batch columns in use; None for the strata of the data", internal=True
    )
    targets: tuple[str, ...] | None = setting(
        None, "names of the perturbation columns; None for what `columns` says", internal=True
    )
    unit_scale: tuple[float, ...] | None = setting(
        None,
        "largest training value of each gene, by which rows are divided; None for rows as they are",
        above=0,
        internal=True,
    )


PROFILES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {
        "columns": "perturbed",
        "residual": "plain",
        "attention": "tokens",
        "penalty_weight": 0.0,
        "kl": "sum",
        "cycle_weight": 1.0,
        "kl_weight": 1.0,
        "target_weight": 1.0,
        "stratum_weight": 1.0,
    },
    "reference": {
        "expression_head": "tanh",
        "condition_head": "tanh",
        "clamp": False,
        "gan": "lsgan",
        "penalty_weight": 10.0,
        "penalty_of": "probability",
        "expression_loss": "mse",
        "condition_loss": "swapped",
        "samples": 1,
    },
}
"""What the printed equations ("paper") and the published code ("reference") have otherwise than the
defaults."""

KEYS = keys.TranslationConfig
MODELS = {
    "cycseq": ModelEntry(
        "jaxpert.models.cycseq.model",
        Settings,
        variants={
            "demo": {"hidden": (256, 128, 64), "latent_dim": 32, "embedding_dim": 16},
            "test": {
                "hidden": (8,),
                "latent_dim": 4,
                "embedding_dim": 4,
                "blocks": 1,
                "tokens": 4,
            },
            "paper": PROFILES["paper"],
            "reference": PROFILES["reference"],
        },
    )
}
VARIANTS = (*config.VARIANTS, "paper", "reference")
"""Of the configs: the profiles are `full` with another model."""

TRAIN: Mapping[str, Any] = {
    "b1": 0.5,
    "weight_decay": 0.0,
    "clip": 1.0,
    "clip_parts": "generators",
    "decay": 0.9,
    "decay_every": 0,
    "drop_last": True,
    "epochs": 100,
    "batch_size": 512,
    "learning_rate": 2e-4,
    "patience": 30,
}
"""Pre-training of the paper (docs/models/cycseq.md)."""
FINETUNE: Mapping[str, Any] = {
    "optimizer": "rmsprop",
    "learning_rate": 1e-5,
    "batch_size": 64,
    "epochs": 30,
    "patience": 10,
}
"""What its fine-tuning has otherwise."""
SMALL_TRAIN: Mapping[str, Mapping[str, Any]] = {
    "demo": {"batch_size": 64, "epochs": 30},
    "test": {"batch_size": 4, "epochs": 2},
}
DEMO_RATES = {"pretrain": 1e-3, "finetune": 1e-4}
SMALL_DATA: Mapping[str, Mapping[str, Any]] = {
    "demo": {
        "preset": "lines",
        "simulation": "cells=8000,singles=20,genes=500",
        "replicates": 20,
    },
    "test": {"preset": "lines_tiny", "replicates": 2, "cells_per_draw": 5},
}
SMALL_LINES = {
    "demo": {"pretrain": "line1,line2,line3", "finetune": "line4"},
    "test": {"pretrain": "line1,line2", "finetune": "line3"},
}
"""Simulated lines of each stage: one is left for fine-tuning."""


def defaults(model: str = "cycseq", variant: str = "full", stage: str = "pretrain") -> Config:
    """A whole config of CycSeq at a stage of training, with the paper's settings.

    Raises:
        InputError: for an unknown variant or stage.
    """
    if stage not in STAGES:
        raise InputError(f"stage is {stage!r}, expected one of {', '.join(STAGES)}: correct it")
    # A copy, since the stages below change it.
    train = dict(TRAIN)
    data: dict[str, Any] = {}
    # Rows of fine-tuning are aligned to the reference of the first run.
    if stage == "finetune":
        train |= FINETUNE
        data["combat_reference"] = "start"
    train |= SMALL_TRAIN.get(variant, {})
    # Few steps need a higher rate to get anywhere.
    if variant == "demo":
        train["learning_rate"] = DEMO_RATES[stage]
    small = variant in SMALL_DATA
    if small:
        data |= {"line": "line", "lines": SMALL_LINES[variant][stage], **SMALL_DATA[variant]}
    # Small data test what is new; the paper's split would measure the noise of drawing.
    split = {"kind": "perturbation" if small else "replicate"}
    changes = {"data": data, "split": split, "train": train}
    return keys.defaults(model, MODELS[model], variant, changes)
