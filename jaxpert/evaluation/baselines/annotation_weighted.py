"""Effects of genes never perturbed, from those of genes with like annotations."""

from __future__ import annotations

import numpy as np

from jaxpert.evaluation.baselines.rule import rule_of
from jaxpert.evaluation.baselines.training import (
    Baseline,
    Inapplicable,
    Training,
    alone_in,
    baseline,
    control_of,
    note_on,
    uses,
)


def annotation_weighted(training: Training) -> Baseline | Inapplicable:
    """`additive`, where a gene never given alone takes the mean effect of the genes that were,
    weighted by how much of its annotation each of them shares.

    The weight is the Jaccard index of both genes' terms (k-nearest neighbours with all neighbours,
    as graph models are given them). A gene that shares no term with any gets the mean effect of the
    singles, as in `additive`. Not made without annotations, or where every gene was given alone.
    """
    if training.similarity is None:
        return Inapplicable("the genes have no annotations here, by which to weight effects")
    alone = alone_in(training)
    used = training.condition_treatments.any(0)
    if (alone.given | ~used).all():
        return Inapplicable(
            "every treatment was given alone in training, so that it would be additive over again"
        )
    never = np.flatnonzero(~alone.given)
    weights = training.similarity[np.ix_(never, np.flatnonzero(alone.given))]
    total = weights.sum(1)
    effect = alone.effect.copy()
    known = total > 0
    # sum_u w_tu effect_u / sum_u w_tu (docs/evaluation.md, "Baselines").
    effect[never[known]] = (weights[known] / total[known, None]) @ alone.effect[alone.given]
    lost = never[~known]
    what = (
        "neither given alone in training nor like one that was, so the mean effect of "
        f"{alone.source} stands in"
    )
    rule = rule_of(control_of(training), len(training.treatments), treatment=effect)
    notes = note_on(training, "annotation_weighted", lost, what)
    return baseline(training, rule, uses(training, lost), notes)
