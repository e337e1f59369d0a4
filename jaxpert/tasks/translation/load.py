"""From a config to the rows of CycSeq: read cells of several lines (or doses), pair, split and
align them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from jaxpert import data
from jaxpert.core.types import Dataset, InputError
from jaxpert.data.files import shown
from jaxpert.data.subset import keep_cells
from jaxpert.tasks import translation as spectra
from jaxpert.tasks.screen.load import simulator_settings, split_names
from jaxpert.tasks.translation import doses

Config = dict[str, Any]
IN = " in "
"""Between a perturbation and its line in names of pairs."""
NONE = ("", "none", "null")
START = "start"
"""Value of `data.combat_reference`: the reference of the run in `train.start`."""


def load(
    config: Config, kept: spectra.CombatReference | None = None
) -> tuple[spectra.Prepared, Any]:
    """The paired, split and aligned rows, and the truth behind them where they are simulated (else
    None).

    `kept` is what `data.combat_reference=start` stands for.
    """
    settings, split = config["data"], config["split"]
    reference = settings["combat_reference"]
    if reference == START and kept is None:
        raise InputError(
            "data.combat_reference is start but train.start is empty, expected the run whose "
            "reference that is: set "
            "train.start to a finished CycSeq run, or data.combat_reference=largest"
        )
    dataset, truth = read(config)
    names = (
        "lognorm",
        "combat_cells",
        "replicates",
        "cells_per_draw",
        "unit",
        "cells_disjoint",
        "draw",
    )
    options: dict[str, Any] = {name: settings[name] for name in names}
    align = {START: kept} | dict.fromkeys(NONE)
    options |= {"seed": split["seed"], "combat_reference": align.get(reference, reference)}
    if settings["compound"]:
        tested = split_names(settings["test_compounds"])
        return doses.prepare(
            dataset, pairs=settings["pairs"], test=tested or None, **options
        ), truth
    options |= {"held_out": _held_out(split) or None}
    if split["kind"] not in ("replicate", "none"):  # these hold out no share
        options |= {"test_share": split["test_share"], "val_share": split["val_share"]}
    return spectra.prepare(dataset, split=split["kind"], **options), truth


def read(config: Config) -> tuple[Dataset, Any]:
    """The integrated cells, those of `data.lines` alone and with the most variable genes where so
    asked."""
    settings = config["data"]
    source, truth = _sources(settings)
    common: dict[str, Any] = {
        name: _listed(settings[name]) or None for name in ("line", "batch", "layer")
    }
    common |= {"normalised": settings["normalised"], "placeholders": 0}
    if truth is not None:
        common["name"] = "simulated"
    if settings["compound"]:
        targets = settings["targets"] or (source.uns.get("targets") if truth is not None else None)
        if not targets:
            raise InputError(
                "data.targets is empty but data.compound asks for doses, expected a table of "
                "compounds and their "
                "target genes: set data.targets to a .csv file of two columns"
            )
        own: dict[str, Any] = {
            "compound": _listed(settings["compound"]),
            "dose": _listed(settings["dose"]),
        }
        dataset = doses.load_doses(
            source, targets=targets, vehicle=settings["vehicle"], **own, **common
        )
    else:
        own = {
            "perturbation": _listed(settings["perturbation"]),
            "control": _listed(settings["control"]),
        }
        dataset = spectra.load_lines(
            source, separator=settings["separator"] or None, **own, **common
        )
    dataset = _keep_lines(dataset, split_names(settings["lines"]))
    if settings["variable_genes"]:
        dataset = data.keep_variable(dataset, settings["variable_genes"])
    return dataset, truth


def _sources(settings: Config) -> tuple[Any, Any]:
    """Paths, or the simulated cells and their truth."""
    if settings["source"] == "simulated":
        strengths = simulator_settings(settings["simulation"])
        return data.simulate(settings["preset"], seed=settings["simulation_seed"], **strengths)
    return list(split_names(settings["source"])), None


def _listed(text: str) -> Any:
    """One name for all files, or one for each where commas join them (an empty one for none)."""
    parts = [part.strip() or None for part in text.split(",")]
    return parts if len(parts) > 1 else text.strip()


def _keep_lines(dataset: Dataset, lines: tuple[str, ...]) -> Dataset:
    if not lines:
        return dataset
    line = np.asarray(dataset.obs["line"], str)
    unknown = [name for name in lines if name not in line]
    if unknown:
        raise InputError(
            f"data.lines names {unknown[0]!r}, which is none of the lines of {dataset.name!r} "
            f"({shown(np.unique(line))}): correct it"
        )
    kept = keep_cells(dataset, np.isin(line, lines), f"data.lines={','.join(lines)}")
    used, stratum = np.unique(kept.stratum, return_inverse=True)
    strata = tuple(dataset.strata[s] for s in used)
    return replace(kept, strata=strata, stratum=stratum.astype(np.int32))


def _held_out(split: Config) -> list[Any]:
    """Names of what is tested; "KLF1 in K562" is a perturbation and its line."""
    names = split_names(split["held_out"])
    if split["kind"] != "perturbation_in_line":
        return list(names)
    pairs = [name.rsplit(IN, 1) for name in names]
    wrong = [name for name, pair in zip(names, pairs, strict=True) if len(pair) != 2]
    if wrong:
        raise InputError(
            f"split.held_out names {wrong[0]!r}, expected pairs such as `KLF1 in K562`: write it so"
        )
    return [tuple(pair) for pair in pairs]
