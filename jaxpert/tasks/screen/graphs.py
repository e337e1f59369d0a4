"""Graphs between genes that a config asks for: where edges come from, and which are needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from jaxpert import data
from jaxpert.core.settings import paths_of
from jaxpert.core.types import Dataset, InputError
from jaxpert.data.aliases import aliases_of, annotate
from jaxpert.data.gene_graphs import COEXPRESSION, ONTOLOGY
from jaxpert.data.ontology import Annotations, read_annotations
from jaxpert.simulate import EffectsTruth
from jaxpert.tasks.screen.keys import GraphKeys, ScreenConfig

Terms = Mapping[str, Collection[str]]
HUMAN = "human"
NONE = "none"


def perturbation_graphs(config: ScreenConfig) -> tuple[str, ...]:
    """Names of the graphs between perturbed genes that the model asks for, by its setting of that
    name."""
    return _named(getattr(config.model.kwargs, "perturbation_graphs", ()))


def wanted_graphs(config: ScreenConfig) -> tuple[str, ...]:
    """Names of all graphs that the model and the scores ask for."""
    names = _named((getattr(config.model.kwargs, "coexpression_graph", NONE),))
    names += perturbation_graphs(config)
    # The scores of one paper rest on this graph even where the model does not.
    if config.evaluation.scores_of:
        names += (COEXPRESSION,)
    # A dict drops repeated names and keeps their order, which results depend on.
    return tuple(dict.fromkeys(names))


def _named(names: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in ("", NONE))


def drops_unannotated(config: ScreenConfig) -> bool:
    """Whether cells without annotated perturbation are left out. Where other graphs hold perturbed
    genes too, the model decides instead."""
    return config.graphs.unannotated == "drop" and set(perturbation_graphs(config)) == {ONTOLOGY}


def terms_of(graphs: GraphKeys, folder: str, truth: Any, dataset: Dataset) -> tuple[Dataset, Terms]:
    """Annotation terms of each gene by its name in the data, from the config's file or of the
    simulated screen; and the data set with notes on genes of other names.

    Args:
        graphs: the section of that name.
        folder: of public files; empty for the default one.
        truth: behind simulated cells, else None.
        dataset: whose genes and perturbations are looked up.
    """
    read = _annotations(graphs, folder, truth)
    # The user's own table goes before the file's synonyms.
    return annotate(dataset, read.terms, aliases_of(dataset, graphs.aliases), read.aliases)


def _annotations(graphs: GraphKeys, folder: str, truth: Any) -> Annotations:
    if graphs.ontology == HUMAN:
        return read_annotations(data.locate_annotations(folder or None), graphs.aspects)
    if graphs.ontology:
        return read_annotations(graphs.ontology, graphs.aspects)
    # Simulated cells bring annotations of their own, partly wrong as real ones are.
    if truth is not None and isinstance(truth, EffectsTruth):
        raise InputError(
            "graphs.ontology is empty and the effects of a file bring no annotations, expected a "
            "file of them for the graph 'ontology': set it to a GMT or GAF file or to `human`, or "
            "set model.kwargs.perturbation_graphs=none"
        )
    if truth is not None:
        return Annotations(data.simulated_terms(truth), {})
    raise InputError(
        "graphs.ontology is empty but the model asks for the graph 'ontology', expected a GMT or "
        "GAF file of gene annotations or `human`: set it, or leave that graph out with "
        "model.kwargs.perturbation_graphs=none"
    )


def link(
    dataset: Dataset, graphs: GraphKeys, wanted: Collection[str], terms: Terms | None
) -> Dataset:
    """The data set with the graphs that are made of it, and those of `graphs.edges`."""
    return data.add_graphs(
        dataset,
        terms=terms,
        edges=own_edges(graphs),
        aliases=aliases_of(dataset, graphs.aliases),
        coexpression=COEXPRESSION in wanted,
        nodes=graphs.nodes,
        neighbours=graphs.neighbours,
        jaccard=graphs.jaccard,
        correlation=graphs.correlation,
        signed=graphs.signed,
        all_cells=graphs.all_cells,
    )


def own_edges(graphs: GraphKeys) -> dict[str, str]:
    """Files of the user's own graphs, by name."""
    files: dict[str, str] = {}
    for text in paths_of(graphs.edges):
        # The first "=" divides, so that a path may hold one.
        name, _, path = text.partition("=")
        if not name or not path:
            raise InputError(
                f"graphs.edges is {','.join(graphs.edges)!r}, expected name=file.csv, several "
                "joined by commas: correct it"
            )
        files[name.strip()] = path.strip()
    return files
