"""Scores that one family of models has of its own, beside the same baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxpert.report.numbers import digits_for, finite, fixed
from jaxpert.report.tables import Cell, Row, Table


class Score(NamedTuple):
    """How a score is shown."""

    label: str
    sign: int
    """1 where higher is better, -1 where lower is."""
    meaning: str


class Family(NamedTuple):
    """A section of the report."""

    title: str
    text: str
    scores: Mapping[str, Score]


FAMILIES = {
    "gears": Family(
        "Scores of the GEARS paper",
        "Means over the held-out conditions of each group, on ln(1 + 1e4 x / sum x): all of them, "
        "then by how many of "
        "their genes training saw. The correlation of changes is the paper's headline number; the "
        "mean of the training "
        "perturbations often beats models on it. Every other score of the published code is in "
        "metrics.json.",
        {
            "normalised_mse_de": Score(
                "MSE, top 20, over no change",
                -1,
                "Squared error on the 20 genes that differ "
                "most from control, divided by that of predicting no "
                "change: below 1 something "
                "was learned.",
            ),
            "mse_de": Score(
                "MSE, top 20 genes",
                -1,
                "Squared error of the mean on the 20 genes that differ most.",
            ),
            "mse": Score(
                "MSE, all genes", -1, "Squared error of the mean over all genes; most do not move."
            ),
            "pearson_delta": Score(
                "Pearson of changes",
                1,
                "Correlation over genes of predicted and measured change "
                "from control; undefined where no change is predicted.",
            ),
            "pearson_delta_de": Score(
                "Pearson of changes, top 20", 1, "The same over the 20 genes that differ most."
            ),
            "pearson_de": Score(
                "Pearson of means, top 20",
                1,
                "Correlation of expression, which the genes' own levels "
                "dominate: no change scores high.",
            ),
            "frac_opposite_direction_top20_non_dropout": Score(
                "opposite direction, top 20",
                -1,
                "Share of the 20 "
                "genes that are predicted to move the wrong way; no change is "
                "never opposite.",
            ),
            "frac_sigma_below_1_non_dropout": Score(
                "within one standard deviation",
                1,
                "Share of the 20 genes predicted within one standard deviation of the cells.",
            ),
        },
    ),
    "cycseq": Family(
        "Scores of the CycSeq paper",
        "Means over the evaluated rows (means of drawn cells), in both directions: n2p predicts "
        "perturbed rows from "
        "control rows, p2n control rows from perturbed ones; all lines together, then line by "
        "line (with doses, "
        "compound by compound). The levels of genes dominate every correlation of rows, so no "
        "change scores high; "
        "correlations of the change do not have this flaw. mean_change adds the mean training "
        "change of the same "
        "perturbation in the lines that have it. Other gene sets and the triangular validation "
        "are in metrics.json.",
        {
            "r2": Score(
                "R2 (squared Pearson)",
                1,
                "Squared correlation over genes of predicted and measured row: the "
                "paper's headline number; its square hides the sign.",
            ),
            "r2_det": Score("R2 (determination)", 1, "1 - SSE / SST over genes."),
            "mae": Score("MAE", -1, "Mean absolute error over genes."),
            "mse": Score("MSE", -1, "Mean squared error over genes."),
            "r2_top20": Score(
                "R2, top 20 genes",
                1,
                "Squared correlation over the 20 genes that differ most from control.",
            ),
            "change_r": Score(
                "Pearson of the change",
                1,
                "Correlation over genes of predicted and measured change; "
                "undefined for no change. Both changes share the noise of the input "
                "row.",
            ),
            "change_r_top100": Score(
                "Pearson of the change, top 100", 1, "The same over the 100 genes that differ most."
            ),
            "mean_r2": Score("R2 of means", 1, "Squared correlation of the means over all draws."),
            "mean_change_r": Score(
                "Pearson of the change, means",
                1,
                "Correlation of changes of the means over all "
                "draws, which the noise of drawing hardly touches.",
            ),
            "mean_mse": Score(
                "MSE of means", -1, "Mean squared error of the means over all draws."
            ),
        },
    ),
}


def family_sections(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Title, text, tables and notes of every family that metrics.json has scores of."""
    return [
        {
            "title": f.title,
            "text": f.text,
            "tables": _tables(metrics[name], f),
            "notes": metrics[name].get("notes"),
        }
        for name, f in FAMILIES.items()
        if metrics.get(name)
    ]


def _tables(found: Mapping[str, Any], family: Family) -> list[Table]:
    methods = {"model": found["model"], **found["baselines"]}
    return [
        _table(group, methods, found.get("conditions") or {}, family) for group in found["model"]
    ]


def _table(
    group: str, methods: Mapping[str, Any], sizes: Mapping[str, int], family: Family
) -> Table:
    scores = {
        name: of[group] for name, of in methods.items() if of.get(group)
    }  # one direction is enough for a method
    shown = {
        name: score
        for name, score in family.scores.items()
        if any(name in of for of in scores.values())
    }
    rows = [_row(score, [of.get(name) for of in scores.values()]) for name, score in shown.items()]
    return Table(group, sizes.get(group), list(scores), rows, [])


def _row(score: Score, values: list[Any]) -> Row:
    defined = [v for v in values if finite(v)]
    digits = digits_for(defined)
    best = max(defined, key=lambda v: score.sign * v) if len(defined) > 1 else None
    cells = [
        Cell(fixed(v, digits), "best" if v == best else "")
        if finite(v)
        else Cell("undefined", "undefined", "no value")
        for v in values
    ]
    return Row(score.label, {1: "↑", -1: "↓"}[score.sign], score.meaning, cells, None)
