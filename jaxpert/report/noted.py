"""Notes of a run, sorted by what they are about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from jaxpert.report.numbers import in_words

KINDS = (
    ("Scores without a value", r"\bis undefined on\b"),
    ("Baselines", r"\bbaselines?\b"),
    ("Cell quality and doublets", r"\bquality\b|doublet|scrublet|\bMAD\b|\bpct_|umi_count"),
    ("Splits", r"\bsplit|\btrain(ed|ing)?\b|\bvalidation\b|\btest\b"),
    ("Genes", r"\bgenes?\b"),
    ("Perturbations and conditions", r"\bperturbations?\b|\bconditions?\b|\bcontrols?\b"),
    ("Cells", r"\bcells?\b"),
)
"""Headings with what their notes hold; the first that fits counts."""
OTHER = "Other"


class Group(NamedTuple):
    """Notes of one kind."""

    title: str
    notes: list[str]


def grouped(notes: Sequence[str]) -> list[Group]:
    """The notes by kind, in the order of KINDS and each in its own order; a repeated one once."""
    found: dict[str, list[str]] = {title: [] for title, _ in KINDS} | {OTHER: []}
    for note in dict.fromkeys(map(str, notes)):
        kind = next((title for title, words in KINDS if re.search(words, note)), OTHER)
        found[kind].append(in_words(note))
    return [Group(title, inside) for title, inside in found.items() if inside]
