"""What Figures 2 to 5 of the GEARS paper and the extended ones show, computed from a finished run
and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import Dataset, InputError
from jaxpert.evaluation import gears_scores, pseudobulk
from jaxpert.evaluation.differential import TOP
from jaxpert.evaluation.interactions.scores import deviation
from jaxpert.models.cradle.paper.panels import Run
from jaxpert.models.gears.paper import leave_pairs_out as pairs_out
from jaxpert.models.gears.predict_sets import predict_sets
from jaxpert.models.gears.screen_pairs import measured_singles, scored_columns, screen_pairs
from jaxpert.report import plots

SHOWN, COMPONENTS, CLUSTERS, FEWEST_PAIRS = 6, 50, 8, 11
ERROR = "mse_de"
"""Mean squared error over the 20 most changed genes."""


class Case(NamedTuple):
    """A run with what was measured and what its model predicts, on the scale ln(1 + 1e4 x / sum
    x)."""

    run: Run
    truth: gears_scores.Truth
    measured: Float[np.ndarray, "C G"]
    """Effects; NaN rows for conditions without cells."""
    predicted: Float[np.ndarray, "C G"]
    uncertainty: Float[np.ndarray, "C"] | None

    @property
    def dataset(self) -> Dataset:
        """Of the run."""
        return self.run.finished.dataset


class Options(NamedTuple):
    """What the user chose."""

    pairs: int
    """Predicted pairs of a figure, at most."""
    seed: int


def case_of(run: Run) -> Case:
    """Measure and predict every condition of the run's data; InputError for a model that is no
    GEARS."""
    dataset = run.finished.dataset
    found = predict_sets(run.finished.fitted, dataset, dataset.conditions, absent="refuse")
    truth = gears_scores.measure(dataset)
    measured = pseudobulk.effects(truth.means, dataset.control)
    unsure = found.obs["uncertainty"].to_numpy() if "uncertainty" in found.obs else None
    return Case(run, truth, measured, np.asarray(found.layers["effect"], float), unsure)


def held_out(case: Case) -> list[int]:
    """Perturbed conditions with test cells and a ranking of their genes."""
    dataset = case.dataset
    present = np.unique(dataset.condition[pseudobulk.passed_rows(dataset, "test")]).tolist()
    return [c for c in present if c != dataset.control and case.truth.ranking.ranked[c]]


def group_of(dataset: Dataset) -> dict[str, str]:
    """Subgroup of each held-out condition; "test" where there are none."""
    return {name: group for group, members in dataset.subgroups.items() for name in members}


def normalised_errors(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """{method: {group: mse_de over that of no change}}: runs by their label, then the baselines of
    the first run."""
    found: dict[str, dict[str, float]] = {}
    for run in runs:
        scores = gears_of(run)
        no_change = scores["baselines"]["no_change"]
        found[run.label] = {
            group: _ratio(scores["model"], no_change, group) for group in groups_of(scores["model"])
        }
    first = gears_of(runs[0])["baselines"]
    for name in first:
        if name != "no_change":
            found[name] = {
                group: _ratio(first[name], first["no_change"], group)
                for group in groups_of(first[name])
            }
    return found


def gears_of(run: Run) -> Mapping[str, Any]:
    """The scores of a run that the GEARS paper has."""
    scores = run.finished.metrics.get("gears")
    if not scores:
        raise InputError(
            f"metrics.json of {run.folder} has no scores under 'gears': run it again in a new "
            "--workdir"
        )
    return scores


def groups_of(scores: Mapping[str, Any]) -> list[str]:
    """Subgroups and all of test; validation is for choosing, not for comparing."""
    return [name for name in scores if name != "val"]


def _ratio(scores: Mapping[str, Any], no_change: Mapping[str, Any], group: str) -> float:
    own, other = (of.get(group, {}).get(ERROR) for of in (scores, no_change))
    return float("nan") if own is None or not other else own / other


def draw_top_genes(case: Case, path: Path) -> None:
    """Figure 2g: the strongest held-out perturbations."""
    dataset, group = case.dataset, group_of(case.dataset)
    allowed = held_out(case)
    if not allowed:
        raise InputError("no held-out perturbation has enough cells to rank its genes")
    size = np.abs(case.measured).mean(1)
    chosen = sorted(allowed, key=lambda c: -size[c])[:SHOWN]
    shown = []
    for c in chosen:
        top = case.truth.ranking.order[c][:TOP]
        rows = pseudobulk.passed_rows(dataset, "test")
        cells, full = pseudobulk.normalise(
            dataset.counts[rows[dataset.condition[rows] == c]], pseudobulk.SCALES["ln"]
        )
        change = cells[full][:, top].toarray() - case.truth.means.mean[dataset.control][top]
        names = [dataset.genes[int(g)] for g in top]
        note = plots.GROUPS.get(group.get(dataset.conditions[c], "test"), "held out")
        shown.append(
            plots.TopGenes(dataset.conditions[c], names, change, case.predicted[c, top], note)
        )
    plots.top_genes(shown, path)


def draw_phenotypes(case: Case, path: Path, options: Options) -> None:
    """Figure 3: UMAP of measured effects and of those predicted for singles and all their pairs."""
    dataset, sizes = case.dataset, case.dataset.condition_treatments.sum(1)
    genes = measured_singles(dataset)
    sets = list(combinations(genes, 2))
    if len(sets) > options.pairs:
        kept = np.random.default_rng(options.seed).choice(len(sets), options.pairs, replace=False)
        sets = [sets[k] for k in np.sort(kept)]
    guesses = predict_sets(
        case.run.finished.fitted, dataset, [*((gene,) for gene in genes), *sets]
    ).layers["effect"]
    seen = np.flatnonzero(np.isfinite(case.measured).all(1) & (sizes > 0) & (sizes < 3))
    names = [
        set(np.asarray(dataset.treatments, object)[dataset.condition_treatments[c] != 0])
        for c in seen
    ]
    kinds = ["measured single" if sizes[c] == 1 else "measured pair" for c in seen]
    members = names + [{gene} for gene in genes] + [set(one) for one in sets]
    kinds += ["predicted single"] * len(genes) + ["predicted pair"] * len(sets)
    space = principal_components(np.concatenate([case.measured[seen], guesses]), options.seed)
    clusters = named_clusters(space, members, options.seed)
    plots.phenotype_umap(plots.umap_embedding(space, options.seed), kinds, clusters, path)


def principal_components(effects: Float[np.ndarray, "n G"], seed: int) -> Float[np.ndarray, "n k"]:
    """The first components of effects, at most COMPONENTS."""
    from sklearn.decomposition import PCA

    count = min(COMPONENTS, *effects.shape)
    return PCA(count, svd_solver="randomized", random_state=seed).fit_transform(effects)


def named_clusters(
    space: Float[np.ndarray, "n k"], members: Sequence[set[str]], seed: int
) -> list[str]:
    """k-means clusters of phenotypes, each named by the gene that most of its members perturb, with
    their share."""
    from sklearn.cluster import KMeans

    count = int(np.clip(len(space) // 10, 1, CLUSTERS))
    label = KMeans(count, n_init="auto", random_state=seed).fit_predict(space)
    names = {}
    for k in range(count):
        inside = [genes for genes, own in zip(members, label, strict=True) if own == k]
        genes = sorted({gene for one in inside for gene in one})
        share = {gene: sum(gene in one for one in inside) / len(inside) for gene in genes}
        best = max(genes, key=lambda gene: share[gene])
        names[k] = f"{k + 1}: {best} in {share[best]:.0%}"
    return [names[int(k)] for k in label]


def held_out_pairs(case: Case) -> list[str]:
    """Test pairs of which both singles were measured."""
    names = {case.dataset.conditions[c] for c in held_out(case)}
    return [name for name in pairs_out.measured_pairs(case.dataset) if name in names]


def parts_of(
    case: Case, names: Sequence[str], effects: Float[np.ndarray, "C G"]
) -> list[Float[np.ndarray, "N G"]]:
    """Effects of the first genes, of the second genes, and of the pairs."""
    dataset, pairs = case.dataset, pairs_out.measured_pairs(case.dataset)
    place, singles = (
        {name: c for c, name in enumerate(dataset.conditions)},
        pairs_out.singles_of(dataset),
    )
    sides = [[place[singles[pairs[name][side]]] for name in names] for side in (0, 1)]
    return [effects[rows] for rows in (*sides, [place[name] for name in names])]


def interactions_found(case: Case, options: Options) -> list[dict[str, Any]]:
    """Rows of `leave_pairs_out.compare` for the pairs that the run held out."""
    names = held_out_pairs(case)
    if len(names) < FEWEST_PAIRS:
        raise InputError(
            f"{len(names)} held-out pairs have both singles measured, expected at least "
            f"{FEWEST_PAIRS} to pick 10 of: "
            "give the results of gears_leave_pairs_out.py by --pairs_out"
        )
    first, second, both = parts_of(case, names, case.predicted)
    found = pairs_out.Found(names, ["run"] * len(names), first, second, both, None)
    return pairs_out.compare(case.dataset, found, scored_columns(case.dataset), seed=options.seed)


def draw_non_additive(case: Case, path: Path) -> None:
    """Figure 4d: the held-out pairs that depart most from the sum of their singles."""
    names = held_out_pairs(case)
    if not names:
        raise InputError("no held-out pair has both singles measured")
    first, second, both = parts_of(case, names, case.measured)
    top = np.argsort(-(deviation(first, second, both) ** 2).mean(1), kind="stable")[:SHOWN]
    guess = parts_of(case, names, case.predicted)[2]
    shown = [names[int(k)] for k in top]
    plots.non_additive(
        both[top], first[top], second[top], shown, case.dataset.genes, path, predicted=guess[top]
    )


def draw_maps(case: Case, into: Path, name: str, options: Options) -> None:
    """Figure 5b, measured beside predicted, and the space of predicted scores; the screened table
    beside them."""
    dataset = case.dataset
    genes = screened_genes(dataset, options.pairs)
    table = screen_pairs(case.run.finished.fitted, dataset, genes)
    place = {gene: k for k, gene in enumerate(genes)}
    pairs = np.array(
        [[place[a], place[b]] for a, b in zip(table["first"], table["second"], strict=True)]
    )
    measured = _measured_magnitude(dataset, genes, pairs)
    predicted = {f"Predicted ({len(pairs):,} pairs)": table["mag"].to_numpy()}
    count = int(np.isfinite(measured).sum())
    shown = ({f"Measured ({count:,} pairs)": measured} if count else {}) | predicted
    plots.interaction_maps(genes, pairs, shown, into / f"figure5b_{name}.png")
    scores = {
        column: table[column].to_numpy() for column in ("mag", "corr_fit", "dcor", "eq_contr")
    }
    plots.interaction_space(scores, table["set"].tolist(), into / f"figure5_space_{name}.png")
    text = table.to_csv(index=False)
    (into / f"figure5_pairs_{name}.csv").write_text(f"# {table.attrs['note']}\n{text}")


def screened_genes(dataset: Dataset, most_pairs: int) -> list[str]:
    """Genes measured alone, those of most measured pairs first, as many as make no more pairs than
    allowed."""
    genes = measured_singles(dataset)
    pairs = pairs_out.measured_pairs(dataset).values()
    count = {gene: sum(gene in pair for pair in pairs) for gene in genes}
    most = max(k for k in range(len(genes) + 1) if k * (k - 1) // 2 <= most_pairs)
    if most < 2:
        raise InputError(
            f"{len(genes)} genes were perturbed alone and {most_pairs} pairs allowed, expected a "
            "pair"
        )
    return sorted(genes, key=lambda gene: -count[gene])[:most]


def _measured_magnitude(
    dataset: Dataset, genes: Sequence[str], pairs: Int[np.ndarray, "N 2"]
) -> Float[np.ndarray, "N"]:
    """NaN for pairs without cells."""
    known = {frozenset(own): name for name, own in pairs_out.measured_pairs(dataset).items()}
    own = [known.get(frozenset(genes[int(k)] for k in pair), "") for pair in pairs]
    found = [k for k, name in enumerate(own) if name]
    values = np.full(len(pairs), np.nan)
    if found:
        columns = scored_columns(dataset)
        values[found] = pairs_out.measured_scores(dataset, [own[k] for k in found], columns)["mag"]
    return values


def draw_uncertainty(case: Case, path: Path) -> None:
    """Extended figure: predicted variance against the error, over held-out perturbations."""
    rows, group = held_out(case), group_of(case.dataset)
    if case.uncertainty is None:
        raise InputError(
            "the model has no uncertainty head: train one with model.kwargs.uncertainty"
        )
    if len(rows) < 3:
        raise InputError(f"{len(rows)} perturbations are held out, expected 3 or more")
    top = case.truth.ranking.order[rows][:, :TOP]
    miss = np.take_along_axis(case.predicted[rows] - case.measured[rows], top, axis=1)
    names = [group.get(case.dataset.conditions[c], "test") for c in rows]
    plots.uncertainty_against_error(case.uncertainty[rows], (miss**2).mean(1), names, path)
