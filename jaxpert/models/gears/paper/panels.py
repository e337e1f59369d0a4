"""What Figures 2 to 5 of the GEARS paper and the extended ones show, computed from a finished run
and drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain, combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.spreadsheets import write_table
from jaxpert.core.types import Dataset, InputError
from jaxpert.data.labels_asked import known_names
from jaxpert.data.mapped import rows_of
from jaxpert.data.moments import log_normalise
from jaxpert.evaluation import pseudobulk
from jaxpert.evaluation.differential import TOP
from jaxpert.evaluation.interactions.scores import deviation
from jaxpert.models.gears import evaluate
from jaxpert.models.gears.paper import pairs as pair_effects
from jaxpert.models.gears.paper import plots, plots_interactions, plots_points
from jaxpert.models.gears.paper.labels import GROUPS, Named
from jaxpert.models.gears.paper.pairs import Parts, PredictedPairs
from jaxpert.models.gears.paper.tables import ERROR, groups_of, score, scores_of
from jaxpert.models.gears.predict_sets import predict_sets
from jaxpert.models.gears.screen_pairs import scored_columns, screen_pairs
from jaxpert.models.gears.screened_sets import measured_singles
from jaxpert.models.gears.settings import NAME
from jaxpert.report.plots import umap_embedding

SHOWN, COMPONENTS, CLUSTERS, FEWEST_PAIRS = 6, 50, 8, 11


class Case(NamedTuple):
    """A run with what was measured and what its model predicts, on the scale ln(1 + 1e4 x / sum
    x)."""

    named: Named
    truth: evaluate.Truth
    measured: Float[np.ndarray, "C G"]
    """Effects; NaN rows for conditions without cells."""
    predicted: Float[np.ndarray, "C G"]
    uncertainty: Float[np.ndarray, "C"] | None

    @property
    def dataset(self) -> Dataset:
        """Of the run."""
        return self.named.run.finished.problem.dataset

    @property
    def fitted(self) -> Any:
        """Its model."""
        return self.named.run.finished.fitted


def case_of(named: Named) -> Case:
    """Measure and predict every condition of the run's data; InputError for a model that is no
    GEARS."""
    finished = named.run.finished
    dataset = finished.problem.dataset
    predicted = predict_sets(finished.fitted, dataset, dataset.conditions, absent="refuse")
    # All cells measure, as in the published evaluation.
    truth = evaluate.measure(dataset)
    measured = pseudobulk.effects(truth.means, dataset.control)
    uncertainty = None
    if "uncertainty" in predicted.obs:
        uncertainty = predicted.obs["uncertainty"].to_numpy()
    effects = np.asarray(predicted.layers["effect"], float)
    return Case(named, truth, measured, effects, uncertainty)


def held_out(case: Case) -> list[int]:
    """Perturbed conditions with test cells and a ranking of their genes."""
    dataset = case.dataset
    present = np.unique(dataset.condition[pseudobulk.passed_rows(dataset, "test")]).tolist()
    # Errors are those of ranked genes, which conditions of one cell do not have.
    return [c for c in present if c != dataset.control and case.truth.ranking.ranked[c]]


def group_of(dataset: Dataset) -> dict[str, str]:
    """Subgroup of each held-out condition; "test" where there are none."""
    groups = {}
    for group, members in dataset.subgroups.items():
        groups |= dict.fromkeys(members, group)
    return groups


def normalised_errors(runs: Sequence[Named]) -> dict[str, dict[str, float]]:
    """{method: {group: mse_de over that of no change}}: runs by their title, then the baselines of
    the first run."""
    errors = {named.title: _relative(scores_of(named.run), NAME) for named in runs}
    first = scores_of(runs[0].run)
    for name in first["baselines"]:
        # No change is the unit of the others.
        if name != "no_change":
            errors[name] = _relative(first, name)
    return errors


def _relative(scores: Any, method: str) -> dict[str, float]:
    of = scores["model"] if method == NAME else scores["baselines"][method]
    errors = {}
    for group in groups_of(of):
        error = score(scores, method, group, f"normalised_{ERROR}")
        # An absent error is drawn as a gap.
        if error is None:
            error = float("nan")
        errors[group] = error
    return errors


def draw_top_genes(case: Case, path: Path) -> None:
    """Figure 2g: the strongest held-out perturbations."""
    dataset, group = case.dataset, group_of(case.dataset)
    allowed = held_out(case)
    if not allowed:
        raise InputError(
            "no held-out perturbation has enough cells to rank its genes, expected one at least: "
            "hold out others"
        )
    size = np.abs(case.measured).mean(1)
    rows = pseudobulk.passed_rows(dataset, "test")
    shown = []
    # The strongest are shown, since weak ones are mostly noise.
    for c in sorted(allowed, key=lambda c: -size[c])[:SHOWN]:
        top = case.truth.ranking.order[c][:TOP]
        control = case.truth.control_of(c, dataset.control)
        cells, full = log_normalise(rows_of(dataset.counts, rows[dataset.condition[rows] == c]))
        name, genes = dataset.conditions[c], np.asarray(dataset.genes, object)[top].tolist()
        shown.append(
            plots.TopGenes(
                name=name,
                genes=genes,
                # Changes from control, cell by cell, so that the box shows their spread.
                cells=cells[full][:, top].toarray() - control[top],
                predicted=case.predicted[c, top],
                note=GROUPS.get(group.get(name, "test"), "held out"),
            )
        )
    plots.top_genes(shown, path)


def draw_phenotypes(case: Case, path: Path, pairs: int, seed: int) -> None:
    """Figure 3: UMAP of measured effects and of those predicted for singles and all their pairs, of
    which `pairs` are drawn at most."""
    dataset, sizes = case.dataset, case.dataset.condition_treatments.sum(1)
    genes = measured_singles(dataset)
    sets = list(combinations(genes, 2))
    # Thousands of pairs would cover the map and take long to embed.
    if len(sets) > pairs:
        kept = np.random.default_rng(seed).choice(len(sets), pairs, replace=False)
        sets = [sets[k] for k in np.sort(kept)]
    asked = [(gene,) for gene in genes] + sets
    guesses = predict_sets(case.fitted, dataset, asked).layers["effect"]
    # Triples are no part of this figure.
    seen = np.flatnonzero(np.isfinite(case.measured).all(1) & (sizes > 0) & (sizes < 3))
    by_condition = list(known_names(dataset).conditions.values())
    members, kinds = [], []
    for c in seen:
        members.append(set(by_condition[c]))
        kinds.append("measured single" if sizes[c] == 1 else "measured pair")
    members += map(set, asked)
    kinds += ["predicted single"] * len(genes) + ["predicted pair"] * len(sets)
    # One space for measured and predicted, in which they can be compared.
    space = principal_components(np.concatenate([case.measured[seen], guesses]), seed)
    clusters = named_clusters(space, members, seed)
    plots_points.phenotype_umap(umap_embedding(space, seed), kinds, clusters, path)


def principal_components(effects: Float[np.ndarray, "n G"], seed: int) -> Float[np.ndarray, "n k"]:
    """The first components of effects, at most COMPONENTS."""
    from sklearn.decomposition import PCA

    # Randomised, since there are far more genes than components.
    count = min(COMPONENTS, *effects.shape)
    return PCA(count, svd_solver="randomized", random_state=seed).fit_transform(effects)


def named_clusters(
    space: Float[np.ndarray, "n k"], members: Sequence[set[str]], seed: int
) -> list[str]:
    """k-means clusters of phenotypes, each named by the gene that most of its members perturb, with
    their share."""
    from sklearn.cluster import KMeans

    # About ten points to a cluster, so that small data get few.
    count = int(np.clip(len(space) // 10, 1, CLUSTERS))
    cluster = KMeans(count, n_init="auto", random_state=seed).fit_predict(space).tolist()
    names = {}
    for k in range(count):
        perturbed: list[str] = []
        for genes, number in zip(members, cluster, strict=True):
            if number == k:
                perturbed.extend(genes)
        # Sorted first, so that ties go to the same gene in every run.
        best = max(sorted(set(perturbed)), key=perturbed.count)
        names[k] = f"{k + 1}: {best} in {perturbed.count(best) / cluster.count(k):.0%}"
    return [names[k] for k in cluster]


def held_out_pairs(case: Case) -> list[str]:
    """Test pairs of which both singles were measured."""
    names = {case.dataset.conditions[c] for c in held_out(case)}
    return [name for name in pair_effects.measured_pairs(case.dataset) if name in names]


def interactions_found(case: Case, seed: int) -> list[dict[str, Any]]:
    """Rows of `pairs.compare` for the pairs that the run held out."""
    names = held_out_pairs(case)
    # With ten pairs or fewer every choice of ten is the same.
    if len(names) < FEWEST_PAIRS:
        raise InputError(
            f"{len(names)} held-out pairs have both singles measured, expected at least "
            f"{FEWEST_PAIRS} to pick 10 of: give the results of gears_leave_pairs_out.py by "
            "--pairs_out"
        )
    parts = Parts(*pair_effects.parts_of(case.dataset, names, case.predicted))
    predicted = PredictedPairs(names, ["run"] * len(names), parts, None)
    return pair_effects.compare(case.dataset, predicted, scored_columns(case.dataset), seed=seed)


def draw_non_additive(case: Case, path: Path) -> None:
    """Figure 4d: the held-out pairs that depart most from the sum of their singles."""
    names = held_out_pairs(case)
    if not names:
        raise InputError(
            "no held-out pair has both singles measured, expected one at least: hold out others"
        )
    first, second, both = pair_effects.parts_of(case.dataset, names, case.measured)
    # Squared, so that a few genes far off count more than many a little.
    top = np.argsort(-(deviation(first, second, both) ** 2).mean(1), kind="stable")[:SHOWN]
    _, _, predicted = pair_effects.parts_of(case.dataset, names, case.predicted)
    plots_interactions.non_additive(
        both[top],
        first[top],
        second[top],
        [names[int(k)] for k in top],
        case.dataset.genes,
        path,
        predicted=predicted[top],
    )


def draw_maps(case: Case, folder: Path, most_pairs: int) -> None:
    """Figure 5b, measured beside predicted, and the space of predicted scores; the screened table
    beside them."""
    dataset, name = case.dataset, case.named.file
    genes = screened_genes(dataset, most_pairs)
    table = screen_pairs(case.fitted, dataset, genes)
    place = {gene: k for k, gene in enumerate(genes)}
    first, second = table["first"].map(place.get), table["second"].map(place.get)
    pairs = np.stack([first, second], axis=1)
    measured = _measured_magnitude(dataset, genes, pairs)
    count = int(np.isfinite(measured).sum())
    maps = {}
    # The measured map is left out where no pair was measured.
    if count:
        maps[f"Measured ({count:,} pairs)"] = measured
    maps[f"Predicted ({len(pairs):,} pairs)"] = table["mag"].to_numpy()
    plots_interactions.interaction_maps(genes, pairs, maps, folder / f"figure5b_{name}.png")
    scores = {column: table[column].to_numpy() for column in plots_interactions.SPACE}
    plots_interactions.interaction_space(
        scores, table["set"].tolist(), folder / f"figure5_space_{name}.png"
    )
    write_table(folder / f"figure5_pairs_{name}.csv", table, index=False, note=table.attrs["note"])


def screened_genes(dataset: Dataset, most_pairs: int) -> list[str]:
    """Genes measured alone, those of most measured pairs first, as many as make no more pairs than
    allowed."""
    genes = measured_singles(dataset)
    pairs = pair_effects.measured_pairs(dataset).values()
    # How many measured pairs each gene is in, so that the measured map is well filled.
    count = Counter(chain.from_iterable(pairs))
    # The most genes whose pairs stay within the number allowed.
    most = max(k for k in range(len(genes) + 1) if k * (k - 1) // 2 <= most_pairs)
    if most < 2:
        raise InputError(
            f"{len(genes)} genes were perturbed alone and {most_pairs} pairs allowed, expected a "
            "pair: raise --pairs"
        )
    return sorted(genes, key=lambda gene: -count[gene])[:most]


def _measured_magnitude(
    dataset: Dataset, genes: Sequence[str], pairs: Int[np.ndarray, "N 2"]
) -> Float[np.ndarray, "N"]:
    """NaN for pairs without cells."""
    condition = {
        frozenset(members): name for name, members in pair_effects.measured_pairs(dataset).items()
    }
    names = []
    for first, second in pairs.tolist():
        # Without order, as pairs of the screen and of the data may differ in it.
        names.append(condition.get(frozenset((genes[int(first)], genes[int(second)])), ""))
    measured = np.flatnonzero(np.array(names) != "")
    values = np.full(len(pairs), np.nan)
    if len(measured):
        columns, wanted = scored_columns(dataset), [names[k] for k in measured]
        values[measured] = pair_effects.measured_scores(dataset, wanted, columns)["mag"]
    return values


def draw_uncertainty(case: Case, path: Path) -> None:
    """Extended figure: predicted variance against the error, over held-out perturbations."""
    rows, group = held_out(case), group_of(case.dataset)
    if case.uncertainty is None:
        raise InputError(
            "the model has no uncertainty head, expected one with it: train one with "
            "model.kwargs.uncertainty"
        )
    if len(rows) < 3:
        raise InputError(
            f"{len(rows)} perturbations are held out, expected 3 or more: hold out more"
        )
    top = case.truth.ranking.order[rows][:, :TOP]
    # The error is that of the same 20 genes as in Figure 2.
    miss = np.take_along_axis(case.predicted[rows] - case.measured[rows], top, axis=1)
    names = [group.get(case.dataset.conditions[c], "test") for c in rows]
    plots_points.uncertainty_against_error(case.uncertainty[rows], (miss**2).mean(1), names, path)
