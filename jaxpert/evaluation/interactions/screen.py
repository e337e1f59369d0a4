"""Score predicted pairs for genetic interactions and rank them: which combination to measure
next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import InputError
from jaxpert.evaluation.interactions import subtypes
from jaxpert.evaluation.interactions.scores import CHUNK, Scores, deviation, joined, score_pairs

if TYPE_CHECKING:
    import pandas

RANKINGS = ("deviation", *subtypes.RULES)
Pairs = Int[np.ndarray, "m 2"]


class Prediction(NamedTuple):
    """Predicted effects of some pairs."""

    effects: Float[np.ndarray, "m n"]
    uncertainty: Float[np.ndarray, "m"] | None = None
    """Higher is less certain."""


def all_pairs(count: int) -> Pairs:
    """All count (count - 1) / 2 pairs of the numbers below `count`, in order."""
    return np.stack(np.triu_indices(count, 1), axis=1)


def screen(
    names: Sequence[str],
    singles: Float[np.ndarray, "S n"],
    both: Float[np.ndarray, "N n"] | Callable[[Pairs], Prediction],
    *,
    pairs: Pairs | None = None,
    uncertainty: Float[np.ndarray, "U"] | None = None,
    rank_by: str = "deviation",
    chunk: int = CHUNK,
    **options: Any,
) -> pandas.DataFrame:
    """Table of pairs with interaction scores and sub-types, the ones to measure next first.

    Args:
        names: the S perturbations. A member may itself be a combination ("A+B"), which makes
            triples.
        singles: their effects, mean minus control over n genes.
        both: the effects of `pairs`, or a function that predicts any few of them, so that the
            effects of all pairs never stand in memory at once.
        pairs: rows of two positions in `names`; all S (S - 1) / 2 in order if None.
        uncertainty: one number for each pair, higher is less certain.
        rank_by: "deviation" or a sub-type, whose score then decides, in its direction; undefined
            scores come last.
        chunk: pairs scored at a time.
        options: go to `score_pairs`.

    Returns:
        Columns pair, first, second, the published scores, `deviation` (root mean square over genes
        of ab - (a + b), in the units of the effects), subtypes, and uncertainty where there is one.
        Thresholds of sub-types were made on measured, noisy effects: see `subtypes.RULES`.
    """
    if rank_by not in RANKINGS:
        raise InputError(
            f"pairs cannot be ranked by {rank_by!r}, expected one of {', '.join(RANKINGS)}: choose "
            "one of these"
        )
    # Filled in before the checks, which then hold for both.
    if pairs is None:
        pairs = all_pairs(len(names))
    _check(names, singles, both, pairs, uncertainty)
    scores, size, unsure = _score(singles, both, pairs, chunk, options)
    # What a function predicts with the effects, or what was given beside them.
    if unsure is None:
        unsure = uncertainty
    table = _table(names, pairs, scores, size, unsure)
    return table.iloc[_order(scores, size, rank_by)].reset_index(drop=True)


def _score(
    singles: np.ndarray, both: Any, pairs: Pairs, chunk: int, options: dict[str, Any]
) -> tuple[Scores, np.ndarray, np.ndarray | None]:
    """Scores, root mean square deviation and the predictor's uncertainty of all pairs, a chunk at a
    time."""
    parts, sizes, unsure = [], [], []
    for start in range(0, len(pairs), chunk):
        part = pairs[start : start + chunk]
        # Effects of one chunk at a time: 1,000 perturbations make half a million pairs.
        prediction = _predicted(both, part, slice(start, start + chunk))
        vectors = singles[part[:, 0]], singles[part[:, 1]], prediction.effects
        parts.append(_score_padded(vectors, min(chunk, len(pairs)), options))
        sizes.append(np.sqrt((deviation(*vectors) ** 2).mean(1)))
        unsure.append(prediction.uncertainty)
    return joined(parts), np.concatenate(sizes), _uncertainty_of_all(unsure)


def _uncertainty_of_all(unsure: list[np.ndarray | None]) -> np.ndarray | None:
    """Uncertainty of all chunks, None where no chunk has one."""
    given = [values for values in unsure if values is not None]
    if not given:
        return None
    if len(given) < len(unsure):
        raise InputError(
            "a predictor of pairs gave an uncertainty for some pairs only, expected it for all or "
            "none: give it for all"
        )
    return np.concatenate(given)


def _predicted(both: Any, part: Pairs, rows: slice) -> Prediction:
    return both(part) if callable(both) else Prediction(both[rows])  # pyright: ignore[reportReturnType]


def _score_padded(
    vectors: tuple[np.ndarray, np.ndarray, np.ndarray], size: int, options: dict[str, Any]
) -> Scores:
    """The last chunk is filled up with its last pair: another length would be compiled anew."""
    first, second, both = vectors
    count = len(first)
    rows = np.minimum(np.arange(size), count - 1)
    padded = score_pairs(first[rows], second[rows], both[rows], **options, chunk=size)
    return Scores(*(np.asarray(values)[:count] for values in padded))


def _table(
    names: Sequence[str], pairs: Pairs, scores: Scores, size: np.ndarray, unsure: np.ndarray | None
) -> pandas.DataFrame:
    import pandas as pd

    both = pd.Index(["first", "second"])
    members = pd.DataFrame(np.asarray(names, str)[pairs].tolist(), columns=both)
    columns: dict[str, Any] = {
        "pair": members["first"] + "+" + members["second"],
        "first": members["first"],
        "second": members["second"],
        **scores._asdict(),
        "deviation": size,
        "subtypes": subtypes.labels(scores._asdict()),
    }
    if unsure is not None:
        columns["uncertainty"] = unsure
    return pd.DataFrame(columns)


def _order(scores: Scores, size: np.ndarray, rank_by: str) -> np.ndarray:
    if rank_by == "deviation":
        # Stable, so that pairs of one score stay in the order given.
        return np.argsort(-size, kind="stable")
    return subtypes.most_extreme(scores._asdict(), rank_by)


def _check(
    names: Sequence[str], singles: np.ndarray, both: Any, pairs: Pairs, unsure: np.ndarray | None
) -> None:
    if len(names) != len(singles):
        raise InputError(
            f"{len(names)} names were given for {len(singles)} single effects, expected as many of "
            "both: give one name for each"
        )
    if not len(pairs):
        raise InputError(
            f"there is no pair among {len(names)} perturbations, expected at least two "
            "perturbations: give more"
        )
    if pairs.min() < 0 or pairs.max() >= len(names):
        raise InputError(
            f"pairs name positions from {pairs.min()} to {pairs.max()}, expected 0 to "
            f"{len(names) - 1}: positions count the given names from 0"
        )
    if not callable(both) and both.shape != (len(pairs), singles.shape[1]):
        raise InputError(
            f"effects of pairs have shape {both.shape}, expected {(len(pairs), singles.shape[1])}: "
            "one row for every pair and the same genes as the single effects"
        )
    if unsure is not None and (callable(both) or len(unsure) != len(pairs)):
        raise InputError(
            f"{len(unsure)} uncertainties were given for {len(pairs)} pairs, expected one for "
            "each, or none beside a function that predicts them with the effects: give as many"
        )
