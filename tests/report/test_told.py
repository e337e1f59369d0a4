"""What a terminal shows of notes and verdict."""

import pytest

from jaxpert.core import verbosity
from jaxpert.report import told

NOTES = [
    "3 genes are in no graph",
    "2 genes have no count",
    "the split has no validation",
    "cells of batch 2 are few " + "x" * 300,
    "4 genes were renamed",
]


@pytest.fixture(autouse=True)
def normal():
    token = verbosity.LEVEL.set(verbosity.NORMAL)
    yield
    verbosity.LEVEL.reset(token)


def test_many_notes_are_one_line_for_each_kind(capsys):
    told.tell_notes(NOTES)
    lines = capsys.readouterr().err.splitlines()
    assert "note: 3 genes are in no graph (and 2 more on genes)" in lines
    assert "note: the split has no validation" in lines
    assert lines[-1] == "note: the report has all 5 notes, --verbose prints them"
    assert max(map(len, lines)) < 200


def test_few_notes_are_shown_one_by_one_and_all_where_asked(capsys):
    told.tell_notes(NOTES[:2])
    assert capsys.readouterr().err.splitlines() == [f"note: {note}" for note in NOTES[:2]]
    verbosity.LEVEL.set(verbosity.VERBOSE)
    told.tell_notes(NOTES)
    assert capsys.readouterr().err.splitlines() == [f"note: {note}" for note in NOTES]


def test_the_verdict_is_the_top_of_the_report(capsys):
    metrics = {"verdict": "every comparison", "perturbations": {}, "model": {}}
    told.tell_verdict(metrics)
    assert capsys.readouterr().err.startswith("verdict: no verdict. This run holds no scores")
    verbosity.LEVEL.set(verbosity.VERBOSE)
    told.tell_verdict(metrics)
    assert capsys.readouterr().err == "every comparison\n"
