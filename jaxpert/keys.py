"""Every config key with its default and meaning: where configs start from, and the text behind `--help`."""

from __future__ import annotations

KEYS: dict[str, tuple] = {
    "seed": (0, "of parameters, noise and the order of cells"),
    "data.source": ("simulated", "an .h5ad file, `simulated`, or a public screen: norman, dixit, replogle, adamson"),
    "data.folder": ("", "folder of the public files; empty: $JAXPERT_DATA, else the user's cache folder"),
    "data.perturbation": ("condition", "column of the cells that names what was perturbed"),
    "data.control": ("ctrl", "its label for control cells"),
    "data.separator": ("+", "between the perturbations of a combination; empty: labels are never split"),
    "data.layer": ("", "layer with raw counts; empty: X"),
    "data.guide_prefix": ("", "take perturbations from one-hot columns that begin so; empty: from data.perturbation"),
    "data.stratum": ("", "column of cell lines or batches; empty: none"),
    "data.min_cells_per_gene": (0, "leave out genes seen in fewer cells"),
    "data.highly_variable": ("", "column of the genes that flags those to keep; empty: all"),
    "data.preset": ("demo", "of the simulated screen: tiny, demo, norman, dixit, replogle, adamson"),
    "data.simulation_seed": (0, "of the simulated screen"),
    "data.simulation": ("", "settings of the simulated screen, such as artifact_share=0.1,cells=3000"),
    "quality.multiplier": (5, "a cell fails beyond so many MAD from the median: 3, 4 or 5"),
    "quality.doublets": ("scrublet", "scrublet (the package), scanpy (its version), none, or a column of 0/1 calls"),
    "quality.doublet_group": (0, "call doublets in random groups of so many cells, to bound memory; 0: all at once"),
    "quality.scaled": (False, "whether to multiply the MAD by 1.4826"),
    "quality.training_cells": ("all", "all, or passed: leave failed cells out of training and validation"),
    "quality.columns.umi_count": ("", "column of whole-transcriptome UMI counts; empty: from the counts"),
    "quality.columns.n_genes": ("", "column of whole-transcriptome numbers of genes; empty: from the counts"),
    "quality.columns.pct_mt": ("", "column of mitochondrial percentages; empty: from the counts"),
    "quality.columns.pct_ribo": ("", "column of ribosomal percentages; empty: from the counts"),
    "quality.columns.pct_hb": ("", "column of haemoglobin percentages; empty: from the counts"),
    "split.kind": ("auto", "combinations, cells, column, none, or auto (combinations if there are, else cells)"),
    "split.seed": (0, "of the split"),
    "split.column": ("", "column with train, val, test and dropped, for split.kind=column"),
    "model.name": ("cradle_vae", "module in jaxpert.models"),
    "train.epochs": (2000, "passes over the training cells, at most"),
    "train.max_steps": (0, "steps, at most; 0: no bound"),
    "train.batch_size": (512, "cells per step over all devices"),
    "train.learning_rate": (0.0003, "of Adam"),
    "train.weight_decay": (1e-06, "L2 added to the gradient"),
    "train.clip": (100.0, "bound on the gradient's global norm; 0: none"),
    "train.patience": (50, "epochs without a lower validation loss before training stops; 0: never"),
    "train.validate_every": (1, "epochs between validations"),
    "train.log_every": (50, "steps run in one compiled program and logged as one row"),
    "train.save_seconds": (60.0, "seconds between checkpoints"),
    "train.seeds": (1, "train so many seeds at once (vmap); the first one is reported in full, all in `seeds`"),
    "train.devices": (0, "number of devices; 0: all"),
    "train.layout": ("auto", "counts on the device: dense, csr, or auto"),
    "train.multi_process": (False, "whether the job runs as several processes (jax.distributed)"),
    "evaluation.particles": (2500, "generated cells per condition behind each predicted mean"),
    "evaluation.library": (10000.0, "library size of generated cells"),
    "evaluation.multipliers": ("", "quality labels to score against, such as 3,4,5; empty: quality.multiplier's"),
    "evaluation.pass_cells": (100, "generated cells per condition for the quality pass rate; 0: skip it"),
    "evaluation.likelihood": ("val", "split whose predictive IWELBO is computed; empty: none"),
    "evaluation.umap_cells": (5000, "cells in the UMAP of the basal latent; 0: skip it"),
    "evaluation.shown": ("", "perturbations to show in figures, joined by commas; empty: the strongest ones"),
}  # fmt: skip
"""{key: (default, meaning)}, but for the model's own."""

KWARGS = {
    "latent_dim": "width of the latents",
    "hidden_dim": "width of the encoder's and decoder's hidden layers",
    "encoder_layers": "hidden layers of the basal encoder",
    "decoder_layers": "hidden layers of the decoder (CRADLE-VAE: less one)",
    "embedding_layers": "hidden layers of the effect and artifact networks",
    "embedding_hidden_dim": "their width",
    "mask_prior": "prior probability that a perturbation moves a latent",
    "embedding_prior_scale": "prior standard deviation of effects and of the artifact vector",
    "temperature": "of the straight-through Bernoulli",
    "cf_weight": "CRADLE-VAE: weight of the counterfactual term; 0: the ablation without it",
    "cf_reduce": "CRADLE-VAE: sum or mean of that term over the cells of a batch",
    "recon_weight": "CRADLE-VAE: balanced_batch (as published results were made) or none (the paper's formula)",
    "causal_artifact": "CRADLE-VAE: False is the ablation with a free artifact vector",
    "compat": "CRADLE-VAE: default, or reference: the published code's numbers",
    "particles": "Monte-Carlo samples of the training loss",
    "score_particles": "importance samples of the predictive IWELBO",
    "guide": "SAMS-VAE: correlated (effects know of their masks) or mean_field",
    "mean_field_encoder": "SAMS-VAE, CPA-VAE: True hides the perturbation from the basal encoder",
    "mask_beta": "sVAE+: b of the masks' prior Beta(1, b)",
    "combinations": "sVAE+: refuse, or own: every combination has latents of its own",
}  # fmt: skip
"""Meaning of `model.kwargs`, of which each model has some."""

MEANINGS = {key: meaning for key, (_, meaning) in KEYS.items()} | {f"model.kwargs.{k}": m for k, m in KWARGS.items()}

SMALL = {
    "demo": {
        "data": {"perturbation": "perturbation"},
        "train": {"epochs": 150, "batch_size": 128, "learning_rate": 1e-3, "patience": 30},
        "evaluation": {"particles": 500, "umap_cells": 3000},
    },
    "test": {
        "data": {"preset": "tiny", "perturbation": "perturbation"},
        "train": {"epochs": 3, "batch_size": 64},
        "evaluation": {"particles": 40, "pass_cells": 10, "umap_cells": 100},
    },
}
"""What the variants on the simulated screen change: minutes on two cores, and seconds."""


def defaults(variant: str = "full") -> dict:
    """Nested defaults of every key but `model.kwargs`; `demo` and `test` are small and on the simulated screen."""
    if variant not in ("full", *SMALL):
        raise ValueError(f"variant is {variant!r}, expected one of full, {', '.join(SMALL)}")
    config: dict = {}
    for key, (default, _) in KEYS.items():
        *parts, name = key.split(".")
        node = config
        for part in parts:
            node = node.setdefault(part, {})
        node[name] = default
    for section, values in SMALL.get(variant, {}).items():
        config[section] |= values
    return config


def vae_sizes(variant: str = "full") -> dict:
    """`model.kwargs` that all the Gamma-Poisson VAEs have, at the paper's sizes or small ones."""
    sizes = {"latent_dim": 200, "hidden_dim": 400, "encoder_layers": 1, "decoder_layers": 1}
    samples = {"particles": 5, "score_particles": 100}
    small = {
        "demo": {"latent_dim": 50, "hidden_dim": 128},
        "test": {"latent_dim": 8, "hidden_dim": 16, "particles": 2, "score_particles": 5},
    }
    return sizes | samples | small.get(variant, {})


def mask_settings(variant: str = "full") -> dict:
    """`model.kwargs` of masked embeddings."""
    paper = {"embedding_layers": 4, "embedding_hidden_dim": 400, "mask_prior": 0.01}
    small = {
        "demo": {"embedding_layers": 2, "embedding_hidden_dim": 64, "mask_prior": 0.1},
        "test": {"embedding_layers": 2, "embedding_hidden_dim": 16},
    }
    return paper | {"embedding_prior_scale": 1.0, "temperature": 1.0} | small.get(variant, {})


def cradle_settings(variant: str = "full") -> dict:
    """`model.kwargs` of CRADLE-VAE.

    The demo's 6,000 cells cannot carry the published weights: balancing shrinks the likelihood threefold beside the KL
    terms, and J2 compares with medians of a handful of failed cells, so it takes the paper's plain likelihood and a
    small J2.
    """
    own = {"cf_weight": 0.5, "cf_reduce": "sum", "recon_weight": "balanced_batch", "causal_artifact": True}
    small = {"demo": {"cf_weight": 0.02, "recon_weight": "none"}}
    return vae_sizes(variant) | mask_settings(variant) | own | {"compat": "default"} | small.get(variant, {})


def help_text() -> str:
    """One line per key."""
    width = max(map(len, MEANINGS)) + 2
    return "\n".join(f"  --config.{key:<{width}}{meaning}" for key, meaning in MEANINGS.items())
