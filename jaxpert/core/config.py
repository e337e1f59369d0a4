"""Every config key with its default and meaning: where configs start from, and the text behind
`--help`."""

from __future__ import annotations

KEYS: dict[str, tuple] = {
    "seed": (0, "of parameters, noise and the order of cells"),
    "data.source": (
        "simulated",
        "an .h5ad file, `simulated`, or a public screen: norman, dixit, replogle, adamson; "
        "CycSeq: files joined by commas, and so one column, label or "
        "layer for each",
    ),
    "data.folder": (
        "",
        "folder of the public files; empty: $JAXPERT_DATA, else the user's cache folder",
    ),
    "data.perturbation": ("condition", "column of the cells that names what was perturbed"),
    "data.control": ("ctrl", "its label for control cells"),
    "data.separator": (
        "+",
        "between the perturbations of a combination; empty: labels are never split",
    ),
    "data.layer": ("", "layer with raw counts; empty: X"),
    "data.guide_prefix": (
        "",
        "take perturbations from one-hot columns that begin so; empty: from data.perturbation",
    ),
    "data.stratum": ("", "column of cell lines or batches; empty: none"),
    "data.min_cells_per_gene": (0, "leave out genes seen in fewer cells"),
    "data.highly_variable": ("", "column of the genes that flags those to keep; empty: all"),
    "data.variable_genes": (
        0,
        "keep so many of the most variable genes, and every perturbed gene; 0: all",
    ),
    "data.preset": (
        "demo",
        "of the simulated screen: tiny, demo, norman, dixit, replogle, adamson, lines, doses",
    ),
    "data.simulation_seed": (0, "of the simulated screen"),
    "data.simulation": (
        "",
        "settings of the simulated screen, such as artifact_share=0.1,cells=3000",
    ),
    "data.line": ("", "CycSeq: column of the cell line or type; empty: each file is one line"),
    "data.lines": ("", "CycSeq: lines to use, joined by commas; empty: all"),
    "data.batch": (
        "",
        "CycSeq: column of the experimental batch within a line; empty: each line of a file is one",
    ),
    "data.normalised": (
        False,
        "CycSeq: the values are no counts but normalised before, with data.lognorm=given",
    ),
    "data.lognorm": ("log2_cp10k", "CycSeq: log2_cp10k, log2_raw, ln_cp10k_zscore or given"),
    "data.combat_reference": (
        "largest",
        "CycSeq: batch that the others are aligned to, largest, or start (that of the "
        "run in train.start); empty: no ComBat",
    ),
    "data.combat_cells": (
        "controls",
        "CycSeq: cells that ComBat is fitted to: controls, or all as published",
    ),
    "data.replicates": (50, "CycSeq: draws of every spectrum (perturbation in a batch)"),
    "data.cells_per_draw": (50, "CycSeq: cells of one draw"),
    "data.unit": (
        "pseudobulk",
        "CycSeq: a row is the mean of a draw (pseudobulk), or each drawn cell (cell)",
    ),
    "data.cells_disjoint": (False, "CycSeq: deal cells to the parts of the split before drawing"),
    "data.draw": ("seeded", "CycSeq: seeded, or published: the published random numbers"),
    "data.compound": ("", "CycSeq: column of the compound in a screen of doses; empty: no doses"),
    "data.dose": ("dose", "CycSeq: column of the dose, a number in one unit"),
    "data.vehicle": ("vehicle", "CycSeq: compound label of untreated cells"),
    "data.targets": (
        "",
        "CycSeq: table of compounds and their target genes (.csv or tab-separated); empty: "
        "simulated",
    ),
    "data.pairs": ("adjacent", "CycSeq: pairs of doses: adjacent, or lowest_to_highest"),
    "data.test_compounds": (
        "",
        "CycSeq: compounds to test, joined by commas; empty: those with one annotated target",
    ),
    "graphs.ontology": (
        "",
        "annotations (.gmt, .gaf, .pkl; plain or .gz) or `human`; empty: the simulated screen's",
    ),
    "graphs.aspects": ("P,F,C", "parts of the Gene Ontology to take from a GAF file"),
    "graphs.nodes": (
        "measured",
        "of the ontology graph: perturbed genes, with them measured, or all annotated ones",
    ),
    "graphs.unannotated": (
        "drop",
        "cells with a perturbed gene without annotation: drop them, or keep them",
    ),
    "graphs.edges": (
        "",
        "graphs of your own, such as name=edges.csv,other=more.csv (source, target, importance)",
    ),
    "graphs.neighbours": (20, "most neighbours of a gene in a graph"),
    "graphs.jaccard": (0.1, "shared annotation above which two genes are linked"),
    "graphs.correlation": (
        0.4,
        "absolute correlation above which two genes are linked by co-expression",
    ),
    "graphs.signed": (False, "whether only positive correlations count"),
    "graphs.all_cells": (False, "whether co-expression looks at cells of combinations too"),
    "quality.multiplier": (
        5,
        "a cell fails beyond so many MAD from the median: 3, 4 or 5; 0: no quality labels",
    ),
    "quality.doublets": (
        "scrublet",
        "scrublet (the package), scanpy (its version), none, or a column of 0/1 calls",
    ),
    "quality.doublet_group": (
        0,
        "call doublets in random groups of so many cells, to bound memory; 0: all at once",
    ),
    "quality.scaled": (False, "whether to multiply the MAD by 1.4826"),
    "quality.training_cells": (
        "all",
        "all, or passed: leave failed cells out of training and validation",
    ),
    "quality.columns.umi_count": (
        "",
        "column of whole-transcriptome UMI counts; empty: from the counts",
    ),
    "quality.columns.n_genes": (
        "",
        "column of whole-transcriptome numbers of genes; empty: from the counts",
    ),
    "quality.columns.pct_mt": ("", "column of mitochondrial percentages; empty: from the counts"),
    "quality.columns.pct_ribo": ("", "column of ribosomal percentages; empty: from the counts"),
    "quality.columns.pct_hb": ("", "column of haemoglobin percentages; empty: from the counts"),
    "split.kind": (
        "auto",
        "combinations, cells, column, none, auto (combinations if there are, else cells), or whole "
        "conditions: simulation, simulation_single, combo_seen0, combo_seen1, "
        "combo_seen2, single, "
        "no_test, no_split, custom; CycSeq: replicate, perturbation, cell_line, "
        "perturbation_in_line, none",
    ),
    "split.seed": (0, "of the split"),
    "split.column": ("", "column with train, val, test and dropped, for split.kind=column"),
    "split.gene_share": (0.75, "simulation: share of the genes that training may see"),
    "split.combination_share": (
        0.75,
        "simulation: share of the combinations of these genes that are trained on",
    ),
    "split.share": (0.1, "combo_seen0 to 2, single, no_test: share held out"),
    "split.test_genes": ("", "simulation: genes to hold out, joined by commas"),
    "split.only_test_genes": (False, "simulation: whether these are the only genes held out"),
    "split.file": ("", "custom: a .json file with the lists train, val and test of conditions"),
    "split.held_out": (
        "",
        "CycSeq: perturbations, lines or `PERTURBATION in LINE` to test; empty: a random share",
    ),
    "split.test_share": (0.2, "CycSeq: share held out for test"),
    "split.val_share": (
        0.1,
        "CycSeq: share held out to validate; 0: one replicate of training validates",
    ),
    "model.name": ("cradle_vae", "module in jaxpert.models"),
    "train.start": (
        "",
        "CycSeq: work directory of a finished run to go on from (fine-tuning); empty: from scratch",
    ),
    "train.epochs": (
        2000,
        "passes over the training cells, at most; CycSeq: 0 with train.start evaluates that run as "
        "it is",
    ),
    "train.max_steps": (0, "steps, at most; 0: no bound"),
    "train.batch_size": (512, "cells per step over all devices"),
    "train.optimizer": ("adam", "adam, rmsprop or sgd"),
    "train.learning_rate": (0.0003, "of the optimiser, at the start"),
    "train.b1": (0.9, "Adam's decay of the first moment"),
    "train.b2": (0.999, "Adam's decay of the second moment"),
    "train.decay": (1.0, "factor of the learning rate after every train.decay_every epochs"),
    "train.decay_every": (1, "epochs; 0: a tenth of train.epochs"),
    "train.weight_decay": (1e-06, "L2 added to the gradient"),
    "train.clip": (100.0, "bound on the gradient; 0: none"),
    "train.clip_kind": ("norm", "what it bounds: the global norm, or each value"),
    "train.clip_parts": (
        "",
        "parts of the parameters that the clip is for, joined by commas; empty: all",
    ),
    "train.freeze": ("", "parameters to leave as they are, by path, joined by commas; empty: none"),
    "train.drop_last": (False, "whether to leave out the incomplete last batch of an epoch"),
    "train.pairing": (
        "step",
        "matched control cell: drawn anew in every step, or once for each cell",
    ),
    "train.patience": (
        50,
        "epochs without a lower validation loss before training stops; 0: never",
    ),
    "train.validate_every": (1, "epochs between validations"),
    "train.log_every": (50, "steps run in one compiled program and logged as one row"),
    "train.save_seconds": (60.0, "seconds between checkpoints"),
    "train.seeds": (
        1,
        "train so many seeds at once (vmap); the first one is reported in full, all in `seeds`",
    ),
    "train.devices": (0, "number of devices; 0: all"),
    "train.layout": ("auto", "counts on the device: dense, csr, or auto"),
    "train.multi_process": (False, "whether the job runs as several processes (jax.distributed)"),
    "evaluation.particles": (2500, "generated cells per condition behind each predicted mean"),
    "evaluation.library": (10000.0, "library size of generated cells"),
    "evaluation.multipliers": (
        "",
        "quality labels to score against, such as 3,4,5; empty: quality.multiplier's",
    ),
    "evaluation.pass_cells": (
        100,
        "generated cells per condition for the quality pass rate; 0: skip it",
    ),
    "evaluation.likelihood": ("val", "split whose predictive IWELBO is computed; empty: none"),
    "evaluation.umap_cells": (5000, "cells in the UMAP of the basal latent; 0: skip it"),
    "evaluation.gears": (
        False,
        "whether to compute the GEARS paper's scores too; CycSeq: epochs of a GEARS trained "
        "beside as a baseline, 0: none",
    ),
    "evaluation.scgen": (0, "CycSeq: epochs of a scGen trained beside as a baseline; 0: none"),
    "evaluation.triangular": (
        "",
        "CycSeq: genes to name in the triangular validation, joined by commas",
    ),
    "evaluation.shown": (
        "",
        "perturbations to show in figures, joined by commas; empty: the strongest ones",
    ),
}
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
    "recon_weight": "CRADLE-VAE: balanced_batch (as published results were made) or none (the "
    "paper's formula)",
    "causal_artifact": "CRADLE-VAE: False is the ablation with a free artifact vector",
    "compat": "CRADLE-VAE, GEARS: default, or reference: the published code's numbers",
    "particles": "Monte-Carlo samples of the training loss",
    "score_particles": "importance samples of the predictive IWELBO",
    "guide": "SAMS-VAE: correlated (effects know of their masks) or mean_field",
    "mean_field_encoder": "SAMS-VAE, CPA-VAE: True hides the perturbation from the basal encoder",
    "mask_beta": "sVAE+: b of the masks' prior Beta(1, b)",
    "combinations": "sVAE+: refuse, or own: every combination has latents of its own",
    "gene_layers": "GEARS: hops along the co-expression graph",
    "perturbation_layers": "GEARS: hops along each graph of perturbed genes",
    "graph": "GEARS: operator on graphs: sgconv (weighted), gcn or gat",
    "coexpression_graph": "GEARS: graph between measured genes, coexpression or none",
    "perturbation_graphs": "GEARS: graphs between perturbed genes, joined by commas: ontology, "
    "coexpression, own; none",
    "position_weight": "GEARS: weight of the co-expression branch",
    "cross_gene": "GEARS: False is the ablation without the cross-gene layer",
    "shared_decoder": "GEARS: True is the ablation with one decoder for all genes",
    "loss": "GEARS: autofocus, or mse for the ablation",
    "genes": "GEARS: genes that the loss sees: those expressed in the condition, or all",
    "gamma": "GEARS: the error's exponent is 2 + gamma",
    "direction": "GEARS: direction loss by sign (published, no gradient) or tanh",
    "direction_weight": "GEARS: its weight",
    "uncertainty": "GEARS: none, shipped (published form) or gaussian (likelihood)",
    "uncertainty_weight": "GEARS: weight of the shipped form",
    "uncertainty_head": "GEARS: shared by all genes, or one for each gene",
    "absent": "GEARS: perturbed gene in no graph: refuse, isolated or average",
    "control_draws": "GEARS: with compat=reference, control cells behind a prediction",
    "hidden_layers": "scGen: of the encoder, and of the decoder but for variant=v2",
    "dropout": "scGen, CycSeq: share of hidden values dropped in training",
    "kl_weight": "scGen, CycSeq: of the KL term (scGen: beside half the squared error summed over "
    "genes)",
    "variant": "scGen: default, or the public versions: v1 (2019), v2 (scvi-tools)",
    "delta_from": "scGen: training cells behind a stratum's shift: of all strata, or of the "
    "others only",
    "columns": "CycSeq: perturbation columns: genes (any gene can be asked for) or perturbed",
    "hidden": "CycSeq: widths of the linear layers of generators and critics",
    "embedding_dim": "CycSeq: width of the embedded conditions",
    "blocks": "CycSeq: residual blocks of encoder and decoder each",
    "residual": "CycSeq: normalized blocks, or plain ones as printed",
    "attention": "CycSeq: single (as published, a gated linear layer), tokens, or none",
    "tokens": "CycSeq: tokens of attention=tokens",
    "batch_norm": "CycSeq: also normalise the encoder's linear layers",
    "lookup": "CycSeq: embed conditions by tables without bias",
    "expression_head": "CycSeq: prelu, or tanh on rows scaled by each gene's largest training "
    "value",
    "condition_head": "CycSeq: identity or tanh",
    "clamp": "CycSeq: keep log variances of the latents within [-20, 10]",
    "dose": "CycSeq: read log10 of the dose",
    "gan": "CycSeq: adversarial loss: log, or lsgan as published",
    "penalty_weight": "CycSeq: of the critics' gradient penalty",
    "penalty_of": "CycSeq: whose slope it is of: logit or probability",
    "expression_loss": "CycSeq: scaled (error over the batch's variance) or mse",
    "condition_loss": "CycSeq: cross_entropy, binary, or swapped (as published)",
    "kl": "CycSeq: mean or sum over the dimensions of a latent",
    "adversarial_weight": "CycSeq: of the adversarial term",
    "cycle_weight": "CycSeq: of the cycle term",
    "target_weight": "CycSeq: of the perturbation in the cycle term",
    "stratum_weight": "CycSeq: of the line in the cycle term",
    "samples": "CycSeq: draws of the latents behind a prediction; 0: their means",
    "placeholders": "CycSeq: batch columns kept free for lines of later data",
}
"""Meaning of `model.kwargs`, of which each model has some."""

MEANINGS = {key: meaning for key, (_, meaning) in KEYS.items()} | {
    f"model.kwargs.{k}": m for k, m in KWARGS.items()
}

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


def defaults(variant: str = "full", changes: dict | None = None) -> dict:
    """Nested defaults of every key but `model.kwargs`, with a family's changes by section; `demo`
    and `test` are small and on the simulated screen."""
    if variant not in ("full", *SMALL):
        raise ValueError(f"variant is {variant!r}, expected one of full, {', '.join(SMALL)}")
    config: dict = {}
    for key, (default, _) in KEYS.items():
        *parts, name = key.split(".")
        node = config
        for part in parts:
            node = node.setdefault(part, {})
        node[name] = default
    for section, values in (*SMALL.get(variant, {}).items(), *(changes or {}).items()):
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

    The demo's 6,000 cells cannot carry the published weights: balancing shrinks the likelihood
    threefold beside the KL terms, and J2 compares with medians of a handful of failed cells, so it
    takes the paper's plain likelihood and a small J2.
    """
    own = {
        "cf_weight": 0.5,
        "cf_reduce": "sum",
        "recon_weight": "balanced_batch",
        "causal_artifact": True,
    }
    small = {"demo": {"cf_weight": 0.02, "recon_weight": "none"}}
    return (
        vae_sizes(variant)
        | mask_settings(variant)
        | own
        | {"compat": "default"}
        | small.get(variant, {})
    )


def gears_settings(variant: str = "full") -> dict:
    """`model.kwargs` of GEARS."""
    settings: dict = {
        "hidden_dim": 64,
        "gene_layers": 1,
        "perturbation_layers": 1,
        "graph": "sgconv",
    }
    settings |= {
        "coexpression_graph": "coexpression",
        "perturbation_graphs": "ontology",
        "position_weight": 0.2,
    }
    settings |= {
        "cross_gene": True,
        "shared_decoder": False,
        "loss": "autofocus",
        "genes": "expressed",
        "gamma": 2.0,
    }
    settings |= {
        "direction": "sign",
        "direction_weight": 0.1,
        "uncertainty": "none",
        "uncertainty_weight": 1.0,
    }
    settings |= {
        "uncertainty_head": "shared",
        "absent": "refuse",
        "compat": "default",
        "control_draws": 300,
    }
    return settings | {"test": {"hidden_dim": 8}}.get(variant, {})


def gears_changes(variant: str = "full") -> dict:
    """What GEARS changes of the sections that all models share: training as published, no quality
    labels, scores."""
    train = {"epochs": 20, "batch_size": 32, "learning_rate": 1e-3, "decay": 0.5, "decay_every": 1}
    train |= {"weight_decay": 5e-4, "clip": 1.0, "clip_kind": "value", "patience": 0}
    train |= {"drop_last": True, "pairing": "cell"}
    small = {"demo": {"epochs": 15, "batch_size": 64}, "test": {"epochs": 2}}
    return {
        "split": {"kind": "simulation", "seed": 1},
        "quality": {"multiplier": 0},
        "train": train | small.get(variant, {}),
        "evaluation": {"gears": True, "pass_cells": 0, "likelihood": "", "umap_cells": 0},
    }


def scgen_settings(variant: str = "full") -> dict:
    """`model.kwargs` of scGen."""
    settings = {
        "latent_dim": 100,
        "hidden_dim": 800,
        "hidden_layers": 2,
        "dropout": 0.2,
        "kl_weight": 5e-5,
    }
    settings |= {"variant": "default", "delta_from": "all"}
    small = {
        "demo": {"latent_dim": 50, "hidden_dim": 200},
        "test": {"latent_dim": 4, "hidden_dim": 16},
    }
    return settings | small.get(variant, {})


def scgen_changes(variant: str = "full") -> dict:
    """What scGen changes of the sections that all models share: training as in its tutorials, no
    quality labels; small variants on simulated cell lines."""
    train = {
        "epochs": 100,
        "batch_size": 32,
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "clip": 0.0,
        "patience": 25,
    }
    small = {"demo": {"epochs": 40, "batch_size": 64}, "test": {"epochs": 2, "batch_size": 64}}
    lines = {"demo": {"preset": "lines", "simulation": "cells=6000,singles=20,genes=500"}}
    lines |= {"test": {"preset": "lines_tiny"}}
    return {
        "data": lines[variant] | {"stratum": "line"} if variant in lines else {},
        "quality": {"multiplier": 0},
        "split": {"kind": "cells"},
        "train": train | small.get(variant, {}),
        "evaluation": {"pass_cells": 0, "likelihood": ""},
    }


CYCSEQ_PROFILES: dict[str, dict] = {
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
"""What the printed equations and the published code have otherwise: variants of the CycSeq configs,
at full size."""
CYCSEQ_VARIANTS = ("full", *SMALL, *CYCSEQ_PROFILES)


def cycseq_settings(variant: str = "full") -> dict:
    """`model.kwargs` of CycSeq."""
    settings: dict = {
        "columns": "genes",
        "hidden": (1024, 512, 256),
        "latent_dim": 128,
        "embedding_dim": 32,
    }
    settings |= {
        "blocks": 2,
        "residual": "normalized",
        "attention": "single",
        "tokens": 16,
        "batch_norm": False,
    }
    settings |= {
        "lookup": False,
        "dropout": 0.2,
        "expression_head": "prelu",
        "condition_head": "identity",
    }
    settings |= {
        "clamp": True,
        "dose": False,
        "gan": "log",
        "penalty_weight": 1.0,
        "penalty_of": "logit",
    }
    settings |= {"expression_loss": "scaled", "condition_loss": "cross_entropy", "kl": "mean"}
    settings |= {
        "adversarial_weight": 1.0,
        "cycle_weight": 10.0,
        "kl_weight": 0.01,
        "target_weight": 0.1,
    }
    settings |= {"stratum_weight": 0.1, "samples": 0, "placeholders": 2}
    small = {
        "demo": {"hidden": (256, 128, 64), "latent_dim": 32, "embedding_dim": 16},
        "test": {
            "hidden": (16, 8, 8),
            "latent_dim": 4,
            "embedding_dim": 4,
            "blocks": 1,
            "tokens": 4,
        },
    }
    return settings | CYCSEQ_PROFILES.get(variant, {}) | small.get(variant, {})


def cycseq_defaults(
    variant: str = "full", stage: str = "pretrain", changes: dict | None = None
) -> dict:
    """`defaults` of CycSeq at a stage of training ("pretrain" or "finetune"), with the paper's
    settings.

    The profile variants `paper` and `reference` are `full` with the model of the printed equations
    and of the published code.
    """
    if variant not in CYCSEQ_VARIANTS:
        raise ValueError(f"variant is {variant!r}, expected one of {', '.join(CYCSEQ_VARIANTS)}")
    train: dict = {
        "b1": 0.5,
        "weight_decay": 0.0,
        "clip": 1.0,
        "clip_parts": "generators",
        "decay": 0.9,
    }
    train |= {
        "decay_every": 0,
        "drop_last": True,
        "epochs": 100,
        "batch_size": 512,
        "learning_rate": 2e-4,
    }
    train["patience"] = 30
    if stage == "finetune":
        train |= {
            "optimizer": "rmsprop",
            "learning_rate": 1e-5,
            "batch_size": 64,
            "epochs": 30,
            "patience": 10,
        }
    small = {
        "demo": {
            "batch_size": 64,
            "epochs": 30,
            "learning_rate": 1e-3 if stage == "pretrain" else 1e-4,
        },
        "test": {"batch_size": 4, "epochs": 2},
    }
    rows = {
        "demo": {
            "preset": "lines",
            "simulation": "cells=8000,singles=20,genes=500",
            "replicates": 20,
        },
        "test": {"preset": "lines_tiny", "replicates": 2, "cells_per_draw": 5},
    }
    lines = {"demo": ("line1,line2,line3", "line4"), "test": ("line1,line2", "line3")}
    data: dict = {"combat_reference": "start"} if stage == "finetune" else {}
    if variant in rows:
        data |= {
            "perturbation": "perturbation",
            "line": "line",
            "lines": lines[variant][stage == "finetune"],
        }
        data |= rows[variant]
    own = {
        "data": data,
        "quality": {"multiplier": 0},
        "split": {"kind": "replicate" if variant not in rows else "perturbation"},
        "train": train | small.get(variant, {}),
        "evaluation": {"pass_cells": 0, "likelihood": "", "umap_cells": 0, "gears": 0},
    }
    config = defaults(variant if variant in SMALL else "full", own)
    for section, values in (changes or {}).items():
        config[section] |= values
    return config


def help_text() -> str:
    """One line per key."""
    width = max(map(len, MEANINGS)) + 2
    return "\n".join(f"  --config.{key:<{width}}{meaning}" for key, meaning in MEANINGS.items())
