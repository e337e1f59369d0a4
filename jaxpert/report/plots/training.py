"""Curves of the training log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxpert.core.types import InputError
from jaxpert.report.plots.style import BLUE, GREY, INK, VERMILLION, canvas, thousands, words


def loss_curves(rows: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Training loss by step, validation loss by epoch with its best epoch, and every loss term in a
    panel of its own.

    `rows` are those of `metrics.jsonl`: `step`, `epoch` and any of `train/loss`, `train/<term>`,
    `val/loss`, `val/<term>`; values that are missing or not finite are left out of the curves.
    """
    terms = _terms(rows)
    if "loss" not in terms:
        raise InputError(
            "no row of metrics.jsonl holds train/loss or val/loss, expected some for the curves: "
            "train for longer than train.log_every steps"
        )
    # The loss has the large panel above, so it gets no small one.
    terms.remove("loss")
    columns = min(4, max(len(terms), 1))
    # Rounded up, so that the last row may be partly empty.
    small = -(-len(terms) // columns)
    with canvas(path, 9.0, 3.9 + 1.75 * small) as figure:
        grid = figure.add_gridspec(1 + small, columns, height_ratios=[2.2] + [1.0] * small)
        loss_panel(figure.add_subplot(grid[0, :]), rows)
        for i, term in enumerate(terms):
            _term_panel(figure.add_subplot(grid[1 + i // columns, i % columns]), rows, term)
    return Path(path)


def _terms(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What follows train/ or val/ in the rows, in the order of appearance."""
    # A dict keeps the order of appearance, which a set would lose.
    terms: dict[str, None] = {}
    for row in rows:
        for key in row:
            part, _, term = key.partition("/")
            if part in ("train", "val") and term:
                terms[term] = None
    return list(terms)


def _series(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the rows in which `key` is a finite number."""
    points = []
    for row in rows:
        value = row.get(key)
        if value is not None and np.isfinite(value):
            points.append((row["step"], value))
    steps, values = np.array(points, float).reshape(-1, 2).T
    return steps, values


def _smooth(values: np.ndarray) -> np.ndarray:
    """Moving average over about a fortieth of the curve; the ends average over what there is."""
    window = np.ones(max(1, len(values) // 40))
    # Divided by the same average of ones, so that the ends are not drawn towards 0.
    return np.convolve(values, window, "same") / np.convolve(np.ones_like(values), window, "same")


def loss_panel(axis: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw both losses on `axis`, the best epoch marked."""
    steps, train = _series(rows, "train/loss")
    val_steps, val = _series(rows, "val/loss")
    if len(train):
        axis.plot(steps, train, color=BLUE, alpha=0.25, linewidth=0.8)
        axis.plot(steps, _smooth(train), color=BLUE, label="training")
    if len(val):
        axis.plot(val_steps, val, color=VERMILLION, marker="o", markersize=3, label="validation")
        _mark_best(axis, rows, val_steps, val)
    # The limits are set last, when both curves are known.
    _focus(axis, np.concatenate([train, val]))
    axis.set(title="Loss", xlabel="training step", ylabel="loss")
    axis.xaxis.set_major_formatter(thousands)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.5g}".replace("-", "−"))
    axis.legend(loc="upper right")


def _mark_best(
    axis: Any, rows: Sequence[Mapping[str, Any]], steps: np.ndarray, val: np.ndarray
) -> None:
    best = int(np.argmin(val))
    label = f"best validation: {val[best]:,.2f}"
    for row in rows:
        # Steps may be repeated after a restart, so the value has to agree too.
        if row["step"] == steps[best] and row.get("val/loss") == val[best]:
            if row.get("epoch") is not None:
                label += f", epoch {row['epoch']}"
            break
    axis.axvline(steps[best], color=GREY, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
    axis.plot(
        steps[best],
        val[best],
        "o",
        color=VERMILLION,
        markersize=9,
        markeredgecolor=INK,
        linestyle="none",
        label=label,
    )


def _focus(axis: Any, values: np.ndarray) -> None:
    """Leave the first, far higher losses outside the panel where they would flatten the rest, and
    say so."""
    # Few points have no early ones to tell from the rest.
    if len(values) < 20:
        return
    low, middle, high = values.min(), np.quantile(values, 0.95), values.max()
    # Only where the highest losses would take more than a third of the panel.
    if high - low > 1.5 * (middle - low) > 0:
        top = middle + 0.15 * (middle - low)
        axis.set_ylim(low - 0.08 * (middle - low), top)
        note = f"{np.sum(values > top)} early or high values lie above the panel, up to {high:,.0f}"
        axis.set_title(note, loc="right", fontsize=8.5, fontweight="normal", color=GREY)


def _term_panel(axis: Any, rows: Sequence[Mapping[str, Any]], term: str) -> None:
    inner = []
    for part, colour in (("train", BLUE), ("val", VERMILLION)):
        steps, values = _series(rows, f"{part}/{term}")
        if len(values):
            # Validation is a single number for each epoch and is shown as it is.
            shown = _smooth(values) if part == "train" else values
            axis.plot(steps, shown, color=colour, linewidth=1.4)
        # Outliers at either end are left outside, as in the panel of the loss.
        if len(values) >= 20:
            inner.append(np.quantile(values, (0.02, 0.98)))
    if inner and np.ptp(inner) > 0:
        axis.set_ylim(np.min(inner) - 0.1 * np.ptp(inner), np.max(inner) + 0.1 * np.ptp(inner))
    title = words(term)
    if term == "score":
        title = "validation score,\nlower is better"
    axis.set_title(title, fontsize=9.5, fontweight="normal")
    axis.locator_params(axis="both", nbins=3)
    axis.xaxis.set_major_formatter(thousands)
    axis.tick_params(labelsize=8)
