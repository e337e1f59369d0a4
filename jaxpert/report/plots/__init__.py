"""The figures of a run: arrays in, one PNG file out, all in one style.

Every function writes its file whole or not at all, returns its path, and draws through matplotlib's
object-oriented interface, so that neither a display nor the caller's own matplotlib settings
matter.
"""

from jaxpert.models.cradle.paper.plots import (
    generated_tsne,
    latent_comparison,
    quality_distributions,
    tsne_embedding,
)
from jaxpert.models.cradle.plots_latent import effect_heatmap, factor_genes, similarity_map
from jaxpert.models.cycseq.paper.plots import (
    change_panels,
    dose_picture,
    enrichment_curve,
    rows_against_targets,
    triangular_validation,
)
from jaxpert.models.gears.paper.plots import (
    GROUPS,
    TopGenes,
    interactions_found,
    normalised_errors,
    phenotype_umap,
    top_genes,
    uncertainty_against_error,
)
from jaxpert.models.gears.paper.plots_interactions import (
    interaction_map,
    interaction_maps,
    interaction_space,
    non_additive,
)
from jaxpert.report.plots.cells import (
    QUALITY_GROUPS,
    QUALITY_METRICS,
    latent_umap,
    quality_violins,
    umap_embedding,
)
from jaxpert.report.plots.effects import ate_scatter, effect_panels, recovery
from jaxpert.report.plots.scores import MAIN_METRICS, baseline_bars
from jaxpert.report.plots.training import loss_curves

__all__ = [
    "GROUPS",
    "MAIN_METRICS",
    "QUALITY_GROUPS",
    "QUALITY_METRICS",
    "TopGenes",
    "ate_scatter",
    "baseline_bars",
    "change_panels",
    "dose_picture",
    "effect_heatmap",
    "effect_panels",
    "enrichment_curve",
    "factor_genes",
    "generated_tsne",
    "interaction_map",
    "interaction_maps",
    "interaction_space",
    "interactions_found",
    "latent_comparison",
    "latent_umap",
    "loss_curves",
    "non_additive",
    "normalised_errors",
    "phenotype_umap",
    "quality_distributions",
    "quality_violins",
    "recovery",
    "rows_against_targets",
    "similarity_map",
    "top_genes",
    "triangular_validation",
    "tsne_embedding",
    "umap_embedding",
    "uncertainty_against_error",
]
