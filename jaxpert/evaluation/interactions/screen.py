"""Score predicted pairs for genetic interactions and rank them: which combination to measure
next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.types import InputError
from jaxpert.evaluation.interactions import subtypes
from jaxpert.evaluation.interactions.scores import CHUNK, Scores, deviation, score_pairs

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

    `singles` are the effects (mean minus control, n genes) of the S perturbations `names`; `both`
    the effects of `pairs` (rows of two positions in `names`; default all S(S-1)/2 in order), or a
    function that predicts any few of them, so that the effects of all pairs never stand in memory
    at once. A member of `names` may itself be a combination ("A+B"), which makes triples. `options`
    go to `score_pairs`.

    Columns: pair, first, second, the published scores, `deviation` (root mean square over genes of
        ab - (a + b), in
    the units of the effects), subtypes, and uncertainty where there is one. `rank_by` is
    "deviation" or a sub-type, whose score then decides, in its direction; undefined scores come
    last. Thresholds of sub-types were made on measured, noisy effects: see
    `interaction_subtypes.RULES`.
    """
    if rank_by not in RANKINGS:
        raise InputError(
            f"pairs cannot be ranked by {rank_by!r}, expected one of {', '.join(RANKINGS)}"
        )
    pairs = all_pairs(len(names)) if pairs is None else pairs
    _check(names, singles, both, pairs, uncertainty)
    scores, size, unsure = _score(singles, both, pairs, chunk, options)
    table = _table(names, pairs, scores, size, uncertainty if unsure is None else unsure)
    return table.iloc[_order(scores, size, rank_by)].reset_index(drop=True)


def _score(
    singles: np.ndarray, both: Any, pairs: Pairs, chunk: int, options: dict[str, Any]
) -> tuple[Scores, np.ndarray, np.ndarray | None]:
    """Scores, root mean square deviation and the predictor's uncertainty of all pairs, a chunk at a
    time."""
    found, sizes, unsure = [], [], []
    for start in range(0, len(pairs), chunk):
        part = pairs[start : start + chunk]
        given = _predicted(both, part, slice(start, start + chunk))
        vectors = singles[part[:, 0]], singles[part[:, 1]], given.effects
        found.append(_score_padded(vectors, min(chunk, len(pairs)), options))
        sizes.append(np.sqrt((deviation(*vectors) ** 2).mean(1)))
        unsure.append(given.uncertainty)
    missing = [values is None for values in unsure]
    if any(missing) and not all(missing):
        raise InputError(
            "a predictor of pairs gave an uncertainty for some pairs only, expected it for all or "
            "none"
        )
    scores = Scores(*(np.concatenate(values) for values in zip(*found, strict=True)))
    return scores, np.concatenate(sizes), None if any(missing) else np.concatenate(unsure)


def _predicted(both: Any, part: Pairs, rows: slice) -> Prediction:
    return both(part) if callable(both) else Prediction(both[rows])  # pyright: ignore[reportReturnType]


def _score_padded(
    vectors: tuple[np.ndarray, ...], size: int, options: dict[str, Any]
) -> list[np.ndarray]:
    """The last chunk is filled up with its last pair: another length would be compiled anew."""
    count = len(vectors[0])
    rows = np.minimum(np.arange(size), count - 1)
    padded = score_pairs(*(vector[rows] for vector in vectors), **options, chunk=size)
    return [np.asarray(values)[:count] for values in padded]


def _table(
    names: Sequence[str], pairs: Pairs, scores: Scores, size: np.ndarray, unsure: np.ndarray | None
) -> pandas.DataFrame:
    import pandas as pd

    first, second = ([str(names[int(k)]) for k in column] for column in pairs.T)
    columns: dict[str, Any] = {"pair": [f"{a}+{b}" for a, b in zip(first, second, strict=True)]}
    columns |= {"first": first, "second": second, **scores._asdict()}
    columns |= {"deviation": size, "subtypes": subtypes.labels(scores._asdict())}
    return pd.DataFrame(columns | ({} if unsure is None else {"uncertainty": unsure}))


def _order(scores: Scores, size: np.ndarray, rank_by: str) -> np.ndarray:
    if rank_by == "deviation":
        return np.argsort(-size, kind="stable")
    return subtypes.most_extreme(scores._asdict(), rank_by)


def _check(
    names: Sequence[str], singles: np.ndarray, both: Any, pairs: Pairs, unsure: np.ndarray | None
) -> None:
    if len(names) != len(singles):
        raise InputError(
            f"{len(names)} names were given for {len(singles)} single effects, expected as many "
            "of both"
        )
    if not len(pairs):
        raise InputError(
            f"there is no pair among {len(names)} perturbations, expected at least two "
            "perturbations"
        )
    if pairs.min() < 0 or pairs.max() >= len(names):
        raise InputError(
            f"pairs name positions from {pairs.min()} to {pairs.max()}, expected 0 to "
            f"{len(names) - 1}: positions "
            "count the given names from 0"
        )
    if not callable(both) and both.shape != (len(pairs), singles.shape[1]):
        raise InputError(
            f"effects of pairs have shape {both.shape}, expected "
            f"{(len(pairs), singles.shape[1])}: one row for every "
            "pair and the same genes as the single effects"
        )
    if unsure is not None and (callable(both) or len(unsure) != len(pairs)):
        raise InputError(
            f"{len(unsure)} uncertainties were given for {len(pairs)} pairs, expected one for "
            "each, or none beside a "
            "function that predicts them with the effects"
        )
