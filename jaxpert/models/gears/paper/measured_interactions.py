"""Interaction scores of measured pairs against published lists of pairs by kind of interaction.

Every choice of genes that is compared uses the single perturbations alone, never the pairs. What
was found is in docs/results/gears_interactions.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core import files
from jaxpert.core.paths import path_of
from jaxpert.core.spreadsheets import write_table
from jaxpert.core.texts import read_json
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
    screen, lists = read_effects(path_of(effects)), read_lists(path_of(published))
    choices = choose_genes(screen)
    scores, additive = {}, {}
    for name, genes in choices.items():
        parts = screen.first[:, genes], screen.second[:, genes], screen.both[:, genes]
        scores[name] = score_pairs(*parts)._asdict()
        additive[name] = additive_scores(screen, genes)
    last = list(scores.values())[-1]
    tables = [presence(screen, lists)]
    for name, of in scores.items():
        tables.append(f"**{name}** ({len(choices[name]):,})\n\n{table(of, screen, lists)}")
    tables += [list_table(last, screen, lists), noise_table(additive, scores)]
    text = "\n\n".join(tables)
    try:
        output.mkdir(parents=True, exist_ok=True)
        files.write_text(output / "subtypes.md", text + "\n")
        write(screen, last, output)
    except OSError as error:
        raise InputError(
            f"--output={output} cannot be written ({error}), expected a file in a folder that can: "
            "choose another"
        ) from error
    return text


def read_effects(path: Path) -> Screen:
    """Pairs with both singles; InputError where there is none."""
    file = _read_file(path)
    row = {}
    # Names are split once, so that pairs and singles are found by their genes.
    for k, name in enumerate(file.obs["condition"]):
        row[tuple(str(name).split("+"))] = k
    alone, pairs = {}, []
    for genes, k in row.items():
        if len(genes) != 2:
            continue
        if genes[1] == "ctrl":
            alone[genes[0]] = k
        else:
            pairs.append(genes)
    whole, left_out, first, second = [], [], [], []
    for genes in pairs:
        # A pair without both singles has nothing to be compared with.
        if not set(genes) <= set(alone):
            left_out.append("+".join(genes))
            continue
        whole.append(genes)
        first.append(alone[genes[0]])
        second.append(alone[genes[1]])
    if not whole:
        raise InputError(
            f"{path.name} holds no pair A+B with both A+ctrl and B+ctrl, expected at least one: "
            "give a screen with pairs"
        )
    effects = np.asarray(file.X, np.float64)
    return Screen(
        pairs=list(map("+".join, whole)),
        first=effects[first],
        second=effects[second],
        both=effects[[row[genes] for genes in whole]],
        singles=effects[sorted(alone.values())],
        genes=list(map(str, file.var_names)),
        left_out=left_out,
    )


def _read_file(path: Path) -> Any:
    import anndata

    try:
        file = anndata.read_h5ad(path)
    # Libraries say in many ways that a file is none of theirs.
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"--effects={path} cannot be read ({error}), expected an .h5ad file: see --help"
        ) from error
    if "condition" not in file.obs:
        raise InputError(
            f"{path.name} has no obs column 'condition', expected one with A+ctrl and A+B: rename "
            "the column"
        )
    return file


def read_lists(path: Path) -> Lists:
    """The published pairs of each list."""
    if not path.is_file():
        raise InputError(f"--published={path} is no file, expected one: see --help")
    lists = read_json(path, "the published lists as JSON")
    expected = list(chain.from_iterable(LISTS.values()))
    absent = [name for name in expected if not isinstance(lists, dict) or name not in lists]
    if absent:
        raise InputError(
            f"{path.name} has no list {absent[0]!r}, expected {', '.join(expected)}: add it"
        )
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

    def common(effect: np.ndarray) -> np.ndarray:
        # Projected on the common axes, so that made-up singles hold no noise of their own.
        return mean + (effect - mean) @ axes.T @ axes

    first, second = common(screen.first), common(screen.second)
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
    listed = list(chain.from_iterable(lists.values()))
    absent = [pair for pair in listed if sorted_name(pair) not in measured]
    return (
        f"{len(screen.pairs)} pairs have both singles (left out: "
        f"{', '.join(screen.left_out) or 'none'}); {len(listed) - len(absent)} of {len(listed)} "
        f"published pairs are among them (absent: {', '.join(absent) or 'none'})."
    )


def lists_of(screen: Screen, lists: Lists) -> list[str | None]:
    """The published list that each measured pair is in."""
    list_of = {}
    for title, pairs in lists.items():
        # Pairs go by sorted names, since lists and file may differ in order.
        list_of |= dict.fromkeys(map(sorted_name, pairs), title)
    return [list_of.get(sorted_name(pair)) for pair in screen.pairs]


def table(scores: Scores, screen: Screen, lists: Lists) -> str:
    """Precision and recall of every sub-type among the pairs that are in any published list."""
    from sklearn.metrics import roc_auc_score

    # An empty title stands for no list: such pairs have no published kind and are neither hits nor
    # misses.
    titles = np.array([title or "" for title in lists_of(screen, lists)])
    listed = titles != ""
    called_of = members(scores)
    header = ["sub-type", "rule", "published", "called: all pairs", "called: listed", "precision"]
    header += ["recall", "same number called: precision = recall", "AUROC"]
    lines = []
    for subtype, rule in RULES.items():
        true = np.isin(titles, LISTS[subtype])
        called = called_of[subtype] & listed
        hits = (true & called).sum()
        extreme = [row for row in most_extreme(scores, subtype) if listed[row]]
        # AUROC expects high values for members, so the other rules are turned.
        relation, sign = (">", 1) if rule.above else ("<", -1)
        value = scores[rule.score][listed] * sign
        precision = f"{hits / called.sum():.2f}" if called.any() else "-"
        cells = [subtype, f"{rule.score} {relation} {rule.threshold}"]
        cells += [str(true.sum()), str(called_of[subtype].sum()), str(called.sum())]
        cells += [precision, f"{hits / true.sum():.2f}"]
        # As many called as are true, so that precision and recall agree.
        cells += [f"{true[extreme[: true.sum()]].mean():.2f}"]
        cells += [f"{roc_auc_score(true[listed], value):.2f}"]
        lines.append(cells)
    return markdown_table(header, lines)


def list_table(scores: Scores, screen: Screen, lists: Lists) -> str:
    """The scores of each published list, and how many of its pairs each rule calls."""
    called = members(scores)
    header = ["published list", "pairs"]
    header += [*map("median {}".format, SHOWN), *map("called {}".format, RULES)]
    measured, lines = list(map(sorted_name, screen.pairs)), []
    for title, pairs in lists.items():
        inside = np.isin(measured, list(map(sorted_name, pairs)))
        cells = [title, str(inside.sum())]
        for name in SHOWN:
            cells.append(f"{np.median(scores[name][inside]):.2f}")
        for name in RULES:
            cells.append(str(called[name][inside].sum()))
        lines.append(cells)
    return markdown_table(header, lines)


def noise_table(additive: Mapping[str, Scores], scores: Mapping[str, Scores]) -> str:
    """What noise alone does to exactly additive pairs, beside the measured pairs."""
    header = ["genes", "pairs", "mag: 10 %, median, 90 %", "corr_fit: median"]
    header += ["mag < 1", "mag > 1.15", "corr_fit < 0.88"]
    lines = []
    for name in scores:
        kinds = {"measured": scores[name], "exactly additive, with noise": additive[name]}
        for kind, of in kinds.items():
            low, middle, high = np.quantile(of["mag"], (0.1, 0.5, 0.9))
            cells = [name, kind, f"{low:.2f}, {middle:.2f}, {high:.2f}"]
            cells += [f"{np.median(of['corr_fit']):.2f}"]
            # The thresholds of suppression, synergy and neomorphism.
            for share in (of["mag"] < 1, of["mag"] > 1.15, of["corr_fit"] < 0.88):
                cells.append(f"{share.mean():.0%}")
            lines.append(cells)
    return markdown_table(header, lines)


def sorted_name(pair: str) -> str:
    """The same for both orders of a pair."""
    return "+".join(sorted(pair.split("+")))


def write(screen: Screen, scores: Scores, output: Path) -> None:
    """Scores of a choice of genes as a table, and their figures."""
    import pandas as pd

    columns = {"pair": screen.pairs, **scores, "subtypes": labels(scores)}
    write_table(output / "scores.csv", pd.DataFrame(columns), index=False)
    parts = np.array([pair.split("+") for pair in screen.pairs])
    # The sorted names of all genes, and the two places of each pair among them.
    names, places = np.unique(parts, return_inverse=True)
    places = places.reshape(parts.shape)
    plots_interactions.interaction_map(names.tolist(), places, scores["mag"], output / "map.png")
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
