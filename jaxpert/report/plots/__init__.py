"""The figures of a run: arrays in, one PNG file out, all in one style.

Every function writes its file whole or not at all, returns its path, and draws through matplotlib's
object-oriented interface, so that neither a display nor the caller's own matplotlib settings
matter.
"""

from jaxpert.report.plots.cells import (
    QUALITY_GROUPS,
    QUALITY_METRICS,
    latent_umap,
    quality_violins,
    umap_embedding,
)
from jaxpert.report.plots.effects import ate_scatter, effect_panels, recovery
from jaxpert.report.plots.reliability import reliability
from jaxpert.report.plots.scores import MAIN_METRICS, baseline_bars
from jaxpert.report.plots.training import loss_curves

__all__ = [
    "MAIN_METRICS",
    "QUALITY_GROUPS",
    "QUALITY_METRICS",
    "ate_scatter",
    "baseline_bars",
    "effect_panels",
    "latent_umap",
    "loss_curves",
    "quality_violins",
    "recovery",
    "reliability",
    "umap_embedding",
]
