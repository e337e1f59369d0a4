"""How alike perturbed genes are, as kernels between them (docs/models/set_gp.md, "Kernels").

Every kernel has 1 on its diagonal and no negative eigenvalue. A gene of which nothing is known is
like itself alone, and never a reason to stop.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from jaxpert.core.types import Dataset, InputError
from jaxpert.data.annotation_similarity import graph_weights
from jaxpert.data.files import shown
from jaxpert.data.gene_graphs import COEXPRESSION, ONTOLOGY
from jaxpert.data.tables import read_columns
from jaxpert.evaluation.baselines.training import Training, seen_in
from jaxpert.models.set_gp.settings import Settings
from jaxpert.nn.graphs import NamedGraph

OWN, ANNOTATIONS, RESPONSES, EMBEDDINGS = "own", "annotations", "responses", "embeddings"
WIDEST_TERM = 0.5
"""Share of the annotated genes beyond which a term tells none from another."""
TOLERANCE = 1e-6
"""By which a user's kernel may miss symmetry or lie below 0, of its largest entry: rounding."""

Kernel = Float[np.ndarray, "T T"]


def gene_kernels(dataset: Dataset, training: Training, settings: Settings) -> dict[str, Kernel]:
    """Every kernel that the data and the settings allow, by name; `own`, in which each gene is like
    itself alone, comes first."""
    genes = len(dataset.treatments)
    kernels = {OWN: np.eye(genes)}
    if dataset.terms:
        terms = [dataset.terms.get(name, ()) for name in dataset.treatments]
        kernels[ANNOTATIONS] = of_terms(terms)
    for name, graph in dataset.graphs.items():
        if name not in (COEXPRESSION, ONTOLOGY):
            kernels[name] = of_graph(graph, dataset.treatments)
    if settings.embeddings:
        kernels[EMBEDDINGS] = of_table(settings.embeddings, dataset.treatments)
    if settings.responses:
        kernels[RESPONSES] = of_responses(training)
    if settings.signs:
        signs = of_signs(settings.signs, dataset.treatments)
        # Each feature of a treatment is multiplied by its sign, which leaves `own` as it is.
        kernels = {name: kernel * np.outer(signs, signs) for name, kernel in kernels.items()}
    # A kernel that knows of no two genes alike is `own` over again.
    return {
        name: kernel for name, kernel in kernels.items() if name == OWN or not is_diagonal(kernel)
    }


def of_terms(terms: Sequence[Collection[str]]) -> Kernel:
    """Cosine of annotation terms, each weighted by how rare it is among the perturbed genes:
    w = ln((n + 1) / n_term), of n annotated genes."""
    place: dict[str, int] = {}
    rows, columns = [], []
    for gene, names in enumerate(terms):
        for name in sorted(set(names)):
            rows.append(gene)
            columns.append(place.setdefault(name, len(place)))
    member = np.zeros((len(terms), len(place)))
    member[rows, columns] = 1
    annotated = int(member.any(1).sum())
    times = member.sum(0)
    # Terms of half of all genes or more, such as "protein binding", would make all genes alike.
    weight = np.where(times <= max(WIDEST_TERM * annotated, 1), np.log((annotated + 1) / times), 0)
    return cosine(member * weight)


def of_graph(graph: NamedGraph, names: Sequence[str]) -> Kernel:
    """Weights of a user's graph over the largest, made a kernel: negative eigenvalues are cut."""
    weights = graph_weights(graph, tuple(names))
    np.fill_diagonal(weights, 1)
    values, vectors = np.linalg.eigh(weights)
    kept = (vectors * np.maximum(values, 0)) @ vectors.T
    scale = np.sqrt(np.diag(kept))
    kernel = kept / np.outer(scale, scale)
    np.fill_diagonal(kernel, 1)
    return kernel


def of_responses(training: Training) -> Kernel:
    """Correlation over the training perturbations of how the perturbed genes' own expression
    changes; a gene's own perturbations tell nothing of it, since its expression is what they set.
    """
    seen = seen_in(training)
    change = training.means[seen] - training.means[seen].mean(0)
    column = {name: g for g, name in enumerate(training.genes)}
    profiles = np.zeros((len(training.treatments), len(seen)))
    for t, name in enumerate(training.treatments):
        if name in column:
            profile = change[:, column[name]].copy()
            others = training.condition_treatments[seen, t] == 0
            profile[~others] = profile[others].mean() if others.any() else 0
            profiles[t] = profile - profile.mean()
    return cosine(profiles)


def of_table(path: str, names: Sequence[str]) -> Kernel:
    """Of a user's table: genes x genes is a kernel itself, genes x dimensions are vectors whose
    cosine it is, around their mean."""
    table = read_columns(path, "effects")
    place = {name: row for row, name in enumerate(table.rows)}
    rows = {t: place[name] for t, name in enumerate(names) if name in place}
    if not rows:
        raise InputError(
            f"{path} has none of the {len(names)} perturbed genes ({shown(names)}) in its first "
            "column, expected their names: correct the table or leave model.kwargs.embeddings out"
        )
    wrong = np.argwhere(~np.isfinite(table.values))
    if len(wrong):
        row, column = wrong[0]
        raise InputError(
            f"{path} has {len(wrong)} entries that are no finite numbers, such as "
            f"{table.columns[column]} of {table.rows[row]}, expected numbers alone: fill them in "
            "or leave these genes out"
        )
    if list(table.rows) == list(table.columns):
        return _users_kernel(path, table.rows, table.values, rows, len(names))
    vectors = np.zeros((len(names), table.values.shape[1]))
    vectors[list(rows)] = table.values[list(rows.values())] - table.values.mean(0)
    return cosine(vectors)


def _users_kernel(
    path: str, names: Sequence[str], values: np.ndarray, rows: Mapping[int, int], genes: int
) -> Kernel:
    """A kernel as the user has it, scaled to 1 on its diagonal; `rows` of the perturbed genes."""
    largest = np.abs(values).max()
    skew = np.abs(values - values.T)
    if skew.max() > TOLERANCE * largest:
        one, other = divmod(int(skew.argmax()), len(skew))
        raise InputError(
            f"{path} is no symmetric kernel: {names[one]} to {names[other]} is "
            f"{values[one, other]:.4g} and back {values[other, one]:.4g}, expected equal entries: "
            "average both"
        )
    lowest = float(np.linalg.eigvalsh(values)[0])
    diagonal = np.diag(values)
    if lowest < -TOLERANCE * largest or not (diagonal > 0).all():
        raise InputError(
            f"{path} is no kernel, since its smallest eigenvalue is {lowest:.4g} and its smallest "
            f"diagonal entry {diagonal.min():.4g}, expected none below 0 and a diagonal above it: "
            "add to the diagonal, or give vectors of the genes in its place"
        )
    scale = np.sqrt(diagonal)
    kernel, chosen = np.eye(genes), list(rows.values())
    kernel[np.ix_(list(rows), list(rows))] = (values / np.outer(scale, scale))[
        np.ix_(chosen, chosen)
    ]
    return kernel


def of_signs(path: str, names: Sequence[str]) -> Float[np.ndarray, "T"]:
    """+1 or -1 of each treatment, from a user's table of one column."""
    table = read_columns(path, "effects")
    place = {name: row for row, name in enumerate(table.rows)}
    lacking = [name for name in names if name not in place]
    if lacking:
        raise InputError(
            f"{path} has no sign of {len(lacking)} of the {len(names)} treatments "
            f"({shown(lacking)}), expected one of each: add a line for every one of them"
        )
    values = table.values[[place[name] for name in names]]
    if values.shape[1] != 1 or not np.isin(values, (-1, 1)).all():
        raise InputError(
            f"{path} has {values.shape[1]} columns and not 1 and -1 alone, expected one column of "
            "1 (such as activation) and -1 (such as repression): correct it"
        )
    return values[:, 0]


def cosine(vectors: Float[np.ndarray, "T D"]) -> Kernel:
    """Cosines of rows; a row of zeros is like itself alone."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(length > 0, length, 1)
    kernel = unit @ unit.T
    np.fill_diagonal(kernel, 1)
    return kernel


def is_diagonal(kernel: Kernel) -> bool:
    """Whether no two genes are alike."""
    return not np.abs(kernel - np.diag(np.diag(kernel))).max(initial=0) > TOLERANCE


def summary(shares: Mapping[str, float]) -> str:
    """Shares of kernels in words."""
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
