"""The linear model between embeddings with rank and ridge strength chosen inside training; what the
baselines `linear_tuned`, `linear_annotations` and `linear_other_screen` share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.evaluation.baselines.rule import for_all, rule_of, summed
from jaxpert.evaluation.baselines.training import (
    Baseline,
    Inapplicable,
    Training,
    baseline,
    control_of,
    note_on,
    seen_in,
    uses,
)
from jaxpert.evaluation.leading import LARGE, leading_right

FOLDS = 5
RANKS = (1, 2, 3, 5, 8, 12, 20, 30, 50)
RIDGES = (1e4, 1e3, 100.0, 10.0, 1.0, 0.1, 0.01)
"""From next to the mean effect to next to least squares; of equal errors the first is taken."""

Embed = Callable[[Callable[[], Float[np.ndarray, "G K"]]], Float[np.ndarray, "T D"]]
"""What makes embeddings of the genes -> those of the treatments, the most important dimension
first. Those of the genes are made for whom asks: in large screens they take longest."""


class Choice(NamedTuple):
    """What is chosen inside training."""

    rank: int
    """Dimensions of both embeddings."""
    ridge: float


class _Parts(NamedTuple):
    """Products of Y - b ~ G W P', from which every rank and ridge is solved in no time."""

    gg: Float[np.ndarray, "K K"]
    gy: Float[np.ndarray, "K P"]
    p: Float[np.ndarray, "P D"]

    def weights(self, choice: Choice) -> Float[np.ndarray, "k d"]:
        """W = (G'G + r I)^-1 G' (Y - b) P (P'P + r I)^-1."""
        gg, p = self.gg[: choice.rank, : choice.rank], self.p[:, : choice.rank]
        left = np.linalg.solve(_raised(gg, choice.ridge), self.gy[: choice.rank] @ p)
        return np.linalg.solve(_raised(p.T @ p, choice.ridge), left.T).T


def regression(
    training: Training, name: str, embed: Embed, lost: Int[np.ndarray, "_"], what: str
) -> Baseline | Inapplicable:
    """The baseline `name` with treatments embedded by `embed`.

    Args:
        training: what it learns from.
        name: of the baseline, for notes.
        embed: makes embeddings of treatments, those of `lost` being of no matter.
        lost: treatments without embedding, which add nothing to the mean effect.
        what: why they have none.

    Rank and ridge are those of the least squared error over the training perturbations, each
    predicted from the other folds by everything made anew, principal components included.
    """
    control, seen = control_of(training), seen_in(training)
    if len(seen) < FOLDS:
        return Inapplicable(
            f"{len(seen)} perturbations are trained on and {FOLDS} are the fewest that choose rank "
            "and ridge"
        )
    if not _used(training, seen, lost).any():
        return Inapplicable(f"no trained perturbation has an embedding: all are {what}")
    choice = choose(training, embed, lost)
    genes = response_scores(training, seen)[:, : choice.rank]
    treatment = _centred(training, seen, embed, lost)[:, : choice.rank]
    effects = training.means[seen] - control
    parts = _parts(training, seen, genes, treatment)
    rule = rule_of(
        control,
        len(training.treatments),
        shared=for_all(effects.mean(0)),
        treatment=treatment @ parts.weights(choice).T @ genes.T,
    )
    chosen = (
        f"baseline {name}: rank {choice.rank} and ridge {choice.ridge:g} were chosen by {FOLDS} "
        f"folds of the {len(seen)} training perturbations",
    )
    notes = chosen + note_on(
        training, name, lost, f"{what}, so they add nothing to the mean effect"
    )
    return baseline(training, rule, uses(training, lost), notes)


def choose(training: Training, embed: Embed, lost: Int[np.ndarray, "_"]) -> Choice:
    """Rank and ridge of the least squared error on left-out training perturbations; arguments as
    of `regression`."""
    seen = seen_in(training)
    errors: dict[Choice, float] = {}
    fold = _folds(training, seen)
    for number in range(FOLDS):
        kept, left_out = seen[fold != number], seen[fold == number]
        genes = response_scores(training, kept)
        treatment = _centred(training, kept, embed, lost)
        parts = _parts(training, kept, genes, treatment)
        b = training.means[kept].mean(0)
        asked = summed(training.condition_treatments[left_out], treatment)
        target = genes.T @ (training.means[left_out] - b).T
        for choice in _choices(genes.shape[1]):
            # |Y - G M|^2 = |Y|^2 - 2 <M, G'Y> + <M, G'G M>, whose first term all have alike.
            k = choice.rank
            m = parts.weights(choice) @ asked[:, :k].T
            error = float((m * (parts.gg[:k, :k] @ m - 2 * target[:k])).sum())
            errors[choice] = errors.get(choice, 0.0) + error
    # Ranks that some fold is too small for have fewer errors and are no candidates.
    smallest = min(len(seen[fold != number]) for number in range(FOLDS))
    allowed = [choice for choice in errors if choice.rank <= smallest]
    return min(allowed, key=errors.__getitem__)


def _used(
    training: Training, seen: Int[np.ndarray, "P"], lost: Int[np.ndarray, "_"]
) -> Bool[np.ndarray, "T"]:
    """Treatments of some perturbations that have an embedding."""
    used = np.array(training.condition_treatments[seen].any(0))
    used[lost] = False
    return used


def _centred(
    training: Training, seen: Int[np.ndarray, "P"], embed: Embed, lost: Int[np.ndarray, "_"]
) -> Float[np.ndarray, "T D"]:
    """Embeddings of the treatments minus their mean over those of some perturbations, so that b is
    the intercept of the regression; 0 for those that have none."""
    treatment = embed(partial(gene_scores, training, seen))
    used = _used(training, seen, lost)
    # A fold may have left out all treatments that have an embedding.
    middle = treatment[used].mean(0) if used.any() else 0.0
    centred = treatment - middle
    centred[lost] = 0
    return centred


def gene_scores(
    training: Training, seen: Int[np.ndarray, "P"], most: int = RANKS[-1]
) -> Float[np.ndarray, "G K"]:
    """Principal component scores of the genes over the means of control and some perturbations, as
    published: the level of a gene comes first, and then how it responds."""
    x = training.means[np.append(seen, training.control)].T
    return _scores(x - x.mean(0), min(most, len(seen)))


def response_scores(
    training: Training, seen: Int[np.ndarray, "P"], most: int = RANKS[-1]
) -> Float[np.ndarray, "G K"]:
    """G: scores of the genes over the departures Y - b of some perturbations from their mean,
    which is what it has to make up; the level of a gene is no part of that."""
    return _scores(_departures(training, seen).T, min(most, len(seen)))


def _scores(x: Float[np.ndarray, "G C"], most: int) -> Float[np.ndarray, "G K"]:
    """U S of x = U S V'."""
    if min(x.shape) > LARGE:
        return x @ leading_right(x, most)
    # Eigenvectors of x'x, conditions by conditions: of many genes faster than all of x.
    _, vectors = np.linalg.eigh(x.T @ x)
    return x @ vectors[:, ::-1][:, :most]


def _departures(training: Training, seen: Int[np.ndarray, "P"]) -> Float[np.ndarray, "P G"]:
    # The control cancels: effects minus their mean are means minus theirs.
    return training.means[seen] - training.means[seen].mean(0)


def _parts(
    training: Training,
    seen: Int[np.ndarray, "P"],
    genes: Float[np.ndarray, "G K"],
    treatment: Float[np.ndarray, "T D"],
) -> _Parts:
    p = summed(training.condition_treatments[seen], treatment)
    return _Parts(genes.T @ genes, genes.T @ _departures(training, seen).T, p)


def _choices(largest: int) -> list[Choice]:
    ranks = [rank for rank in RANKS if rank <= largest]
    return [Choice(rank, ridge) for rank in ranks for ridge in RIDGES]


def _folds(training: Training, seen: Int[np.ndarray, "P"]) -> Int[np.ndarray, "P"]:
    """Fold of each trained perturbation, dealt out by name, so that the order of conditions never
    matters."""
    order = np.argsort(np.asarray(training.conditions, str)[seen], kind="stable")
    fold = np.empty(len(seen), np.int64)
    fold[order] = np.arange(len(seen)) % FOLDS
    return fold


def _raised(square: Float[np.ndarray, "K K"], ridge: float) -> Float[np.ndarray, "K K"]:
    return square + ridge * np.eye(len(square))
