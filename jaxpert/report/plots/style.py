"""The look of every figure, and the canvas that writes it: colours, sizes, panels, numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from jaxpert.core import caches, files
from jaxpert.report.plots import glyphs

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
    # Text stays text, so that a journal's artist can change it.
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.08,
}


FORMATS = ("png", "pdf", "svg")
FORMAT: ContextVar[str] = ContextVar("FORMAT", default="png")
"""Of figures; another one is written beside the PNG."""
DPI: ContextVar[int] = ContextVar("DPI", default=160)
"""Of the PNG: enough for a page on a screen. Print asks for PRINT."""
PRINT = 300
UNDATED = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
}
"""Without dates and the name of the program, equal figures are equal files."""


@contextmanager
def printed(kind: str) -> Iterator[None]:
    """Figures for print: PNG of 300 dpi, and a file of `kind` (one of FORMATS) beside it."""
    before = FORMAT.set(kind), DPI.set(PRINT)
    try:
        yield
    finally:
        FORMAT.reset(before[0])
        DPI.reset(before[1])


@contextmanager
def canvas(path: str | Path, width: float, height: float) -> Iterator[Any]:
    """A figure of `width` x `height` inches, saved under `path` when the block ends without an
    error."""
    caches.ensure_writable()
    import matplotlib.style
    from matplotlib.figure import Figure

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The caller's own settings are set aside, so that figures look the same everywhere.
    look = {**STYLE, "font.family": glyphs.families()}
    with matplotlib.style.context([look], after_reset=True):
        # A figure of its own, not pyplot's: no display is needed and none is left open.
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        glyphs.make_showable(figure)
        for kind in dict.fromkeys(("png", FORMAT.get())):
            # Written whole or not at all, so that no reader meets half a picture.
            with files.whole(target.with_suffix(f".{kind}")) as part:
                figure.savefig(part, format=kind, dpi=DPI.get(), metadata=UNDATED[kind])


def grid_shape(count: int) -> tuple[int, int]:
    """Rows and columns for `count` panels, at most three abreast."""
    # Four panels look better as a square than as three and one.
    columns = 2 if count == 4 else min(count, 3)
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
