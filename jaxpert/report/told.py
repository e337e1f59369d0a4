"""What a terminal shows of a run: notes by kind, and the verdict in a sentence. The report has all
of it whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxpert.core import log, verbosity
from jaxpert.report.headline import headline
from jaxpert.report.noted import grouped

WIDTH = 160
"""Characters of a note that a terminal shows."""
FEW = 3
"""Notes that are shown one by one."""


def tell_notes(notes: Sequence[str]) -> None:
    """One line for each kind of note, with how many more there are; all of them with
    `--verbose`."""
    if verbosity.verbose() or len(notes) <= FEW:
        for note in notes:
            log.say(f"note: {note if verbosity.verbose() else _cut(note)}")
        return
    for group in grouped(notes):
        more = len(group.notes) - 1
        others = f" (and {more} more on {group.title.lower()})" if more else ""
        log.say(f"note: {_cut(group.notes[0])}{others}")
    log.say(f"note: the report has all {len(notes)} notes, --verbose prints them")


def _cut(note: str) -> str:
    text = str(note)
    return text if len(text) <= WIDTH else f"{text[:WIDTH].rstrip()} ..."


def tell_verdict(metrics: Mapping[str, Any]) -> None:
    """The top of the report; with `--verbose` every comparison."""
    if verbosity.verbose():
        log.result(str(metrics["verdict"]))
        return
    top = headline(metrics)
    log.result(f"verdict: {top.word}. {top.sentence}")
    numbers = [f"{number.text} {number.what}{_in_words(number.note)}" for number in top.numbers]
    if numbers:
        log.result(f"{top.of.rstrip(':')}: {', '.join(numbers)}")


def _in_words(note: str) -> str:
    return f" ({note})" if note else ""
