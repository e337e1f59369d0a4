"""From a config to the problem of a run: read cells of several lines (or doses), pair, split and
align them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpert import data
from jaxpert.core.family import Family, Problem
from jaxpert.core.settings import members, paths_of, rejoined
from jaxpert.core.settings import names as names_of
from jaxpert.core.types import Batch, Dataset, Feed, InputError, Model
from jaxpert.data.files import shown
from jaxpert.data.labels_asked import Known, conditions_asked, known_names, listed
from jaxpert.data.subset import keep_cells
from jaxpert.tasks.screen.load import label_options, simulator_settings
from jaxpert.tasks.translation import audit, doses
from jaxpert.tasks.translation.beside import epochs_of
from jaxpert.tasks.translation.combat import CombatReference
from jaxpert.tasks.translation.feed import make_feeds
from jaxpert.tasks.translation.keys import DataKeys, SplitKeys, TrainKeys, TranslationConfig
from jaxpert.tasks.translation.lines import load_lines
from jaxpert.tasks.translation.prepare import Prepared, prepare
from jaxpert.tasks.translation.rows import blocks_of_rows, rows_spec

IN = " in "
"""Between a perturbation and its line in names of pairs."""
NONE = ("", "none", "null")
"""Values of `data.combat_reference` for no ComBat, in configs of this version and of older ones."""
START = "start"
"""Value of `data.combat_reference`: the reference of the run in `train.start`."""
SHAPE_ROWS = 2


def load(config: TranslationConfig, family: Family, others: Mapping[str, Family]) -> Problem:
    """The problem of a run, with every demand of its evaluation checked.

    Raises InputError for data that cannot be read or cannot carry what the config asks for.
    """
    if not config.train.epochs and not config.train.start:
        raise InputError(
            "train.epochs is 0, expected at least 1 where train.start is empty: raise it, or name "
            "a finished run"
        )
    # The start is read first, since rows are aligned to its reference.
    start = _read_start(config, family)
    reference = None if start is None else start.reference
    prepared, truth = load_rows(config, reference)
    audit.check_rows(config, prepared)
    notes = (*prepared.dataset.notes, *audit.notes_of(prepared))
    prepared = prepared._replace(dataset=replace(prepared.dataset, notes=notes))
    problem = problem_of(prepared, truth, start)._replace(audit=audit.facts_of(prepared))
    # Models beside are asked now, so that a run does not fail after its training.
    for name in epochs_of(config, others):
        beside = others[name].beside["translation"]
        if not beside.why_not(problem):
            beside.check(config, problem)
    return problem


def problem_of(prepared: Prepared, truth: Any = None, start: Any = None) -> Problem:
    """Prepared rows as a problem."""
    return Problem(
        dataset=prepared.dataset,
        spec=rows_spec(prepared),
        feeds=partial(feeds_of, prepared),
        sample=partial(sample, prepared),
        truth=truth,
        details=prepared,
        start=start,
    )


def feeds_of(prepared: Prepared, model: Model, train: TrainKeys) -> tuple[Feed, Feed | None]:
    """Batches of pairs of rows; a model whose details have a `unit_scale` gets them divided by
    it."""
    return make_feeds(
        prepared,
        train.batch_size,
        train.devices or jax.device_count(),
        unit_scale=getattr(model.details, "unit_scale", None),
        layout=train.layout,
    )


def sample(prepared: Prepared, model: Model) -> Batch:
    """A few training pairs of rows."""
    del model  # no model of this task asks for tables
    rows = next(blocks_of_rows(prepared, "train", block=SHAPE_ROWS))
    pairs, count = prepared.pairs, len(rows.pair)
    condition = pairs.condition[rows.pair]
    extras = {}
    # As the feed has them, since shapes are worked out from this batch.
    if pairs.dose is not None:
        dose = pairs.dose[rows.pair].astype(np.float32)
        extras = {"dose": jnp.asarray(dose[:, 0]), "control_dose": jnp.asarray(dose[:, 1])}
    treatment = prepared.dataset.condition_treatments[condition]
    return Batch(
        x=jnp.asarray(rows.x, jnp.float32),
        control=jnp.asarray(rows.control, jnp.float32),
        treatment=jnp.asarray(treatment, jnp.float32),
        condition=jnp.asarray(condition, jnp.int32),
        stratum=jnp.asarray(pairs.batch[rows.pair], jnp.int32),
        mask=jnp.ones(count, bool),
        slot=jnp.arange(count, dtype=jnp.int32),
        extras=extras,
    )


def load_rows(
    config: TranslationConfig, reference: CombatReference | None = None
) -> tuple[Prepared, Any]:
    """The paired, split and aligned rows, and the truth behind them where they are simulated (else
    None); `reference` is what `data.combat_reference=start` stands for."""
    keys, split = config.data, config.split
    if keys.combat_reference == START and reference is None:
        raise InputError(
            "data.combat_reference is start but train.start is empty, expected the run whose "
            "reference that is: set train.start to a finished run of this family, or "
            "data.combat_reference=largest"
        )
    # Whoever does not want all cells on the device does not want them in memory either.
    if keys.counts == "auto" and config.train.layout == "stream":
        keys = replace(keys, counts="disk")
    # Cells are read before anything is drawn, so that wrong columns fail first.
    dataset, truth = read(keys)
    options: dict[str, Any] = {
        "lognorm": keys.lognorm,
        "combat_cells": keys.combat_cells,
        "combat_reference": _combat_reference(keys, reference),
        "replicates": keys.replicates,
        "cells_per_draw": keys.cells_per_draw,
        "unit": keys.unit,
        "cells_disjoint": keys.cells_disjoint,
        "draw": keys.draw,
        "seed": split.seed,
    }
    if keys.compound:
        # An empty list of compounds stands for the default, those with one annotated target.
        compounds = set(np.asarray(dataset.obs["compound"], str).tolist())
        tested = rejoined(keys.test_compounds, compounds.__contains__) or None
        return doses.prepare(dataset, pairs=keys.pairs, test=tested, **options), truth
    if split.kind not in ("replicate", "none"):  # these hold out no share
        # A share is refused where nothing is held out, so it is passed only here.
        options |= {"test_share": split.test_share, "val_share": split.val_share}
    held_out = _held_out(split, dataset) or None
    return prepare(dataset, split=split.kind, held_out=held_out, **options), truth


def read(keys: DataKeys) -> tuple[Dataset, Any]:
    """The integrated cells, those of `data.lines` alone and with the most variable genes where so
    asked; and the truth of simulated ones."""
    source, truth = _sources(keys)
    files = len(source) if isinstance(source, list) else 1
    common: dict[str, Any] = {
        "line": per_file(keys.line, files) or None,
        "batch": per_file(keys.batch, files) or None,
        "layer": per_file(keys.layer, files) or None,
        "normalised": keys.normalised,
        "gene_names": per_file(keys.gene_names, files) or None,
        "strip_versions": keys.strip_versions,
        "counts": keys.counts,
        "folder": keys.folder or None,
        # A model adds free columns of its own, so the data have none.
        "placeholders": 0,
    }
    if truth is not None:
        common["name"] = "simulated"
    if keys.compound:
        dataset = doses.load_doses(
            source,
            targets=_targets(keys, source, truth),
            vehicle=keys.vehicle,
            compound=per_file(keys.compound, files),
            dose=per_file(keys.dose, files),
            missing=keys.missing,
            **common,
        )
    else:
        labels = label_options(keys) | {"perturbation": per_file(keys.perturbation, files)}
        dataset = load_lines(source, **labels, **common)
    # Lines are chosen before genes, whose variability depends on the cells.
    dataset = _keep_lines(dataset, keys.lines)
    if keys.variable_genes:
        dataset = data.keep_variable(dataset, keys.variable_genes)
    return dataset, truth


def per_file(text: str, files: int) -> Any:
    """One name for all files, or one for each where commas join them (an empty one for none)."""
    parts = members(text)
    # Of one file a comma can only be part of the name.
    if files == 1:
        return parts[0] if len(parts) == 1 else text.strip()
    # An empty name between commas stands for a file without such a column.
    if len(parts) == 1:
        return parts[0]
    return [part or None for part in parts]


def _read_start(config: TranslationConfig, family: Family) -> Any:
    """The finished run to go on from, where the config names one."""
    if not config.train.start:
        return None
    if family.start is None:
        raise InputError(
            f"train.start is {config.train.start!r}, but {family.title} cannot go on from another "
            "run, expected nothing there: leave it empty"
        )
    return family.start(config)


def _combat_reference(keys: DataKeys, reference: CombatReference | None) -> Any:
    """The batch or moments that others are aligned to; None for no ComBat."""
    if keys.combat_reference == START:
        return reference
    if keys.combat_reference in NONE:
        return None
    return keys.combat_reference


def _sources(keys: DataKeys) -> tuple[Any, Any]:
    """Paths, or the simulated cells and their truth."""
    if keys.source != "simulated":
        return list(paths_of(names_of(keys.source), keys.source)), None
    strengths = simulator_settings(keys.simulation)
    return data.simulate(keys.preset, seed=keys.simulation_seed, **strengths)


def _targets(keys: DataKeys, source: Any, truth: Any) -> Any:
    """The table of compounds and their targets, which simulated cells carry."""
    targets = keys.targets
    if not targets and truth is not None:
        targets = source.uns.get("targets")
    if not targets:
        raise InputError(
            "data.targets is empty but data.compound asks for doses, expected a table of "
            "compounds and their target genes: set data.targets to a .csv file of two columns"
        )
    return targets


def _keep_lines(dataset: Dataset, lines: tuple[str, ...]) -> Dataset:
    if not lines:
        return dataset
    line = np.asarray(dataset.obs["line"], str)
    lines = rejoined(lines, set(line.tolist()).__contains__)
    unknown = [name for name in lines if name not in line]
    if unknown:
        raise InputError(
            f"data.lines names {unknown[0]!r}, expected some of the lines of {dataset.name!r} "
            f"({shown(np.unique(line))}): correct it, or leave it empty to take all"
        )
    kept = keep_cells(dataset, np.isin(line, lines), f"data.lines={','.join(lines)}")
    # Batch columns of lines that are left out go too, since networks have one input for each.
    used, stratum = np.unique(kept.stratum, return_inverse=True)
    strata = tuple(np.asarray(dataset.strata)[used].tolist())
    return replace(kept, strata=strata, stratum=stratum.astype(np.int32))


def _held_out(split: SplitKeys, dataset: Dataset) -> list[Any]:
    """Names of what is tested, as the data call them; "KLF1 in K562" is a perturbation and its
    line."""
    lines = set(np.asarray(dataset.obs["line"], str).tolist())
    known = known_names(dataset)
    if split.kind == "cell_line":
        return list(rejoined(split.held_out, lines.__contains__))
    if split.kind != "perturbation_in_line":
        return _as_conditions(listed(split.held_out, known), known)
    pairs = []
    for name in rejoined(split.held_out, lambda text: text.rpartition(IN)[0] in known.conditions):
        # The last " in " divides the two, since a perturbation's name may hold one.
        perturbation, between, line = name.rpartition(IN)
        if not between:
            raise InputError(
                f"split.held_out names {name!r}, expected pairs such as `KLF1 in K562`: write it so"
            )
        pairs.append((*_as_conditions([perturbation], known), line))
    return pairs


def _as_conditions(names: Sequence[str], known: Known) -> list[str]:
    """The conditions of some names; unknown ones stay, for the split to refuse."""
    return [of or name for name, of in zip(names, conditions_asked(names, known), strict=True)]
