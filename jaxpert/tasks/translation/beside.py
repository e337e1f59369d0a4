"""Models of other families, trained beside on the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from jaxpert.core import log
from jaxpert.core.family import Family, Problem
from jaxpert.core.types import InputError
from jaxpert.tasks.translation.keys import TranslationConfig

TASK = "translation"


def epochs_of(config: TranslationConfig, others: Mapping[str, Family]) -> dict[str, int]:
    """{family: epochs} of `evaluation.beside`; 0 epochs are none."""
    # Only families that say how they train on rows of this task can stand beside.
    known = [name for name, family in others.items() if TASK in family.beside]
    epochs: dict[str, int] = {}
    for text in config.evaluation.beside:
        # Without "=" the number is empty and refused below.
        name, _, number = text.partition("=")
        whole = number.isascii() and number.isdecimal() and len(number) < 7
        if name not in known or name in epochs or not whole:
            raise InputError(
                f"evaluation.beside has {text!r}, expected a family and its epochs such as "
                f"{known[0]}=25, with each of {', '.join(known)} once at most and fewer than "
                "1,000,000 epochs: correct it"
            )
        epochs[name] = int(number)
    # Zero epochs switch a model off without the name leaving the config.
    return {name: count for name, count in epochs.items() if count}


def train_beside(
    config: TranslationConfig, problem: Problem, others: Mapping[str, Family]
) -> tuple[dict[str, Any], list[str]]:
    """What predicts rows with each model trained beside, and what to know of them or why they
    cannot be."""
    predictors: dict[str, Any] = {}
    notes: list[str] = []
    for name, epochs in epochs_of(config, others).items():
        beside = others[name].beside[TASK]
        reason = beside.why_not(problem) or _why_not_alone(name)
        # The family's reason comes first, since it says what the data lack.
        if reason:
            notes.append(reason)
            continue
        log.say(f"training {name} beside, {epochs} epochs at most")
        predictors[name], more = beside.fit(config, problem, epochs)
        notes += more
    return predictors, notes


def _why_not_alone(name: str) -> str:
    """Why one process, which writes the results of several, cannot train a model on the devices of
    all."""
    if jax.process_count() > 1:
        return f"{name} is not trained beside in a run of several processes"
    return ""
