"""From a config to the problem of a run: read cells, choose genes, label, split, link genes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from jaxpert import data
from jaxpert.core.family import Family, Problem
from jaxpert.core.types import SPLITS, Dataset, InputError
from jaxpert.data.gene_graphs import ONTOLOGY
from jaxpert.tasks.screen import feeds, figures
from jaxpert.tasks.screen.graphs import drops_unannotated, link, terms_of, wanted_graphs
from jaxpert.tasks.screen.keys import DataKeys, QualityKeys, ScreenConfig, SplitKeys

SHARES = dict.fromkeys(("combo_seen0", "combo_seen1", "combo_seen2", "single", "no_test"))


def load(config: ScreenConfig, family: Family, others: Mapping[str, Family]) -> Problem:
    """The problem of a run, with every demand of its evaluation checked.

    Raises InputError for data that cannot be read or cannot carry what the config asks for.
    """
    del family  # every family of this task reads the same cells
    _check_others(config, others)
    _check_particles(config)
    dataset, truth = load_dataset(config)
    _check_evaluation(config, dataset)
    return problem_of(dataset, truth, pair_seed=config.split.seed)


def problem_of(dataset: Dataset, truth: Any = None, *, pair_seed: int = 0) -> Problem:
    """A split data set as a problem; `pair_seed` draws the pairs of `train.pairing=cell`."""
    return Problem(
        dataset=dataset,
        spec=data.make_spec(dataset),
        feeds=partial(feeds.feeds_of, dataset, pair_seed),
        sample=partial(feeds.sample, dataset),
        truth=truth,
    )


def load_dataset(config: ScreenConfig) -> tuple[Dataset, Any]:
    """The labelled, split and linked data set, and the truth behind it where it is simulated (else
    None)."""
    dataset, truth = _read(config)
    # Genes are chosen first, since graphs are made of the chosen ones alone.
    if config.data.variable_genes:
        dataset = data.keep_variable(dataset, config.data.variable_genes)
    wanted = wanted_graphs(config)
    terms = None
    if ONTOLOGY in wanted:
        terms = terms_of(config.graphs, config.data.folder, truth)
        if drops_unannotated(config):
            # Cells that no graph can serve leave before the split, so that parts keep their shares.
            dataset = data.drop_unannotated(dataset, terms)
    if config.quality.multiplier:
        dataset = _label(config.quality, dataset)
    dataset = _split(config.split, dataset)
    # Failed cells leave train and val alone, which needs the split to be there.
    if config.quality.training_cells == "passed":
        dataset = data.drop_failed(dataset)
    if wanted:
        # Co-expression is that of training cells, so graphs come after the split.
        dataset = link(dataset, config.graphs, wanted, terms)
    return dataset, truth


def quality_columns(quality: QualityKeys) -> dict[str, str]:
    """Columns of whole-transcriptome quality that the config names."""
    return {name: column for name, column in vars(quality.columns).items() if column}


def read_options(keys: DataKeys) -> dict[str, Any]:
    """What the config says of the columns of a file, as `data.read` takes it."""
    texts = ("perturbation", "control", "separator", "layer", "guide_prefix", "stratum")
    options: dict[str, Any] = {name: getattr(keys, name) or None for name in texts}
    options["highly_variable"] = keys.highly_variable or None
    # A number, so 0 is a value here and not an empty text.
    options["min_cells_per_gene"] = keys.min_cells_per_gene
    return options


def simulator_settings(text: str) -> dict[str, Any]:
    """{"artifact_share": 0.1} from "artifact_share=0.1,..."; the simulator checks names and
    ranges."""
    values: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        try:
            values[name.strip()] = int(value) if value.strip().isdigit() else float(value)
        except ValueError as error:
            raise InputError(
                f"data.simulation is {text!r}, expected numbers such as "
                "artifact_share=0.1,cells=3000: correct it"
            ) from error
    return values


def _read(config: ScreenConfig) -> tuple[Dataset, Any]:
    keys, folder = config.data, config.data.folder or None
    doublets = config.quality.doublets
    if keys.source in data.SOURCES:  # public screens have columns that are known
        return data.load(keys.source, folder=folder, doublets=doublets), None
    if keys.source != "simulated":
        options = read_options(keys)
        return data.load(keys.source, folder=folder, doublets=doublets, **options), None
    cells, truth = data.simulate(
        keys.preset, seed=keys.simulation_seed, **simulator_settings(keys.simulation)
    )
    options = read_options(keys) | {"name": "simulated"}
    return data.load(cells, folder=folder, doublets=doublets, **options), truth


def _label(quality: QualityKeys, dataset: Dataset) -> Dataset:
    return data.add_quality(
        dataset,
        multiplier=quality.multiplier,
        doublets=quality.doublets,
        columns=quality_columns(quality),
        scaled=quality.scaled,
        doublet_group=quality.doublet_group or None,
    )


def _split(keys: SplitKeys, dataset: Dataset) -> Dataset:
    kind = keys.kind
    # Combinations are what the papers hold out; without them only cells are left.
    if kind == "auto":
        combined = int((dataset.condition_treatments.sum(1) > 1).sum())
        # One combination alone could not be both trained on and tested.
        kind = "combinations" if combined > 1 else "cells"
        # The choice is noted, since scores on both kinds of split mean different things.
        note = (
            f"split.kind=auto chose {kind}: the file has {combined} conditions with two "
            "perturbations or more"
        )
        dataset = replace(dataset, notes=(*dataset.notes, note))
    return data.add_split(
        dataset, kind=kind, seed=keys.seed, column=keys.column or None, **_split_options(keys, kind)
    )


def _split_options(keys: SplitKeys, kind: str) -> dict[str, Any]:
    """What a kind of split takes beside its seed."""
    if kind == "simulation":
        return {
            "gene_share": keys.gene_share,
            "combination_share": keys.combination_share,
            "test_perts": keys.test_genes,
            "only_test_set_perts": keys.only_test_genes,
        }
    if kind == "simulation_single":
        return {"gene_share": keys.gene_share}
    if kind == "custom":
        return {"lists": keys.file}
    return {"share": keys.share} if kind in SHARES else {}


def _check_others(config: ScreenConfig, others: Mapping[str, Family]) -> None:
    """Families whose scores are asked for have some."""
    known = [name for name, family in others.items() if family.scores is not None]
    for name in config.evaluation.scores_of:
        if name not in known:
            raise InputError(
                f"evaluation.scores_of names {name!r}, expected some of {', '.join(known)}"
            )


def _check_particles(config: ScreenConfig) -> None:
    """Errors of predicted means are taken over groups of generated cells, 20 where there are enough
    of them, each of at least two cells."""
    particles = config.evaluation.particles
    if particles % min(20, particles // 2):
        raise InputError(
            f"evaluation.particles is {particles}, expected a multiple of 20, or an even number "
            "below 40"
        )


def _check_evaluation(config: ScreenConfig, dataset: Dataset) -> None:
    """What would otherwise be found wrong only after training."""
    figures.named_conditions(dataset, config.evaluation.shown)
    split = config.evaluation.likelihood
    if split and not len(dataset.rows(split)):
        there = ", ".join(name for name in SPLITS[:3] if len(dataset.rows(name)))
        raise InputError(
            f"evaluation.likelihood is {split!r}, expected a split with cells ({there}) or nothing"
        )
