"""Whether intervals hold, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxpert.report.numbers import label
from jaxpert.report.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, canvas

COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY)
CLOSE = 5.0
"""Points of a hundred within which intervals are said to hold."""


def reliability(
    levels: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    conditions: Mapping[str, int],
    path: str | Path,
) -> Path:
    """Share of measured effects within intervals against the share that these promise.

    Args:
        levels: promised shares.
        curves: {group of conditions: shares found}.
        conditions: {group: how many}.
        path: of the picture.
    """
    with canvas(path, 5.6, 5.0) as figure:
        axis = figure.add_subplot()
        percent = [100 * level for level in levels]
        low, high = [p - CLOSE for p in percent], [p + CLOSE for p in percent]
        axis.fill_between(percent, low, high, color=GREY, alpha=0.15, linewidth=0)
        axis.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=1)
        for (name, shares), colour in zip(curves.items(), COLOURS, strict=False):
            text = f"{label(name)} ({conditions[name]})"
            axis.plot(percent, [100 * share for share in shares], color=colour, label=text)
        axis.set(xlim=(0, 100), ylim=(0, 100), aspect="equal")
        axis.set_xlabel("share that an interval is to cover, %")
        axis.set_ylabel("share of measured effects in it, %")
        axis.legend(title="conditions", loc="upper left")
    return Path(path)
