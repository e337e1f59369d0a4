"""Interaction scores of measured pairs against published lists of pairs by kind of interaction.

Every choice of genes that is compared uses the single perturbations alone, never the pairs. What
was found is in docs/results/gears_interactions.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core import files
from jaxpert.core.types import InputError
from jaxpert.evaluation.interactions.scores import deviation, score_pairs
from jaxpert.evaluation.interactions.subtypes import RULES, labels, members, most_extreme
from jaxpert.models.gears.paper import plots_interactions
from jaxpert.report.published import markdown_table

LISTS = {
    "synergy": ("SYNERGY_SIMILAR_PHENO", "SYNERGY_DISSIMILAR_PHENO", "POTENTIATION"),
    "suppression": ("SUPPRESSOR",),
    "neomorphism": ("NEOMORPHIC",),
    "redundancy": ("REDUNDANT",),
    "epistasis": ("EPISTASIS",),
}
"""Published lists behind each of the five sub-types; the sixth list is ADDITIVE."""
SHOWN = ("mag", "corr_fit", "dcor", "eq_contr")
GENES, COMPONENTS, PANELS = 1000, 10, 4

Lists = Mapping[str, list[str]]
Scores = Mapping[str, np.ndarray]


class Screen(NamedTuple):
    """Measured pairs of which both singles were measured."""

    pairs: list[str]
    first: Float[np.ndarray, "N G"]
    second: Float[np.ndarray, "N G"]
    both: Float[np.ndarray, "N G"]
    singles: Float[np.ndarray, "S G"]
    genes: list[str]
    left_out: list[str]
    """Pairs without one of their singles."""


def compare(effects: str | Path, published: str | Path, output: Path) -> str:
    """Score the pairs on each choice of genes, compare them with the lists, write tables and
    figures; returns the tables.

    Args:
        effects: AnnData with one row of effects (mean change from control) per perturbation,
            obs["condition"] A+ctrl or A+B.
        published: JSON file {list: ["A+B", ...]}, each pair in one list at most.
        output: folder of scores.csv, subtypes.md and the figures.
    """
    screen, lists = read_effects(Path(effects)), read_lists(Path(published))
    choices = choose_genes(screen)
    scores, additive = {}, {}
    for name, genes in choices.items():
        vectors = (part[:, genes] for part in (screen.first, screen.second, screen.both))
        scores[name] = score_pairs(*vectors)._asdict()
        additive[name] = additive_scores(screen, genes)
    last = list(scores.values())[-1]
    parts = [presence(screen, lists)]
    for name, of in scores.items():
        parts.append(f"**{name}** ({len(choices[name]):,})\n\n{table(of, screen, lists)}")
    parts += [list_table(last, screen, lists), noise_table(additive, scores)]
    text = "\n\n".join(parts)
    try:
        output.mkdir(parents=True, exist_ok=True)
        files.write_text(output / "subtypes.md", text + "\n")
        write(screen, last, output)
    except OSError as error:
        raise InputError(
            f"--output={output} cannot be written ({error}): choose another"
        ) from error
    return text


def read_effects(path: Path) -> Screen:
    """Pairs with both singles; InputError where there is none."""
    import anndata

    if not path.is_file():
        raise InputError(f"--effects={path} is no file, expected one: see --help")
    file = anndata.read_h5ad(path)
    if "condition" not in file.obs:
        raise InputError(
            f"{path.name} has no obs column 'condition', expected one with A+ctrl and A+B"
        )
    # Names are split once, so that pairs and singles are found by their genes.
    row = {tuple(str(name).split("+")): k for k, name in enumerate(file.obs["condition"])}
    alone, pairs = {}, []
    for genes, k in row.items():
        if len(genes) != 2:
            continue
        if genes[1] == "ctrl":
            alone[genes[0]] = k
        else:
            pairs.append(genes)
    # A pair without both singles has nothing to be compared with.
    whole = [genes for genes in pairs if set(genes) <= set(alone)]
    if not whole:
        raise InputError(
            f"{path.name} holds no pair A+B with both A+ctrl and B+ctrl, expected at least one"
        )
    effects = np.asarray(file.X, np.float64)
    return Screen(
        pairs=["+".join(genes) for genes in whole],
        first=effects[[alone[genes[0]] for genes in whole]],
        second=effects[[alone[genes[1]] for genes in whole]],
        both=effects[[row[genes] for genes in whole]],
        singles=effects[sorted(alone.values())],
        genes=[str(name) for name in file.var_names],
        left_out=["+".join(genes) for genes in pairs if genes not in whole],
    )


def read_lists(path: Path) -> Lists:
    """The published pairs of each list."""
    if not path.is_file():
        raise InputError(f"--published={path} is no file, expected one: see --help")
    lists = json.loads(path.read_text())
    expected = [name for names in LISTS.values() for name in names]
    absent = [name for name in expected if name not in lists]
    if absent:
        raise InputError(f"{path.name} has no list {absent[0]!r}, expected {', '.join(expected)}")
    return lists


def choose_genes(screen: Screen) -> dict[str, Int[np.ndarray, "n"]]:
    """All genes, and the genes whose effects the singles share most: the share of a gene's spread
    over singles that the first principal components of the singles hold. Expression itself is not
    in the file."""
    centred = screen.singles - screen.singles.mean(0)
    # The floor keeps a gene that does not vary from dividing by 0.
    shared = (common_part(centred) ** 2).sum(0) / np.maximum((centred**2).sum(0), 1e-12)
    order = np.argsort(-shared, kind="stable")
    spread = np.argsort(-screen.singles.std(0), kind="stable")
    return {
        "all genes": np.arange(len(screen.genes)),
        "genes of largest spread over singles": np.sort(spread[:GENES]),
        "genes that singles move together": np.sort(order[:GENES]),
    }


def common_part(centred: Float[np.ndarray, "S G"]) -> Float[np.ndarray, "S G"]:
    """What the first principal components hold."""
    left, size, right = np.linalg.svd(centred, full_matrices=False)
    # Truncated SVD: what is left over is taken for noise.
    return (left[:, :COMPONENTS] * size[:COMPONENTS]) @ right[:COMPONENTS]


def additive_scores(screen: Screen, genes: Int[np.ndarray, "n"], seed: int = 0) -> Scores:
    """Scores of made-up pairs that are exactly additive, measured with noise: the singles' common
    part plus, for each of the three measurements, noise of the size that the common part leaves
    over."""
    rng = np.random.default_rng(seed)
    mean = screen.singles.mean(0)
    _, _, right = np.linalg.svd(screen.singles - mean, full_matrices=False)
    axes = right[:COMPONENTS]
    # Projected on the common axes, so that made-up singles hold no noise of their own.
    first, second = (
        mean + (effect - mean) @ axes.T @ axes for effect in (screen.first, screen.second)
    )
    # The noise of a gene is what the common part leaves of its spread.
    noise = (screen.singles - mean - common_part(screen.singles - mean)).std(0)
    noisy = []
    # The sum is exact before noise, which is what "additive" means.
    for part in (first, second, first + second):
        noisy.append((part + noise * rng.normal(size=part.shape))[:, genes])
    return score_pairs(*noisy)._asdict()


def presence(screen: Screen, lists: Lists) -> str:
    """Which published pairs the file holds."""
    measured = set(map(sorted_name, screen.pairs))
    listed = [pair for pairs in lists.values() for pair in pairs]
    absent = [pair for pair in listed if sorted_name(pair) not in measured]
    return (
        f"{len(screen.pairs)} pairs have both singles (left out: "
        f"{', '.join(screen.left_out) or 'none'}); {len(listed) - len(absent)} of {len(listed)} "
        f"published pairs are among them (absent: {', '.join(absent) or 'none'})."
    )


def lists_of(screen: Screen, lists: Lists) -> list[str | None]:
    """The published list that each measured pair is in."""
    # Pairs go by sorted names, since lists and file may differ in order.
    list_of = {sorted_name(pair): title for title, pairs in lists.items() for pair in pairs}
    return [list_of.get(sorted_name(pair)) for pair in screen.pairs]


def table(scores: Scores, screen: Screen, lists: Lists) -> str:
    """Precision and recall of every sub-type among the pairs that are in any published list."""
    from sklearn.metrics import roc_auc_score

    titles = lists_of(screen, lists)
    # Pairs of no list have no published kind, so they are neither hits nor misses.
    listed = np.array([title is not None for title in titles])
    called_of = members(scores)
    header = ["sub-type", "rule", "published", "called: all pairs", "called: listed", "precision"]
    header += ["recall", "same number called: precision = recall", "AUROC"]
    lines = []
    for subtype, rule in RULES.items():
        true = np.array([title in LISTS[subtype] for title in titles])
        called = called_of[subtype] & listed
        hits = (true & called).sum()
        extreme = [row for row in most_extreme(scores, subtype) if listed[row]]
        # AUROC expects high values for members, so the other rules are turned.
        value = scores[rule.score][listed] * (1 if rule.above else -1)
        cells = [subtype, f"{rule.score} {'>' if rule.above else '<'} {rule.threshold}"]
        cells += [str(true.sum()), str(called_of[subtype].sum()), str(called.sum())]
        cells += [f"{hits / called.sum():.2f}" if called.any() else "-", f"{hits / true.sum():.2f}"]
        # As many called as are true, so that precision and recall agree.
        cells += [f"{true[extreme[: true.sum()]].mean():.2f}"]
        cells += [f"{roc_auc_score(true[listed], value):.2f}"]
        lines.append(cells)
    return markdown_table(header, lines)


def list_table(scores: Scores, screen: Screen, lists: Lists) -> str:
    """The scores of each published list, and how many of its pairs each rule calls."""
    called = members(scores)
    header = ["published list", "pairs"]
    header += [f"median {name}" for name in SHOWN] + [f"called {name}" for name in RULES]
    measured, lines = list(map(sorted_name, screen.pairs)), []
    for title, pairs in lists.items():
        inside = np.isin(measured, list(map(sorted_name, pairs)))
        medians = [f"{np.median(scores[name][inside]):.2f}" for name in SHOWN]
        counts = [str(called[name][inside].sum()) for name in RULES]
        lines.append([title, str(inside.sum()), *medians, *counts])
    return markdown_table(header, lines)


def noise_table(additive: Mapping[str, Scores], scores: Mapping[str, Scores]) -> str:
    """What noise alone does to exactly additive pairs, beside the measured pairs."""
    header = ["genes", "pairs", "mag: 10 %, median, 90 %", "corr_fit: median"]
    header += ["mag < 1", "mag > 1.15", "corr_fit < 0.88"]
    lines = []
    for name in scores:
        kinds = {"measured": scores[name], "exactly additive, with noise": additive[name]}
        for kind, of in kinds.items():
            quantiles = np.quantile(of["mag"], (0.1, 0.5, 0.9))
            shares = [of["mag"] < 1, of["mag"] > 1.15, of["corr_fit"] < 0.88]
            cells = [name, kind, ", ".join(f"{value:.2f}" for value in quantiles)]
            cells += [f"{np.median(of['corr_fit']):.2f}"]
            lines.append(cells + [f"{share.mean():.0%}" for share in shares])
    return markdown_table(header, lines)


def sorted_name(pair: str) -> str:
    """The same for both orders of a pair."""
    return "+".join(sorted(pair.split("+")))


def write(screen: Screen, scores: Scores, output: Path) -> None:
    """Scores of a choice of genes as a table, and their figures."""
    import pandas as pd

    columns = {"pair": screen.pairs, **scores, "subtypes": labels(scores)}
    with files.whole(output / "scores.csv") as part:
        pd.DataFrame(columns).to_csv(part, index=False)
    parts = [pair.split("+") for pair in screen.pairs]
    names = sorted({name for pair in parts for name in pair})
    places = np.array([[names.index(a), names.index(b)] for a, b in parts])
    plots_interactions.interaction_map(names, places, scores["mag"], output / "map.png")
    plots_interactions.interaction_space(scores, screen.pairs, output / "space.png")
    size = (deviation(screen.first, screen.second, screen.both) ** 2).mean(1)
    # The pairs that add up least are the ones worth a panel.
    top = np.argsort(-size)[:PANELS]
    plots_interactions.non_additive(
        screen.both[top],
        screen.first[top],
        screen.second[top],
        [screen.pairs[k] for k in top.tolist()],
        screen.genes,
        output / "non_additive.png",
    )
