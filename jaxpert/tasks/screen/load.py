"""From a config to the problem of a run: read cells, choose genes, label, split, link genes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np

from jaxpert import data
from jaxpert.core import stages
from jaxpert.core.family import Family, Problem
from jaxpert.core.ranges import brief, number
from jaxpert.core.types import SPLITS, Dataset, InputError
from jaxpert.data.effects_file import effects_elsewhere, simulate_files
from jaxpert.data.effects_table import is_table, read_table
from jaxpert.data.gene_graphs import ONTOLOGY
from jaxpert.data.labels_asked import known_names, listed, sets_asked
from jaxpert.tasks.screen import audit, feeds, figures, understood
from jaxpert.tasks.screen.asking import check_particles
from jaxpert.tasks.screen.graphs import drops_unannotated, link, terms_of, wanted_graphs
from jaxpert.tasks.screen.keys import DataKeys, LabelKeys, QualityKeys, ScreenConfig, SplitKeys

SHARES = dict.fromkeys(("combo_seen0", "combo_seen1", "combo_seen2", "single", "no_test"))
SHARED: ContextVar[dict[Any, tuple[Dataset, Any]] | None] = ContextVar("SHARED", default=None)
"""Cells that several runs of a command share; None where each run reads its own."""


def load(config: ScreenConfig, family: Family, others: Mapping[str, Family]) -> Problem:
    """The problem of a run, with every demand of its evaluation checked.

    Raises InputError for data that cannot be read or cannot carry what the config asks for.
    """
    _check_others(config, others)
    _check_ensemble(config)
    _check_particles(config)
    dataset, truth = load_dataset(config)
    check_effects(config.model.name, dataset, family, others)
    _check_evaluation(config, dataset)
    notes = audit.notes_of(config, dataset)
    dataset = replace(dataset, notes=(*dataset.notes, *notes))
    problem = problem_of(dataset, truth, pair_seed=config.split.seed)
    return problem._replace(audit=understood.facts_of(dataset))


def check_effects(
    model: str, dataset: Dataset, family: Family, others: Mapping[str, Family]
) -> None:
    """Refuse a table of effects where the model learns from cells alone."""
    if dataset.scale == "effects" and not family.effects:
        able = ", ".join(name for name, other in others.items() if other.effects)
        raise InputError(
            f"{dataset.name!r} is a table of effects, from which {model} cannot learn, expected "
            f"counts of cells: give these, or take a model of {able}"
        )


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
    dataset, truth = _cells_of(config)
    wanted = wanted_graphs(config)
    terms = None
    if ONTOLOGY in wanted:
        dataset, terms = terms_of(config.graphs, config.data.folder, truth, dataset)
    if drops_unannotated(config) and terms is not None:
        # Cells that no graph can serve leave before the split, so that parts keep their shares.
        dataset = data.drop_unannotated(dataset, terms)
        dataset = label(config.quality, dataset)
    dataset = split(config.split, dataset)
    # Failed cells leave train and val alone, which needs the split to be there.
    if config.quality.training_cells == "passed":
        dataset = data.drop_failed(dataset)
    if wanted:
        # Co-expression is that of training cells, so graphs come after the split.
        dataset = link(dataset, config.graphs, wanted, terms)
    if config.evaluation.other_screen:
        dataset = replace(dataset, other_screen=effects_elsewhere(config.evaluation.other_screen))
    return dataset, truth


@contextlib.contextmanager
def shared_cells() -> Iterator[None]:
    """Read and label cells once for all runs of the block that are on the same ones; for runs of
    one command, between which no file changes."""
    token = SHARED.set({})
    try:
        yield
    finally:
        SHARED.reset(token)


def _cells_of(config: ScreenConfig) -> tuple[Dataset, Any]:
    """The cells that no model and no split has changed, and their truth; those of `shared_cells`
    where they were read before."""
    shared = SHARED.get()
    if shared is None:
        return _read_cells(config)
    place = counts_place(config)
    key = config.data, place, config.quality, config.evaluation.controls, drops_unannotated(config)
    if key not in shared:
        # One screen at a time, since it may fill the memory.
        shared.clear()
        shared[key] = _read_cells(config)
    return shared[key]


def _read_cells(config: ScreenConfig) -> tuple[Dataset, Any]:
    dataset, truth = read_source(config)
    dataset = audit.with_controls(config, dataset)
    # Before cells are labelled, which takes longer than all other checks together.
    audit.check_cells(dataset)
    # Genes are chosen first, since graphs are made of the chosen ones alone.
    if config.data.variable_genes:
        dataset = data.keep_variable(dataset, config.data.variable_genes)
    # Where cells leave for their annotations, quality is that of the cells that stay.
    if not drops_unannotated(config):
        dataset = label(config.quality, dataset)
    return dataset, truth


def quality_columns(quality: QualityKeys) -> dict[str, str]:
    """Columns of whole-transcriptome quality that the config names."""
    return {name: column for name, column in vars(quality.columns).items() if column}


def read_options(keys: DataKeys) -> dict[str, Any]:
    """What the config says of the columns of a file, as `data.read` takes it."""
    texts = ("layer", "guide_prefix", "stratum")
    options: dict[str, Any] = {name: getattr(keys, name) or None for name in texts}
    options |= label_options(keys)
    options["highly_variable"] = keys.highly_variable or None
    options["gene_names"] = keys.gene_names or None
    options["strip_versions"] = keys.strip_versions
    # A number, so 0 is a value here and not an empty text.
    options["min_cells_per_gene"] = keys.min_cells_per_gene
    options["guide_threshold"] = keys.guide_threshold
    options["no_guide"] = keys.no_guide
    return options


def gene_columns(quality: QualityKeys) -> dict[str, str]:
    """Columns of the genes that flag what a quality criterion sums over."""
    return {name: column for name, column in vars(quality.gene_columns).items() if column}


def label_options(keys: LabelKeys) -> dict[str, Any]:
    """What the config of any task says of the labels, as `data.read` takes it."""
    return {field.name: getattr(keys, field.name) for field in fields(LabelKeys)}


def simulator_settings(text: str) -> dict[str, Any]:
    """{"artifact_share": 0.1} from "artifact_share=0.1,..."; the simulator checks names and
    ranges."""
    values: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, _, value = (word.strip() for word in part.partition("="))
        try:
            if name in values:
                raise ValueError(f"{name} is given twice")
            values[name] = number(int if value.isdecimal() else float, value)
        except ValueError as error:
            raise InputError(
                f"data.simulation is {brief(text)}, expected different names with a number each, "
                "such as artifact_share=0.1,cells=3000: correct it"
            ) from error
    return values


def read_source(config: ScreenConfig) -> tuple[Dataset, Any]:
    """The cells that a config names, as they are read, and their truth."""
    keys, folder = config.data, config.data.folder or None
    doublets = config.quality.doublets
    _check_effects(keys)
    if keys.source in data.SOURCES:  # public screens have columns that are known
        return data.load(keys.source, folder=folder, doublets=doublets), None
    if keys.source != "simulated" and is_table(keys.source, keys.perturbation, keys.layer):
        return _read_effects(keys), None
    if keys.source != "simulated":
        options = read_options(keys) | {"gene_columns": gene_columns(config.quality)}
        options["counts"] = counts_place(config)
        return data.load(keys.source, folder=folder, doublets=doublets, **options), None
    cells, truth = _simulated(keys)
    options = read_options(keys) | {"name": "simulated"}
    return data.load(cells, folder=folder, doublets=doublets, **options), truth


def counts_place(config: ScreenConfig) -> str:
    """Where the counts of a file are to be, as `data.read` takes it."""
    # Whoever does not want all cells on the device does not want them in memory either.
    if config.data.counts == "auto" and config.train.layout == "stream":
        return "disk"
    return config.data.counts


def _read_effects(keys: DataKeys) -> Dataset:
    """A table of effects, of which what belongs to cells cannot be asked."""
    texts = ("guide_prefix", "stratum", "highly_variable", "gene_names")
    others = ("strip_versions", "min_cells_per_gene", "variable_genes")
    asked = [name for name in (*texts, *others) if getattr(keys, name)]
    if asked:
        raise InputError(
            f"data.{asked[0]} is {getattr(keys, asked[0])!r} and {keys.source} is a table of "
            "effects, expected a file of cells with it: leave it out"
        )
    return read_table(keys.source, layer=keys.layer or None, **label_options(keys))


def _simulated(keys: DataKeys) -> tuple[Any, Any]:
    overrides = simulator_settings(keys.simulation)
    seed = keys.simulation_seed
    if not keys.effects:
        return data.simulate(keys.preset, seed=seed, **overrides)
    return simulate_files(
        keys.effects, keys.effects_scale, keys.control_profile, seed=seed, **overrides
    )


def _check_effects(keys: DataKeys) -> None:
    """What belongs to the effects of a file comes with them, and for simulated cells."""
    if keys.effects and keys.source != "simulated":
        raise InputError(
            f"data.effects is {keys.effects!r} beside data.source={keys.source}, expected "
            "data.source=simulated with it: leave one of them out"
        )
    for name in ("effects_scale", "control_profile"):
        if getattr(keys, name) and not keys.effects:
            raise InputError(
                f"data.{name} is {getattr(keys, name)!r} without data.effects, expected a table "
                "of effects with it: name one or leave this out"
            )


def label(quality: QualityKeys, dataset: Dataset) -> Dataset:
    """With the quality labels that a config asks for, if any."""
    if not quality.multiplier:
        return dataset
    if dataset.scale != "counts":
        raise InputError(
            f"quality.multiplier is {quality.multiplier} and {dataset.name!r} is a table of "
            "effects, expected 0, since it has no cells: set quality.multiplier=0"
        )
    # Of thousands of cells the longest part of reading, so that it is announced.
    with stages.stage(f"labelling the quality of {len(dataset.cells):,} cells"):
        return _labelled(quality, dataset)


def _labelled(quality: QualityKeys, dataset: Dataset) -> Dataset:
    return data.add_quality(
        dataset,
        multiplier=quality.multiplier,
        doublets=quality.doublets,
        columns=quality_columns(quality),
        scaled=quality.scaled,
        doublet_group=quality.doublet_group or None,
    )


def split(keys: SplitKeys, dataset: Dataset) -> Dataset:
    """With the split that a config asks for."""
    kind = keys.kind
    if idle := _idle(keys):
        dataset = replace(dataset, notes=(*dataset.notes, *idle))
    # Combinations are what the papers hold out; without them only cells are left.
    if kind == "auto":
        combined = int((dataset.condition_treatments.sum(1) > 1).sum())
        # One combination alone could not be both trained on and tested.
        kind = "combinations" if combined > 1 else "cells"
        # One row of each condition cannot be divided, so that whole conditions are held out.
        if dataset.scale == "effects":
            kind = "simulation"
        # The choice is noted, since scores on both kinds of split mean different things.
        note = (
            f"split.kind=auto chose {kind}: the file has {combined} conditions with two "
            "perturbations or more"
        )
        dataset = replace(dataset, notes=(*dataset.notes, note))
    if dataset.scale == "effects" and kind in ("cells", "combinations", "column"):
        raise InputError(
            f"split.kind is {kind!r} and {dataset.name!r} is a table of effects with one row for "
            "each condition, expected a kind that holds out whole conditions: set "
            "split.kind=simulation or custom"
        )
    dataset = data.add_split(
        dataset,
        kind=kind,
        seed=keys.seed,
        column=keys.column or None,
        **_split_options(keys, kind, dataset),
    )
    if keys.validation:
        return dataset
    # Models that choose nothing by validation learn from these cells too.
    assert dataset.split is not None
    train, val = SPLITS.index("train"), SPLITS.index("val")
    return replace(dataset, split=np.where(dataset.split == val, train, dataset.split))


def _idle(keys: SplitKeys) -> list[str]:
    """A note on each key that is set for another kind of split."""
    kinds = {"column": "column", "file": "custom", "test_genes": "simulation"}
    return [
        f"ATTENTION: split.{name} is set but split.kind={keys.kind} does not use it: set "
        f"split.kind={kind} if it is to count"
        for name, kind in kinds.items()
        if getattr(keys, name) and keys.kind != kind
    ]


def _split_options(keys: SplitKeys, kind: str, dataset: Dataset) -> dict[str, Any]:
    """What a kind of split takes beside its seed."""
    if kind == "simulation":
        return {
            "gene_share": keys.gene_share,
            "combination_share": keys.combination_share,
            "test_perts": _genes_asked(keys.test_genes, dataset),
            "only_test_set_perts": keys.only_test_genes,
        }
    if kind == "simulation_single":
        return {"gene_share": keys.gene_share}
    if kind == "custom":
        return {"lists": keys.file}
    return {"share": keys.share} if kind in SHARES else {}


def _genes_asked(names: Sequence[str], dataset: Dataset) -> tuple[str, ...]:
    """Perturbed genes as the data call them; unknown ones are left for the split to refuse."""
    known = known_names(dataset)
    asked = sets_asked(listed(names, known), known)
    return tuple(gene for parts in asked for gene in parts.names)


def _check_others(config: ScreenConfig, others: Mapping[str, Family]) -> None:
    """Families whose scores are asked for have some."""
    known = [name for name, family in others.items() if family.scores is not None]
    for name in config.evaluation.scores_of:
        if name not in known:
            raise InputError(
                f"evaluation.scores_of names {name!r}, expected some of {', '.join(known)}: "
                "correct it"
            )


def _check_ensemble(config: ScreenConfig) -> None:
    if config.evaluation.ensemble and config.train.seeds < 2:
        raise InputError(
            f"evaluation.ensemble is True and train.seeds is {config.train.seeds}, expected "
            "several seeds to take the mean of: set train.seeds=5"
        )


def _check_particles(config: ScreenConfig) -> None:
    """Errors of predicted means are taken over groups of generated cells, 20 where there are enough
    of them, each of at least two cells."""
    check_particles(config.evaluation.particles, "evaluation.particles")


def _check_evaluation(config: ScreenConfig, dataset: Dataset) -> None:
    """What would otherwise be found wrong only after training."""
    figures.named_conditions(dataset, config.evaluation.shown)
    part = config.evaluation.likelihood
    if part and not len(dataset.rows(part)):
        there = ", ".join(name for name in SPLITS[:3] if len(dataset.rows(name)))
        raise InputError(
            f"evaluation.likelihood is {part!r}, expected a split with cells ({there}) or nothing: "
            "correct it"
        )
    audit.check_split(config, dataset)
