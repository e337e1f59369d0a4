"""What the report shows of the CycSeq paper's scores, and how it explains them."""

from __future__ import annotations

from jaxpert.report.sections import Score, Section

SECTION = Section(
    title="Scores of the CycSeq paper",
    text=(
        "Means over the evaluated rows (means of drawn cells), in both directions: from control "
        "rows to perturbed ones, and back; all lines together, then line by line (with doses, "
        "compound by compound). The levels of genes dominate every correlation of rows, so no "
        "change scores high; correlations of the change do not have this flaw. The baseline mean "
        "change adds the mean training change of the same perturbation in the lines that have "
        "it. Other gene sets and the triangular validation are in metrics.json."
    ),
    groups={"n2p": "control to perturbed:", "p2n": "perturbed to control:"},
    scores={
        "r2": Score(
            "R2 (squared Pearson)",
            1,
            "Squared correlation over genes of predicted and measured row: the paper's "
            "headline number; its square hides the sign.",
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
            "Correlation over genes of predicted and measured change; undefined for no "
            "change. Both changes share the noise of the input row.",
        ),
        "change_r_top100": Score(
            "Pearson of the change, top 100", 1, "The same over the 100 genes that differ most."
        ),
        "mean_r2": Score("R2 of means", 1, "Squared correlation of the means over all draws."),
        "mean_change_r": Score(
            "Pearson of the change, means",
            1,
            "Correlation of changes of the means over all draws, which the noise of drawing "
            "hardly touches.",
        ),
        "mean_mse": Score("MSE of means", -1, "Mean squared error of the means over all draws."),
    },
)

SHOWN = {
    "r2": "R2",
    "r2_det": "R2 (determination)",
    "mae": "MAE",
    "mse": "MSE",
    "change_r": "r of the change",
    "mean_change_r": "r of the change, means",
}
"""Columns of the tables, by the names of scores in metrics.json."""
TABLES = {"1": "Table 1: lines", "2": "Table 2: doses"}
DIRECTIONS = {"n2p": "control to perturbed", "p2n": "perturbed to control"}
