"""Interaction scores of measured pairs against published sub-types.

python experiments/gears_interactions.py --effects=FILE.h5ad --published=FILE.json [--output=FOLDER]

--effects=FILE    one row of effects (mean change from control) per perturbation, obs["condition"]
A+ctrl or A+B --published=FILE  {sub-type: ["A+B", ...]}: lists of pairs, each pair in one list at
most --output=FOLDER   where scores.csv, subtypes.md and the figures go (default:
runs/gears_interactions)

Every choice of genes that is compared uses the single perturbations alone, never the pairs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from jaxpert.app.flags import UNDONE, guarded, leave, read_flags

LISTS = {
    "synergy": ("SYNERGY_SIMILAR_PHENO", "SYNERGY_DISSIMILAR_PHENO", "POTENTIATION"),
    "suppression": ("SUPPRESSOR",),
    "neomorphism": ("NEOMORPHIC",),
    "redundancy": ("REDUNDANT",),
    "epistasis": ("EPISTASIS",),
}
"""Published lists behind each of the five sub-types; the sixth list is ADDITIVE."""
GENES, COMPONENTS, PANELS = 1000, 10, 4


class Screen(NamedTuple):
    """Measured pairs of which both singles were measured."""

    pairs: list[str]
    first: np.ndarray
    second: np.ndarray
    both: np.ndarray
    singles: np.ndarray
    genes: list[str]
    left_out: list[str]
    """Pairs without one of their singles."""


def main(argv: list[str]) -> int:
    """Return the exit status: 0 for done, 2 for bad input."""
    if {"--help", "-h", "--helpfull"} & set(argv):
        print(__doc__)
        return 0
    return guarded(lambda: compare(argv), UNDONE)


def compare(argv: list[str]) -> int:
    """Score the pairs on each choice of genes, compare with the lists, write tables and figures."""
    from jaxpert.core.types import InputError
    from jaxpert.evaluation.interactions.scores import score_pairs

    options = parse(argv)
    screen, published = read_effects(Path(options.effects)), read_lists(Path(options.published))
    choices = choose_genes(screen)
    vectors = screen.first, screen.second, screen.both
    scores = {
        name: score_pairs(*(v[:, genes] for v in vectors))._asdict()
        for name, genes in choices.items()
    }
    text = [presence(screen, published)]
    text += [
        table(name, len(choices[name]), found, screen, published) for name, found in scores.items()
    ]
    text.append(list_table(list(scores.values())[-1], screen, published))
    text.append(
        noise_table(
            {name: additive_scores(screen, genes) for name, genes in choices.items()}, scores
        )
    )
    output = Path(options.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "subtypes.md").write_text("\n\n".join(text) + "\n")
        write(screen, scores, output)
    except OSError as error:
        raise InputError(
            f"--output={output} cannot be written ({error}): choose another"
        ) from error
    print("\n\n".join(text))
    print(f"\nscores and figures: {output}")
    return 0


def parse(argv: list[str]) -> Any:
    """The flags; InputError says what is wrong."""
    from jaxpert.core.types import InputError

    values = flags.FlagValues()
    for name, default in (
        ("effects", ""),
        ("published", ""),
        ("output", "runs/gears_interactions"),
    ):
        flags.DEFINE_string(name, default, "", flag_values=values)
    read_flags(values, argv)
    for name in ("effects", "published"):
        given = str(values[name].value)
        if not Path(given).is_file():
            raise InputError(f"--{name}={given} is no file, expected one: see --help")
    return values


def read_effects(path: Path) -> Screen:
    """Pairs with both singles; InputError where there is none."""
    import anndata

    from jaxpert.core.types import InputError

    file = anndata.read_h5ad(path)
    if "condition" not in file.obs:
        raise InputError(
            f"{path.name} has no obs column 'condition', expected one with A+ctrl and A+B"
        )
    row = {tuple(str(name).split("+")): k for k, name in enumerate(file.obs["condition"])}
    effects = np.asarray(file.X, np.float64)
    alone = {parts[0]: k for parts, k in row.items() if len(parts) == 2 and parts[1] == "ctrl"}
    pairs = [parts for parts in row if len(parts) == 2 and parts[1] != "ctrl"]
    whole = [parts for parts in pairs if set(parts) <= set(alone)]
    if not whole:
        raise InputError(
            f"{path.name} holds no pair A+B with both A+ctrl and B+ctrl, expected at least one"
        )
    first, second = (effects[[alone[parts[side]] for parts in whole]] for side in (0, 1))
    return Screen(
        pairs=["+".join(parts) for parts in whole],
        first=first,
        second=second,
        both=effects[[row[parts] for parts in whole]],
        singles=effects[sorted(alone.values())],
        genes=[str(name) for name in file.var_names],
        left_out=["+".join(parts) for parts in pairs if parts not in whole],
    )


def read_lists(path: Path) -> dict[str, list[str]]:
    """The published pairs of each list."""
    from jaxpert.core.types import InputError

    lists = json.loads(path.read_text())
    absent = [name for names in LISTS.values() for name in names if name not in lists]
    if absent:
        raise InputError(
            f"{path.name} has no list {absent[0]!r}, expected {', '.join(sum(LISTS.values(), ()))}"
        )
    return lists


def choose_genes(screen: Screen) -> dict[str, np.ndarray]:
    """All genes, and the genes whose effects the singles share most: the share of a gene's spread
    over singles that the first principal components of the singles hold. Expression itself is not
    in the file."""
    centred = screen.singles - screen.singles.mean(0)
    shared = (common_part(centred) ** 2).sum(0) / np.maximum((centred**2).sum(0), 1e-12)
    order = np.argsort(-shared, kind="stable")
    spread = np.argsort(-screen.singles.std(0), kind="stable")
    return {
        "all genes": np.arange(len(screen.genes)),
        "genes of largest spread over singles": np.sort(spread[:GENES]),
        "genes that singles move together": np.sort(order[:GENES]),
    }


def common_part(centred: np.ndarray) -> np.ndarray:
    left, size, right = np.linalg.svd(centred, full_matrices=False)
    return (left[:, :COMPONENTS] * size[:COMPONENTS]) @ right[:COMPONENTS]


def additive_scores(screen: Screen, genes: np.ndarray, seed: int = 0) -> Any:
    """Scores of made-up pairs that are exactly additive, measured with noise: the singles' common
    part plus, for each of the three measurements, noise of the size that the common part leaves
    over."""
    from jaxpert.evaluation.interactions.scores import score_pairs

    rng = np.random.default_rng(seed)
    mean = screen.singles.mean(0)
    clean = {"first": screen.first, "second": screen.second}
    _, _, right = np.linalg.svd(screen.singles - mean, full_matrices=False)
    axes = right[:COMPONENTS]
    clean = {name: mean + (effect - mean) @ axes.T @ axes for name, effect in clean.items()}
    noise = (screen.singles - mean - common_part(screen.singles - mean)).std(0)
    a, b = clean["first"], clean["second"]
    noisy = [part + noise * rng.normal(size=part.shape) for part in (a, b, a + b)]
    return score_pairs(*(part[:, genes] for part in noisy))._asdict()


def presence(screen: Screen, published: dict[str, list[str]]) -> str:
    """Which published pairs the file holds."""
    own = {sorted_name(pair) for pair in screen.pairs}
    absent = [
        pair for pairs in published.values() for pair in pairs if sorted_name(pair) not in own
    ]
    total = sum(map(len, published.values()))
    return (
        f"{len(screen.pairs)} pairs have both singles (left out: "
        f"{', '.join(screen.left_out) or 'none'}); "
        f"{total - len(absent)} of {total} published pairs are among them (absent: "
        f"{', '.join(absent) or 'none'})."
    )


def table(
    name: str, genes: int, scores: dict[str, np.ndarray], screen: Screen, published: dict
) -> str:
    """Precision and recall of every sub-type among the pairs that are in any published list."""
    from sklearn.metrics import roc_auc_score

    from jaxpert.evaluation.interactions.subtypes import RULES, members, most_extreme

    list_of = {sorted_name(pair): title for title, pairs in published.items() for pair in pairs}
    listed = np.array([sorted_name(pair) in list_of for pair in screen.pairs])
    found = members(scores)
    header = (
        "sub-type",
        "rule",
        "published",
        "called: all pairs",
        "called: listed",
        "precision",
        "recall",
    )
    header += ("same number called: precision = recall", "AUROC")
    lines = [f"**{name}** ({genes:,})", "", *heading(header)]
    for subtype, rule in RULES.items():
        true = np.array([list_of.get(sorted_name(pair)) in LISTS[subtype] for pair in screen.pairs])
        called = found[subtype] & listed
        hits = (true & called).sum()
        best = [row for row in most_extreme(scores, subtype) if listed[row]][: true.sum()]
        score = scores[rule.score][listed] * (1 if rule.above else -1)
        shown = [f"{hits / called.sum():.2f}" if called.any() else "-", f"{hits / true.sum():.2f}"]
        shown += [f"{true[best].mean():.2f}", f"{roc_auc_score(true[listed], score):.2f}"]
        words = f"{rule.score} {'>' if rule.above else '<'} {rule.threshold}"
        lines.append(
            f"| {subtype} | {words} | {true.sum()} | {found[subtype].sum()} | {called.sum()} | "
            f"{' | '.join(shown)} |"
        )
    return "\n".join(lines)


def list_table(
    scores: dict[str, np.ndarray], screen: Screen, published: dict[str, list[str]]
) -> str:
    """The scores of each published list, and how many of its pairs each rule calls."""
    from jaxpert.evaluation.interactions.subtypes import RULES, members

    found = members(scores)
    shown = ("mag", "corr_fit", "dcor", "eq_contr")
    header = (
        "published list",
        "pairs",
        *(f"median {name}" for name in shown),
        *(f"called {name}" for name in RULES),
    )
    lines = heading(header)
    for title, pairs in published.items():
        own = np.isin(
            [sorted_name(pair) for pair in screen.pairs], [sorted_name(pair) for pair in pairs]
        )
        medians = [f"{np.median(scores[name][own]):.2f}" for name in shown]
        counts = [str(found[name][own].sum()) for name in RULES]
        lines.append(f"| {title} | {own.sum()} | {' | '.join(medians + counts)} |")
    return "\n".join(lines)


def sorted_name(pair: str) -> str:
    return "+".join(sorted(pair.split("+")))


def noise_table(additive: dict[str, Any], scores: dict[str, Any]) -> str:
    """What noise alone does to exactly additive pairs, beside the measured pairs."""
    header = ("genes", "pairs", "mag: 10 %, median, 90 %", "corr_fit: median")
    lines = heading((*header, "mag < 1", "mag > 1.15", "corr_fit < 0.88"))
    for name in scores:
        for kind, found in (
            ("measured", scores[name]),
            ("exactly additive, with noise", additive[name]),
        ):
            spread = ", ".join(
                f"{value:.2f}" for value in np.quantile(found["mag"], (0.1, 0.5, 0.9))
            )
            shares = [found["mag"] < 1, found["mag"] > 1.15, found["corr_fit"] < 0.88]
            cells = " | ".join(f"{share.mean():.0%}" for share in shares)
            lines.append(
                f"| {name} | {kind} | {spread} | {np.median(found['corr_fit']):.2f} | {cells} |"
            )
    return "\n".join(lines)


def heading(names: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]


def write(screen: Screen, scores: dict[str, Any], output: Path) -> None:
    """Scores of the last choice of genes and their figures."""
    import pandas as pd

    from jaxpert.evaluation.interactions.scores import deviation
    from jaxpert.evaluation.interactions.subtypes import labels
    from jaxpert.report import plots

    last = list(scores.values())[-1]
    columns = {"pair": screen.pairs, **last, "subtypes": labels(last)}
    pd.DataFrame(columns).to_csv(output / "scores.csv", index=False)
    parts = [pair.split("+") for pair in screen.pairs]
    names = sorted({name for pair in parts for name in pair})
    places = np.array([[names.index(name) for name in pair] for pair in parts])
    plots.interaction_map(names, places, last["mag"], output / "map.png")
    plots.interaction_space(last, screen.pairs, output / "space.png")
    size = (deviation(screen.first, screen.second, screen.both) ** 2).mean(1)
    top: Sequence[int] = np.argsort(-size)[:PANELS].tolist()
    vectors = (screen.both[top], screen.first[top], screen.second[top])
    plots.non_additive(
        *vectors, [screen.pairs[k] for k in top], screen.genes, output / "non_additive.png"
    )


if __name__ == "__main__":
    leave(main(sys.argv))
