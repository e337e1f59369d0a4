"""From a config to the data set of a run: read, choose genes, label, split, link genes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from jaxpert import data
from jaxpert.core.types import Dataset, InputError
from jaxpert.data.gene_graphs import COEXPRESSION, ONTOLOGY

Config = dict[str, Any]
Terms = Mapping[str, Collection[str]]
HUMAN = "human"
SHARES = dict.fromkeys(
    ("combo_seen0", "combo_seen1", "combo_seen2", "single", "no_test"), ("share",)
)
SPLIT_SETTINGS = {
    "simulation": ("gene_share", "combination_share", "test_genes", "only_test_genes"),
    "simulation_single": ("gene_share",),
    "custom": ("file",),
    **SHARES,
}
"""Keys of the section `split` that each kind of split takes, beside its seed."""


def load_dataset(config: Config) -> tuple[Dataset, Any]:
    """The labelled, split and linked data set, and the truth behind it where it is simulated (else
    None)."""
    settings, quality = config["data"], config["quality"]
    dataset, truth = _read(config)
    if settings["variable_genes"]:
        dataset = data.keep_variable(dataset, settings["variable_genes"])
    wanted = wanted_graphs(config)
    terms = terms_of(config, truth) if ONTOLOGY in wanted else None
    if terms is not None and _drops_unannotated(config):
        dataset = data.drop_unannotated(dataset, terms)
    if quality["multiplier"]:
        dataset = data.add_quality(
            dataset,
            multiplier=quality["multiplier"],
            doublets=quality["doublets"],
            columns={name: column for name, column in quality["columns"].items() if column},
            scaled=quality["scaled"],
            doublet_group=quality["doublet_group"] or None,
        )
    dataset = _split(config, dataset)
    if quality["training_cells"] == "passed":
        dataset = data.drop_failed(dataset)
    return (link(config, dataset, wanted, terms) if wanted else dataset), truth


def _read(config: Config) -> tuple[Dataset, Any]:
    settings, doublets = config["data"], config["quality"]["doublets"]
    source, truth = settings["source"], None
    if source == "simulated":
        strengths = simulator_settings(settings["simulation"])
        source, truth = data.simulate(
            settings["preset"], seed=settings["simulation_seed"], **strengths
        )
    public = isinstance(source, str) and source in data.SOURCES
    options = (
        {}
        if public
        else _read_options(settings) | ({"name": "simulated"} if truth is not None else {})
    )
    return data.load(source, folder=settings["folder"] or None, doublets=doublets, **options), truth


def simulator_settings(text: str) -> dict[str, Any]:
    """{"artifact_share": 0.1} from "artifact_share=0.1,..."; the simulator checks names and
    ranges."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    try:
        return {
            name.strip(): int(value) if value.strip().isdigit() else float(value)
            for name, _, value in pairs
        }
    except ValueError as error:
        raise InputError(
            f"data.simulation is {text!r}, expected numbers such as "
            "artifact_share=0.1,cells=3000: correct it"
        ) from error


def _read_options(settings: Config) -> Config:
    names = (
        "perturbation",
        "control",
        "separator",
        "layer",
        "guide_prefix",
        "stratum",
        "highly_variable",
    )
    return {name: settings[name] or None for name in names} | {
        "min_cells_per_gene": settings["min_cells_per_gene"]
    }


def _split(config: Config, dataset: Dataset) -> Dataset:
    settings = config["split"]
    kind = settings["kind"]
    if kind == "auto":
        combined = int((dataset.condition_treatments.sum(1) > 1).sum())
        kind = "combinations" if combined > 1 else "cells"
        note = (
            f"split.kind=auto chose {kind}: the file has {combined} conditions with two "
            "perturbations or more"
        )
        dataset = replace(dataset, notes=(*dataset.notes, note))
    own = {name: settings[name] for name in SPLIT_SETTINGS.get(kind, ())}
    if "file" in own:
        own["lists"] = own.pop("file")
    if "test_genes" in own:
        own["test_perts"] = split_names(own.pop("test_genes"))
        own["only_test_set_perts"] = own.pop("only_test_genes")
    return data.add_split(
        dataset, kind=kind, seed=settings["seed"], column=settings["column"] or None, **own
    )


def split_names(text: str) -> tuple[str, ...]:
    """The names that a text joins by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def wanted_graphs(config: Config) -> tuple[str, ...]:
    """Names of the graphs that the model and the scores ask for."""
    kwargs = config["model"]["kwargs"]
    given = [
        kwargs.get("coexpression_graph") or "",
        *_listed(kwargs.get("perturbation_graphs") or ()),
    ]
    given += [COEXPRESSION] if config["evaluation"]["gears"] else []
    return tuple(dict.fromkeys(name for name in given if name not in ("", "none")))


def _listed(names: Any) -> tuple[str, ...]:
    return split_names(names) if isinstance(names, str) else tuple(names)


def _drops_unannotated(config: Config) -> bool:
    """Where other graphs hold perturbed genes too, the model's `absent` decides instead."""
    choice = config["graphs"]["unannotated"]
    if choice not in ("drop", "keep"):
        raise InputError(f"graphs.unannotated is {choice!r}, expected drop or keep")
    return choice == "drop" and set(_listed(config["model"]["kwargs"]["perturbation_graphs"])) == {
        ONTOLOGY
    }


def terms_of(config: Config, truth: Any) -> Terms:
    """Annotation terms of each gene, from the file that the config names or of the simulated
    screen."""
    settings = config["graphs"]
    source, aspects = settings["ontology"], split_names(settings["aspects"])
    if source == HUMAN:
        return data.read_terms(data.locate_annotations(config["data"]["folder"] or None), aspects)
    if source:
        return data.read_terms(source, aspects)
    if truth is not None:
        return data.simulated_terms(truth)
    raise InputError(
        "graphs.ontology is empty but the model asks for the graph 'ontology': set it to a GMT or "
        "GAF file of gene "
        "annotations or to `human`, or leave that graph out with "
        "model.kwargs.perturbation_graphs=none"
    )


def link(config: Config, dataset: Dataset, wanted: tuple[str, ...], terms: Terms | None) -> Dataset:
    """The data set with the graphs that are made of it, and those of `graphs.edges`."""
    settings, edges = config["graphs"], own_edges(config)
    names = ("nodes", "neighbours", "jaccard", "correlation", "signed", "all_cells")
    options = {name: settings[name] for name in names}
    return data.add_graphs(
        dataset, terms=terms, edges=edges, coexpression=COEXPRESSION in wanted, **options
    )


def own_edges(config: Config) -> dict[str, str]:
    """Files of the user's own graphs, by name."""
    given = [part.partition("=") for part in split_names(config["graphs"]["edges"])]
    if not all(name and path for name, _, path in given):
        raise InputError(
            f"graphs.edges is {config['graphs']['edges']!r}, expected name=file.csv, several "
            "joined by commas"
        )
    return {name.strip(): path.strip() for name, _, path in given}
