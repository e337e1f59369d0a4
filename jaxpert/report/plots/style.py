"""The look of every figure, and the canvas that writes it: colours, sizes, panels, numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# Okabe and Ito's colours, told apart under the common forms of colour blindness.
BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, YELLOW = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#E69F00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
)
INK, GREY, PALE = "#222222", "#7a7a7a", "#cfcfcf"
DENSITY = ("#9ecae1", "#3a8fc4", "#0b4f8a", "#06182e")
"""Few to many points; the lightest shade still shows on white, so that single genes are seen."""

STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "axes.formatter.limits": (-4, 6),
    "axes.formatter.useoffset": False,
    "figure.facecolor": "white",
    "text.parse_math": False,  # a perturbation may hold a dollar sign
    "savefig.dpi": 160,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.08,
}

SUBSETS = ("test", "val", "train", "all")
"""Order of the panels: what was held out comes first."""


@contextmanager
def canvas(path: str | Path, width: float, height: float) -> Iterator[Any]:
    """A figure of `width` x `height` inches, saved under `path` when the block ends without an
    error."""
    import matplotlib.style
    from matplotlib.figure import Figure

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with matplotlib.style.context([STYLE], after_reset=True):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        figure.savefig(part, format="png", metadata={"Software": None})
    os.replace(part, target)


def grid_shape(count: int) -> tuple[int, int]:
    """Rows and columns for `count` panels, at most three abreast."""
    columns = count if count <= 3 else 2 if count == 4 else 3
    return -(-count // columns), columns


def panels(figure: Any, count: int, **share: Any) -> list[Any]:
    """`count` axes on a grid; left-over places stay empty."""
    rows, columns = grid_shape(count)
    axes = list(figure.subplots(rows, columns, squeeze=False, **share).flat)
    for axis in axes[count:]:
        axis.remove()
    return axes[:count]


def number(value: float | None, digits: int = 3) -> str:
    """A score with a true minus sign, or "undefined"."""
    if value is None or not np.isfinite(value):
        return "undefined"
    return f"{value:.{digits}f}".replace("-", "−")


def words(name: str) -> str:
    """A key of metrics.json as words."""
    return name.replace("_", " ")


def thousands(value: float, _position: int | None = None) -> str:
    """A tick label with grouped thousands."""
    return f"{value:,.0f}"
