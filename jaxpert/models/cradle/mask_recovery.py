"""How well a model's masks recover the planted ones of a simulated screen.

A latent space has its factors in any order, number and orientation, and the planted programs are
others. Two scores answer two questions: `entries` matches factors to programs by the genes they
move, never by the masks, and asks whether the model knows which target moves which program; `pairs`
needs no matching and asks whether it knows which targets share a program. Both are areas under the
ROC curve beside those of the same scores with the treatments shuffled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.types import InputError

if TYPE_CHECKING:
    import pandas

    from jaxpert.models.cradle.interpret import Interpretation

SHUFFLES = 200
SMALLEST = 5
"""Fewest treatments: there must be orders enough to shuffle them into."""


class Score(NamedTuple):
    """An area under the ROC curve and what it is by chance."""

    auroc: float
    chance: float
    """Mean over shuffles of the treatments; above 0.5 where some programs are planted in most
    targets."""
    chance_low: float
    chance_high: float
    """The 2.5 % and 97.5 % quantiles over shuffles."""

    def __str__(self) -> str:
        return (
            f"{self.auroc:.3f} against {self.chance:.3f} ({self.chance_low:.3f} to "
            f"{self.chance_high:.3f}) by chance"
        )


class Matching(NamedTuple):
    """Pairs of a learned factor and a planted program, each in at most one pair."""

    factor: Int[np.ndarray, "m"]
    program: Int[np.ndarray, "m"]
    correlation: Float[np.ndarray, "m"]
    """Pearson over genes, with its sign."""


class Recovery(NamedTuple):
    """How well a latent space recovers the planted masks of a simulated screen."""

    entries: dict[str, Score]
    """Which perturbation moves which program: by `inclusion` (where the model has masks) and by
    `embedding` (absolute)."""
    pairs: dict[str, Score]
    """Which perturbations share a program: by mask `overlap` (where there are masks) and by
    `cosine` (absolute)."""
    programs: pandas.DataFrame
    """Every planted program: matched `factor` ("" for none), `correlation` of their genes,
    `planted` (how many perturbations move it) and the area under the ROC curve within it, by
    inclusion or else by embedding."""


def recover_masks(interpretation: Interpretation, truth: Any, *, seed: int = 0) -> Recovery:
    """Score an interpretation against the planted masks of the simulated screen, over the
    perturbations that are `learned`.

    Factors in use are matched to programs by their genes alone. Chance is measured by shuffling
    perturbations.

    Args:
        interpretation: from `interpret`.
        truth: the `Truth` of the screen.
        seed: of the shuffles.
    """
    perturbations = interpretation.perturbations
    # Perturbations without training cells would count against masks that nothing could teach.
    trained = np.flatnonzero(perturbations["learned"])
    rows = _positions(truth.treatments, perturbations.index[trained], "perturbation")
    genes = _positions(truth.genes, interpretation.gene_change.columns, "gene")
    planted, loadings = truth.masks[rows], truth.loadings[: truth.masks.shape[1], genes]
    change = interpretation.gene_change
    # Genes alone decide which factor is which program, so that masks can be scored by it.
    matching = match_factors(change.to_numpy(), np.asarray(loadings, float))
    tables = {"embedding": interpretation.embedding.abs()}
    alike = {"cosine": interpretation.similarity.abs()}
    if interpretation.inclusion is not None and interpretation.overlap is not None:
        # Masks come first: they are what was planted.
        tables = {"inclusion": interpretation.inclusion} | tables
        alike = {"overlap": interpretation.overlap} | alike
    scores = {}
    for name, table in tables.items():
        # Only factors in use have genes, and so a program.
        values = table[change.index].to_numpy()[trained]
        scores[name] = matched_scores(values, matching, planted.shape[1])
    square = np.ix_(trained, trained)
    first = next(iter(scores.values()))
    entries, pairs = {}, {}
    for name, values in scores.items():
        entries[name] = entry_score(values, planted, seed=seed)
    for name, table in alike.items():
        pairs[name] = pair_score(table.to_numpy()[square], planted, seed=seed)
    programs = _program_table(matching, list(change.index), planted, first)
    return Recovery(entries, pairs, programs)


def match_factors(change: Float[np.ndarray, "F G"], loadings: Float[np.ndarray, "K G"]) -> Matching:
    """One-to-one matching of factors to programs with the largest sum of absolute correlations over
    genes.

    A factor or program that moves no gene differently from another one correlates with nothing (0),
    and pairs of correlation 0 are no pairs.
    """
    from scipy.optimize import linear_sum_assignment

    # The product of centred unit rows is Pearson's correlation.
    moved = _unit(change - change.mean(1, keepdims=True))
    planted = _unit(loadings - loadings.mean(1, keepdims=True))
    correlation = moved @ planted.T
    # A factor has no sign beyond one fit, so the absolute correlation is matched.
    factor, program = linear_sum_assignment(-np.abs(correlation))
    matched = correlation[factor, program]
    real = matched != 0
    return Matching(factor[real], program[real], matched[real])


def _unit(rows: Float[np.ndarray, "n G"]) -> Float[np.ndarray, "n G"]:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norm, out=np.zeros_like(rows, dtype=float), where=norm > 0)


def matched_scores(
    scores: Float[np.ndarray, "T F"], matching: Matching, programs: int
) -> Float[np.ndarray, "T K"]:
    """Scores of the factors in the columns of their programs, 0 in those of programs without a
    factor."""
    # Scores are 0 or more, so that 0 says "this program is not known".
    by_program = np.zeros((len(scores), programs))
    by_program[:, matching.program] = scores[:, matching.factor]
    return by_program


def entry_score(
    scores: Float[np.ndarray, "T K"],
    masks: Bool[np.ndarray, "T K"],
    *,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> Score:
    """Whether entries of the planted masks have higher scores (0 or more) than the others, over all
    T x K of them.

    Nothing is left out: a program without a factor has score 0 in all its entries, so its planted
    ones count as missed, and a program that no target moves counts by its false alarms. Chance is
    the same with whole rows shuffled, which keeps what a program's overall rate alone would earn.
    """
    return _against_chance(masks, lambda order: scores[order], shuffles, seed)


def program_scores(
    scores: Float[np.ndarray, "T K"], masks: Bool[np.ndarray, "T K"]
) -> Float[np.ndarray, "K"]:
    """The area under the ROC curve within each program: 0.5 where it has no factor, NaN where the
    planted column is constant."""
    aurocs = np.full(masks.shape[1], np.nan)
    for program, (planted, score) in enumerate(zip(masks.T, scores.T, strict=True)):
        # A column of one label has no order to recover.
        if planted.any() and not planted.all():
            aurocs[program] = _auroc(planted, score)
    return aurocs


def pair_score(
    similarity: Float[np.ndarray, "T T"],
    masks: Bool[np.ndarray, "T K"],
    *,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> Score:
    """Whether two targets that share a planted program are more similar than two that share
    none."""
    # Every pair once; two targets share a program where both masks have it.
    first, second = np.triu_indices(len(masks), 1)
    share = np.asarray((masks[first] & masks[second]).sum(1) > 0)
    return _against_chance(
        share, lambda order: similarity[order[first], order[second]], shuffles, seed, len(masks)
    )


def _against_chance(
    labels: Bool[np.ndarray, "*n"],
    scores: Callable[[np.ndarray], np.ndarray],
    shuffles: int,
    seed: int,
    treatments: int | None = None,
) -> Score:
    """`scores(order)` are those with the treatments in another order."""
    treatments = treatments or len(labels)
    if treatments < SMALLEST or labels.all() or not labels.any():
        raise InputError(
            f"masks of {treatments} treatments with {labels.sum()} of {labels.size} entries or "
            f"pairs planted cannot be scored, expected at least {SMALLEST} treatments and planted "
            "and empty entries: use a larger screen"
        )
    rng = np.random.default_rng(seed)
    auroc = _auroc(labels, scores(np.arange(treatments)))
    chance = []
    for _ in range(shuffles):
        # Whole treatments are shuffled, since their entries are not independent.
        chance.append(_auroc(labels, scores(rng.permutation(treatments))))
    low, high = np.quantile(chance, (0.025, 0.975))
    return Score(auroc, float(np.mean(chance)), float(low), float(high))


def _auroc(labels: Bool[np.ndarray, "*n"], scores: Float[np.ndarray, "*n"]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels.ravel(), scores.ravel()))


def _program_table(
    matching: Matching,
    names: Sequence[str],
    planted: Bool[np.ndarray, "T K"],
    scores: Float[np.ndarray, "T K"],
) -> pandas.DataFrame:
    """`Recovery.programs`."""
    import pandas

    programs = planted.shape[1]
    factor, correlation = np.full(programs, "", object), np.zeros(programs)
    factor[matching.program] = np.asarray(names, object)[matching.factor]
    correlation[matching.program] = matching.correlation
    columns = {
        "factor": factor,
        "correlation": correlation,
        "planted": planted.sum(0),
        "auroc": program_scores(scores, planted),
    }
    return pandas.DataFrame(columns, index=pandas.RangeIndex(programs, name="program"))


def _positions(names: np.ndarray, wanted: Any, what: str) -> Int[np.ndarray, "n"]:
    """Where each wanted name stands."""
    place = {str(name): i for i, name in enumerate(names)}
    missing = [name for name in wanted if name not in place]
    if missing:
        raise InputError(
            f"the truth has no {what} {missing[0]!r}, expected that of the screen the model was "
            "trained on: load the truth.npz beside the run"
        )
    return np.array([place[name] for name in wanted], int)
