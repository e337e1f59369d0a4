"""What the report says of scores and figures."""

# Each text says how the score can mislead, since its name alone invites trust.
MEANINGS = {
    "ate_pearson": (
        "Pearson correlation of predicted with measured effects, all perturbations and genes "
        "pooled; a few strong effects dominate it, and a prediction that is the same for every "
        "perturbation can already score high, so read it against the mean baseline, not against 0."
    ),
    "ate_r2": (
        "Share of the variance of all measured effects that the prediction explains; unlike the "
        "correlation it punishes effects of the wrong size, 0 is as good as one constant, below 0 "
        "is worse."
    ),
    "ate_pearson_top20": (
        "The correlation over the 20 genes that each perturbation moves most in the data; they "
        "are chosen by measured size, noise included, without a test."
    ),
    "ate_r2_top20": (
        "The explained share over those same 20 genes; choosing genes by their measured size "
        "inflates the measured effects, which even a perfect model does not follow."
    ),
    "jaccard_top20": (
        "Overlap divided by union of the 20 genes moved most in the data and in the prediction, "
        "averaged over perturbations; where a perturbation moves fewer genes than that, the rest "
        "of the list is noise."
    ),
    "jaccard_top50": (
        "The same for the paper's 50 genes; read it against the ceiling, which noise keeps well "
        "below 1."
    ),
    "pearson_delta": (
        "Correlation over genes within each perturbation, averaged; perturbations share a common "
        "response, so the mean baseline scores high (on Adamson it beat a published graph "
        "network, 0.756 against 0.737)."
    ),
    "pearson_delta_reference": (
        "The same after the mean training effect is taken off both sides, so that it credits only "
        "what sets a perturbation apart; undefined for the mean baseline, which predicts that "
        "mean itself."
    ),
    "centroid_accuracy": (
        "Share of the other perturbations whose measured profile lies farther from the prediction "
        "than the right one does; 1 is best, one half is chance."
    ),
    "discrimination_score": (
        "How near the top the right perturbation ranks by L1 distance from the prediction; 1 is "
        "best, any prediction that is the same for all perturbations gets about one half."
    ),
    "l2_expressed": (
        "Euclidean distance over the 1,000 genes that control cells express most; lower is "
        "better; multiply by 0.693 to compare with numbers published on the natural-log scale."
    ),
    "mse": (
        "Mean squared error over all genes; lower is better; most genes do not move, so "
        "predicting no change at all is hard to beat by much."
    ),
}
"""What each score means and how to read it."""

PLAIN = {
    "ate_pearson": "How closely predicted effects follow measured ones (ATE-rho; 1 is perfect)",
    "ate_r2": "Share of the measured effects that is predicted (ATE-R2; 1 is perfect)",
    "jaccard_top50": "Overlap of the 50 genes that move most (Jaccard; 1 is perfect)",
    "pearson_delta_reference": (
        "How well it is told what sets a perturbation apart (Pearson delta, perturbed reference; "
        "1 is perfect)"
    ),
    "discrimination_score": (
        "How often the right perturbation is the nearest (discrimination score; 1 is perfect)"
    ),
    "mse": "Error of predicted effects (mean squared error; 0 is perfect)",
}
"""The scores that a verdict speaks of, for whoever sees their names for the first time."""

METHODS = {
    "no_change": "The perturbation changes nothing.",
    "mean_perturbation": "Every perturbation does what the average trained one does.",
    "mean_cell": "The average of all perturbed training cells, whatever was done to them.",
    "mean_same_size": "The average of trained perturbations of as many targets.",
    "mean_change": "The average change of the trained perturbations.",
    "additive": "The effects of the single perturbations added up.",
    "scaled_additive": "The same, times one factor that training tells for all pairs.",
    "shrunken_additive": "The same, each effect made smaller by as much as it may be noise.",
    "matching_mean": "The average of the single perturbations that a combination is made of.",
    "nearest_perturbation": "What the most alike trained perturbation did.",
    "annotation_weighted": "What trained perturbations of similar annotation did, weighted.",
    "linear": "A linear model of genes and perturbations, fixed in size.",
    "linear_tuned": "The same, its size chosen inside training.",
    "linear_annotations": "The same, from annotations of the perturbed genes.",
    "linear_other_screen": "The same, from another screen.",
}
"""What each baseline predicts, in a few words (docs/evaluation.md, Baselines)."""

TERMS = {
    "perturbation": "What was done to cells: a gene knocked down, activated or a drug, or several.",
    "effect": (
        "Mean expression of the perturbed cells minus that of control cells, gene by gene, on a "
        "log2 scale: 1 is twice as much."
    ),
    "baseline": "A simple rule that needs no learning. A model is worth its cost if it beats them.",
    "ceiling": (
        "What a perfect model would score. It is below perfect because measured effects are "
        "noisy: they are means over a limited number of cells."
    ),
    "interval": (
        "The range that holds the true value with a chance of 95 % (or as named). A difference "
        "whose interval holds 0 may be chance."
    ),
    "split": (
        "Cells of train taught the model, those of val chose its best epoch, those of test were "
        "kept away from it."
    ),
    "match": (
        "Correlation over genes of the predicted with the measured effect of one perturbation: 1 "
        "is perfect, 0 is chance. All perturbations share a part of their effect, so compare it "
        "with the baselines."
    ),
    "effect size": "Root mean square of the measured effect over all genes, log2.",
    "noise": (
        "Root mean square of the standard error of the measured effect, log2: an effect that is "
        "not larger than it cannot be predicted."
    ),
    "support": "Whether training saw the perturbation, its parts, or none of them.",
    "interval width": (
        "How unsure the model is: the median over genes of the length of the interval that is to "
        "hold 90 % of new measurements of an effect, log2."
    ),
    "sure genes": (
        "Genes that the model is sure will move, since the interval that is to hold 90 % of new "
        "measurements excludes 0: how many of them were measured in that direction."
    ),
    "rests on": (
        "Measured perturbations that count most in a prediction, with their weights: +0.5 adds "
        "half of what was measured of that one."
    ),
}
"""Definitions at the end of the page, and of the heads of columns."""


def glossary() -> dict[str, str]:
    """Words, main scores and baselines with their meanings."""
    from jaxpert.evaluation.claims import HEADLINE
    from jaxpert.evaluation.metrics import METRICS

    scores = {METRICS[name].label: MEANINGS[name] for name in HEADLINE}
    return TERMS | scores | {name.replace("_", " "): METHODS[name] for name in METHODS}


# Captions tell what to look for, so that a figure is read and not admired.
CAPTIONS = {
    "baselines": (
        "The model beside its baselines",
        "Look first at the subset on top: it was held out. The model has learned something only "
        "where its dot lies right of every grey one. The dashed ceiling is what a perfect model "
        "would score against the noise of these cells: nothing but chance, or training on the "
        "very cells that are scored, leads beyond it.",
    ),
    "ate_scatter": (
        "Effects, data against model",
        "Every point is a gene under a perturbation; darker bins hold more. Points on the dashed "
        "line are predicted exactly; a cloud flatter than the line means effects predicted too "
        "small. The two points farthest off are ringed and named.",
    ),
    "effects": (
        "Genes that move most",
        "Diamonds are measured, dots predicted. Look for dots on the wrong side of 0 and, where "
        "there are bars, for diamonds far outside them: there the model is wrong and sure. The "
        "genes are chosen by their measured effect, so the diamonds lie somewhat too far out.",
    ),
    "reliability": (
        "Do the intervals hold?",
        "On the dashed line intervals cover exactly what they promise; within the grey band they "
        "miss by at most five points. Below it the model is surer than it should be, above it less "
        "sure than it could be.",
    ),
    "recovery": (
        "Recovery of the planted truth",
        "The screen is simulated, so the true effects are known. Predicted effects should follow "
        "the dashed line. Where the model has an artifact, it stands beside them: its size may "
        "differ from the planted one, its direction should not.",
    ),
    "quality_violins": (
        "Quality of real and generated cells",
        "Cells generated without the artifact (light blue) should look like real cells that "
        "passed (dark blue), those generated with it (light orange) like real cells that failed. "
        "A fixed library size makes generated violins too narrow.",
    ),
    "latent_umap": (
        "Latent of the cells",
        "Where the model has a basal latent it is shown, and should hold neither quality nor "
        "perturbation: colours mix, and patches of one colour are leaks. Other latents hold both. "
        "Distances in a UMAP are not to scale.",
    ),
    "loss_curves": (
        "Training and validation loss",
        "Curves should fall and flatten; where validation turns up while training still falls, "
        "the model overfits, and the marked epoch is the one that is used.",
    ),
}
"""Title and what to look for, by file name; a file that begins with one of these names shares its
caption."""

LABELS = {
    "umi_count": "UMI count",
    "n_genes": "genes detected",
    "pct_mt": "% mitochondrial",
    "pct_ribo": "% ribosomal",
    "pct_hb": "% haemoglobin",
    "iwelbo": "predictive IWELBO (nats per cell)",
    "val": "validation",
    "train": "training",
    "model": "this model",
    "umis": "UMIs",
    "effect_pearson": "correlation of predicted with planted effects",
    "effect_pearson_test": "the same, perturbations of the test split",
    "held_out": "test cells",
    "combo_seen0": "combinations, no part trained",
    "combo_seen1": "combinations, one part trained",
    "combo_seen2": "combinations, both parts trained",
    "unseen_single": "single perturbations never trained",
}
"""Names of things, where replacing underscores by spaces is not enough."""
