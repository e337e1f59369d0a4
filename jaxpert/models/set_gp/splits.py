"""Finished runs on several splits of one screen in one table: every group of held-out conditions,
every baseline, differences with intervals paired over perturbations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxpert.core import files
from jaxpert.core.family import Run
from jaxpert.core.settings import setting
from jaxpert.core.types import InputError
from jaxpert.evaluation import scoring
from jaxpert.evaluation.intervals import Difference, bootstrap_weights, mean_difference
from jaxpert.report.published import markdown_table

TABLE = "splits.md"
GROUPS = {
    "combo_seen2": "pairs, both genes seen",
    "combo_seen1": "pairs, one gene seen",
    "combo_seen0": "pairs, no gene seen",
    "unseen_single": "unseen single genes",
    "test": "all held-out conditions",
}
SCORES = {
    "mse": ("MSE", -1),
    "pearson_delta": ("Pearson of changes", 1),
    "centroid_accuracy": ("centroid accuracy", 1),
}
"""{score: (what it is called, 1 where higher is better)}."""
MODEL = "model"


@dataclass(frozen=True)
class Options:
    """How intervals are drawn."""

    draws: int = setting(2000, "of the bootstrap over perturbations", at_least=100, at_most=10**6)


class Split(NamedTuple):
    """Sums of a run (`statistics.npz`)."""

    conditions: Mapping[str, np.ndarray]
    """{group: names}."""
    sums: Mapping[tuple[str, str, str], np.ndarray]
    """{(predictor, group, score): rows}."""


def write(runs: Sequence[Run], folder: Path, options: Options) -> None:
    """`jaxpert tables`: one table for each group of held-out conditions, over all runs."""
    splits = [_split_of(run) for run in runs]
    text = [f"# {runs[0].finished.problem.dataset.name}: {len(runs)} splits\n"]
    for group, title in GROUPS.items():
        here = [split for split in splits if group in split.conditions]
        if here:
            text.append(_section(here, group, title, options.draws))
    text.append(_coverage(runs))
    files.write_text(folder / TABLE, "\n".join(text))


def _split_of(run: Run) -> Split:
    path = run.workdir / "statistics.npz"
    if not path.is_file():
        raise InputError(
            f"{run.workdir} has no statistics.npz, expected that of a finished run: evaluate it "
            "again with jaxpert evaluate"
        )
    conditions, sums = {}, {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            what, *where = name.split("|")
            if what == "conditions":
                conditions[where[1]] = arrays[name].astype(str)
            elif what == "sums":
                predictor, _, _, group, score = where
                sums[predictor, group, score] = arrays[name]
    return Split(conditions, sums)


def _section(splits: Sequence[Split], group: str, title: str, draws: int) -> str:
    number = [len(split.conditions[group]) for split in splits]
    predictors = [name for name, of, score in splits[0].sums if (of, score) == (group, "mse")]
    # A baseline that one split does not allow is compared on none.
    everywhere = [
        name for name in predictors if all((name, group, "mse") in split.sums for split in splits)
    ]
    rows = []
    for name in everywhere:
        cells = [name.replace("_", " ") if name != MODEL else "**set GP**"]
        for score, (_, sign) in SCORES.items():
            mean = _mean(splits, name, group, score)
            cells.append(f"{mean:.3f}" if np.isfinite(mean) else "undefined")
            gap = "" if name == MODEL else _gap_text(splits, name, group, score, sign, draws)
            cells.append(gap)
        rows.append(cells)
    heads = ["predictor"]
    for words, _ in SCORES.values():
        heads += [words, "set GP minus it (95 %)"]
    counted = f"{sum(number)} held-out conditions in {len(splits)} splits"
    return f"## {title} ({counted})\n\n{markdown_table(heads, rows)}"


def _mean(splits: Sequence[Split], name: str, group: str, score: str) -> float:
    """Mean over the splits of a score."""
    values = []
    for split in splits:
        values.append(float(scoring.value(score, split.sums[name, group, score].sum(0))))
    return float(np.mean(values))


def _gap_text(
    splits: Sequence[Split], name: str, group: str, score: str, sign: int, draws: int
) -> str:
    gap = _difference(splits, name, group, score, draws)
    if not np.isfinite(gap.low):
        return "undefined"
    text = f"{gap.difference:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
    # Bold says better, an exclamation mark worse, both beyond chance.
    if sign * gap.low > 0 and sign * gap.high > 0:
        return f"**{text}**"
    return f"{text} !" if sign * gap.low < 0 and sign * gap.high < 0 else text


def _difference(
    splits: Sequence[Split], name: str, group: str, score: str, draws: int
) -> Difference:
    names = np.concatenate([split.conditions[group] for split in splits])
    of_all = np.unique(names)
    # A perturbation that several splits hold out is drawn once for all of them.
    weights = bootstrap_weights(np.random.default_rng(0), len(of_all), draws)
    pairs, places = [], []
    for split in splits:
        place = np.searchsorted(of_all, split.conditions[group])
        places.append(place)
        sums = (split.sums[who, group, score] for who in (MODEL, name))
        pairs.append((*sums, weights[:, place]))
    return mean_difference(score, pairs, places=places)


def _coverage(runs: Sequence[Run]) -> str:
    """Shares of held-out effects in the intervals, over the splits."""
    rows = []
    for group, title in GROUPS.items():
        found, counted = {"covered_50": [], "covered_90": []}, 0
        for run in runs:
            part = run.finished.metrics.get("coverage") or {"model": {}, "conditions": {}}
            for level, values in found.items():
                if group in part["model"]:
                    values.append(part["model"][group][level])
            counted += part["conditions"].get(group, 0)
        if counted:
            shares = [f"{100 * np.mean(v):.1f} ({100 * np.std(v):.1f})" for v in found.values()]
            rows.append([title, str(counted), *shares])
    heads = ["group", "conditions", "in 50 % intervals, % (sd over splits)", "in 90 % intervals, %"]
    return f"## Coverage\n\n{markdown_table(heads, rows)}"
