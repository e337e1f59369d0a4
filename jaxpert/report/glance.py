"""A word with its light, and a sentence: what stands first on a page of several models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jaxpert.evaluation.intervals import FEWEST_FOR_INTERVAL

TOO_FEW = "too few to say"


class Glance(NamedTuple):
    """What is seen first."""

    light: str
    """better, even, mixed, worse or unknown, as in `headline.Headline`."""
    word: str
    sentence: str


def beside(name: str, other: str, outcomes: Sequence[str], perturbations: int) -> Glance:
    """One entry beside another, from the outcome of each main score by itself."""
    if perturbations < FEWEST_FOR_INTERVAL:
        told = (
            f"{perturbations} perturbations are too few to say whether {name} is better or worse "
            f"than {other}: {FEWEST_FOR_INTERVAL} are needed."
        )
        return Glance("unknown", f"{name}: {TOO_FEW}", told)
    better, worse = outcomes.count("better"), outcomes.count("worse")
    told = (
        f"On {perturbations} perturbations {name} is better than {other} by {better} of "
        f"{len(outcomes)} main scores, worse by {worse}, and by {len(outcomes) - better - worse} "
        "no difference could be shown, each score by itself."
    )
    if better and worse:
        return Glance("mixed", f"{name}: better by some scores, worse by others", told)
    if better:
        return Glance("better", f"{name} is better than {other}", told)
    if worse:
        return Glance("worse", f"{name} is worse than {other}", told)
    return Glance("even", f"{name} is as good as {other}", told)
